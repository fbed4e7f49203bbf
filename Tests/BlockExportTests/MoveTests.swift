import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Synchronization
import TestSupport
import Testing
import VhostUserFrontend

/// Queues that go from poller to poller while they run.
@Suite(.serialized) struct MoveTests {
    private static var cpus: [Int] { Topology().cpus.numbers }
    /// The CPU of that number, counted round.
    private static func cpu(_ number: Int) -> Int { cpus[number % cpus.count] }

    /// What runs, with what ring, on which engine.
    struct Setting: Sendable, CustomTestStringConvertible {
        var isPacked: Bool
        var engine: EngineKind
        var mode: PollMode
        var testDescription: String { "\(isPacked ? "packed" : "split"), \(engine), \(mode)" }
    }

    static let settings = [false, true].flatMap { isPacked in
        [
            Setting(isPacked: isPacked, engine: .libaio, mode: .adaptive), Setting(isPacked: isPacked, engine: .ioURing, mode: .interrupt),
            Setting(isPacked: isPacked, engine: .libaio, mode: .busy),
        ]
    }

    @Test(arguments: settings)
    func hundredsOfMovesUnderVerifiedLoad(_ setting: Setting) async throws {
        let path = NSTemporaryDirectory() + "vhublk-move-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(FileManager.default.createFile(atPath: path, contents: Data(count: 1 << 20)))
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = setting.engine
            $0.pollMode = setting.mode
        }
        let options = BlockDriver.options(isPacked: setting.isPacked) {
            $0.tracksInflight = true
            $0.layout.options.eventIndex = true
        }
        let driver = try BlockDriver(path: served.path, options: options)
        try Self.writeAndReadBack(driver, 0)
        let hasMoved = Atomic<Bool>(false)
        async let moves = Self.move(served.export, times: 60) { hasMoved.store(true, ordering: .releasing) }
        var round: UInt64 = 0
        while !hasMoved.load(ordering: .acquiring) {
            round += 1
            try Self.writeAndReadBack(driver, round)
            // All threads of Swift's pool may be in tests that wait as this one does.
            await Task.yield()
        }
        #expect(try await moves == 60)
        #expect(round > 0)
        driver.close()
        try await served.stop()
    }

    /// Moves queue 0 to the next CPU, over and over; how often it was there afterwards.
    private static func move(_ export: Export, times: Int, _ ended: @Sendable () -> Void) async throws -> Int {
        defer { ended() }
        var (arrivals, refusals) = (0, 0)
        while arrivals < times {
            do throws(ExportError) {
                try await export.move(queue: 0, to: cpu(arrivals))
            } catch {
                // A machine that does much else may not finish what is in flight in time.
                guard error.kind == .busy, refusals < 100 else { throw error }
                refusals += 1
                continue
            }
            #expect(await export.status.queues[0].cpu == cpu(arrivals))
            arrivals += 1
        }
        return arrivals
    }

    private static func writeAndReadBack(_ driver: BlockDriver, _ round: UInt64) throws {
        for slot in 0..<8 {
            unsafe driver.queues[0].buffer(slot).pointer.storeBytes(of: round &* 100 &+ UInt64(slot), as: UInt64.self)
            let isSubmitted = driver.queues[0].submit(.write, slot: slot, sector: UInt64(slot * 8), length: 4096, toDevice: true)
            #expect(isSubmitted)
        }
        try awaitAll(driver, 0..<8)
        for slot in 8..<16 {
            let isSubmitted = driver.queues[0].submit(.read, slot: slot, sector: UInt64((slot - 8) * 8), length: 4096, toDevice: false)
            #expect(isSubmitted)
        }
        try awaitAll(driver, 8..<16)
        for slot in 8..<16 {
            #expect(unsafe driver.queues[0].buffer(slot).pointer.load(as: UInt64.self) == round &* 100 &+ UInt64(slot - 8))
        }
    }

    /// Half a minute: a poller that never sleeps, on a machine that does much else, can keep the kernel's worker that ends a write from its
    /// processor for seconds.
    private static func patientNext(_ driver: BlockDriver) -> BlockCompletion? {
        for _ in 0..<6 { if let done = driver.next() { return done } }
        return nil
    }

    private static func awaitAll(_ driver: BlockDriver, _ slots: Range<Int>) throws {
        driver.queues[0].flushSubmissions()
        var seen: [Int] = []
        for _ in slots {
            let done = try #require(patientNext(driver), "a request was lost")
            #expect(done.status == .ok)
            seen.append(done.slot)
        }
        #expect(seen.sorted() == Array(slots), "each once")
    }

    /// Stops, changed descriptors and disconnects meet moves at every moment.
    @Test(arguments: [false, true])
    func whateverTheFrontEndDoesMeanwhile(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let hasEnded = Atomic<Bool>(false)
        async let moves: Int = {
            var number = 0
            while !hasEnded.load(ordering: .acquiring) {
                number += 1
                // It may be refused, while the queue is being stopped; a move that goes wrong shows in the requests.
                try? await served.export.move(queue: 0, to: Self.cpu(number))
            }
            return number
        }()
        let options = BlockDriver.options(isPacked: isPacked) {
            $0.tracksInflight = true
            $0.patienceNanoseconds = 5_000_000_000
        }
        for _ in 0..<20 {
            let driver = try BlockDriver(path: served.path, options: options)
            for round in 0..<10 {
                for slot in 0..<8 { #expect(driver.submitRead(slot: slot, length: 4096)) }
                driver.queues[0].flushSubmissions()
                switch round % 4 {
                case 0:
                    try driver.stop()
                    try driver.resume()
                case 1:
                    try driver.connection.setCall(0, driver.queues[0].endpoint.call)
                    try driver.connection.setKick(0, driver.queues[0].endpoint.kick)
                case 2:
                    try driver.connection.setEnabled(0, false)
                    try driver.connection.setEnabled(0, true)
                default: try driver.connection.setMemory(driver.memory)
                }
                try Self.awaitAll(driver, 0..<8)
                await Task.yield()
            }
            for slot in 0..<8 { #expect(driver.submitRead(slot: slot, length: 4096)) }
            driver.queues[0].flushSubmissions()
            driver.close()
        }
        hasEnded.store(true, ordering: .releasing)
        #expect(await moves > 20)
        try await served.stop()
    }

    @Test func aQueueWhoseDiskIsStuckStaysAndGoesOn() async throws {
        let disk = try FreezableDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = .ioURing
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        try await served.export.move(queue: 0, to: Self.cpu(0))
        try disk.freeze()
        let isSubmitted = driver.queues[0].submit(.write, slot: 0, sector: 0, length: 4096, toDevice: true)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 50)
        if Self.cpus.count > 1 {
            let error = await #expect(throws: ExportError.self) { try await served.export.move(queue: 0, to: Self.cpu(1)) }
            #expect(error?.kind == .busy)
            #expect(error?.message.contains("stays on CPU \(Self.cpu(0))") == true)
        }
        #expect(await served.export.status.queues[0].cpu == Self.cpu(0))
        try disk.thaw()
        #expect(try #require(driver.next()).status == .ok)
        #expect(try #require(driver.request(.write, sector: 8, length: 4096)).status == .ok)
        driver.close()
        try await served.stop()
    }

    @Test func aChoiceByHandLastsUntilTheQueuesAreSpreadAnew() async throws {
        let served = try await ServedExport.start()
        let last = try #require(Self.cpus.last)
        // Before it runs, and over starts.
        for queue in 0..<2 { try await served.export.move(queue: queue, to: last) }
        let options = BlockDriver.options(isPacked: false) { $0.queueCount = 2 }
        let driver = try BlockDriver(path: served.path, options: options)
        for queue in 0..<2 { #expect(try #require(driver.request(.read, length: 512, queue: queue)).status == .ok) }
        #expect(await served.export.status.queues.map(\.cpu) == [last, last])
        #expect(await served.pollers.status.flatMap(\.queues).map(\.reason) == ["by hand", "by hand"])
        try driver.stop()
        try driver.resume()
        #expect(await served.export.status.queues.map(\.cpu) == [last, last])

        let moved = await Rebalance.run([served.export])
        #expect(moved.count == (Self.cpus.count > 1 ? 1 : 0))
        #expect(await Set(served.export.status.queues.compactMap(\.cpu)).count == min(2, Self.cpus.count))
        #expect(await Rebalance.run([served.export]).isEmpty, "it is as good as it gets")
        for queue in 0..<2 { #expect(try #require(driver.request(.read, length: 512, queue: queue)).status == .ok) }
        driver.close()
        try await served.stop()
    }

    @Test func whatCannotBeIsRefused() async throws {
        let cpu = Self.cpu(0)
        let served = try await ServedExport.start { $0.cpus = [cpu] }
        for (queue, target, field) in [
            (2, cpu, "queue"), (-1, cpu, "queue"), (0, 100_000, "cpu"), (0, Self.cpus.max().map { $0 + 1 } ?? 0, "cpu"),
        ] {
            let error = await #expect(throws: ExportError.self) { try await served.export.move(queue: queue, to: target) }
            #expect(error?.kind == .invalid)
            #expect(error?.field == field)
        }
        if Self.cpus.count > 1 {
            let error = await #expect(throws: ExportError.self) { try await served.export.move(queue: 0, to: Self.cpu(1)) }
            #expect(error?.message.contains("was made to use") == true)
        }
        try await served.stop()
    }
}
