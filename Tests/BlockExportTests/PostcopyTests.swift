import BlockIO
import Foundation
import LinuxSystem
import TestSupport
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

@testable import BlockExport

/// A guest that goes on here before its memory has come, and one whose memory never comes.
@Suite struct PostcopyTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var isPacked: Bool
        var engine: EngineKind
        var oneByOne: Bool
        var testDescription: String { "\(isPacked ? "packed" : "split"), \(engine), \(oneByOne ? "ADD_MEM_REG" : "SET_MEM_TABLE")" }
    }

    static let settings = [
        Setting(isPacked: false, engine: .ioURing, oneByOne: false), Setting(isPacked: true, engine: .libaio, oneByOne: true),
        Setting(isPacked: true, engine: .ioURing, oneByOne: false), Setting(isPacked: false, engine: .libaio, oneByOne: true),
    ]

    static let slotBytes = 64 << 10
    static let writers = 8..<16

    /// What slot `index` holds: no byte of it is zero.
    static func pattern(_ index: Int) -> [UInt8] { patterns[index] }
    private static let patterns: [[UInt8]] = (0..<32).map { (index: Int) -> [UInt8] in
        var bytes: [UInt8] = []
        for sector in 0..<128 {
            let value = UInt8(1 + (index * 37 + sector * 11) % 251)
            bytes += [UInt8](repeating: value, count: 512)
        }
        return bytes
    }
    /// What a disk holds in the beginning.
    private static let fresh = Data(repeating: 0xee, count: 4 << 20)

    /// Where slot `index` is written to.
    static func sector(_ index: Int) -> UInt64 { UInt64(index * slotBytes / 512) }

    static func fill(_ driver: BlockDriver, _ slots: Range<Int>) {
        for slot in slots {
            let buffer = driver.queues[0].buffer(slot)
            // The slot is with nobody.
            unsafe UnsafeMutableRawBufferPointer(start: buffer.pointer, count: slotBytes).copyBytes(from: pattern(slot))
        }
    }

    static func contents(_ driver: BlockDriver, _ slot: Int) -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: driver.queues[0].buffer(slot).pointer, count: slotBytes))
    }

    static func submit(_ driver: BlockDriver, _ command: BlockCommand, _ slots: Range<Int>, from sector: (Int) -> UInt64) {
        for slot in slots {
            let isTaken = driver.queues[0].submit(
                command, slot: slot, sector: sector(slot), length: slotBytes, toDevice: command == .write)
            #expect(isTaken)
        }
        driver.queues[0].flushSubmissions()
    }

    static func finish(_ driver: BlockDriver, _ count: Int) throws {
        for _ in 0..<count { #expect(try #require(driver.next()).status == .ok) }
    }

    static func options(_ setting: Setting) -> BlockDriverOptions {
        BlockDriver.options(isPacked: setting.isPacked) {
            $0.protocolFeatures.insert(.pageFault)
            $0.addsRegionsOneByOne = setting.oneByOne
            $0.tracksInflight = true
        }
    }

    /// A driver whose writing slots are full, on a disk of patterns of its own, that has arrived: its memory is with `source`.
    static func arrive(_ served: ServedExport, _ setting: Setting) throws -> (BlockDriver, PageSource) {
        let driver = try BlockDriver(path: served.path, options: options(setting))
        #expect(try #require(driver.request(.flush)).status == .ok)
        fill(driver, writers)
        try driver.stop()
        let source = try PageSource(takingFrom: driver.memory)
        driver.pageSource = source
        try driver.reconnect(timeoutNanoseconds: 5_000_000_000)
        return (driver, source)
    }

    /// A disk in a file, with content that no slot has.
    static func with(
        _ setting: Setting, adjust: @Sendable (inout ExportConfiguration) -> Void = { _ in },
        _ body: (ServedExport, String) async throws -> Void
    ) async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = folder.path + "/disk"
        try fresh.write(to: URL(fileURLWithPath: path))
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = setting.engine
            $0.offersPostcopy = true
            adjust(&$0)
        }
        try await body(served, path)
        try await served.stop()
    }

    static func disk(_ path: String) throws -> [UInt8] { try Array(Data(contentsOf: URL(fileURLWithPath: path))) }

    /// Waits until the back-end waits for a page that it is kept from.
    static func waitForFault(_ source: PageSource) {
        for _ in 0..<20_000 where source.waitingCount == 0 { pause(milliseconds: 1) }
        #expect(source.waitingCount > 0)
    }

    /// Why each queue of the export is where it is.
    @ControlActor static func reasons(_ served: ServedExport) -> [String] {
        served.pollers.status.flatMap(\.queues).filter { $0.export == served.export.configuration.name }.map(\.reason)
    }

    @Test(arguments: settings) func aGuestGoesOnBeforeItsMemoryHasCome(_ setting: Setting) async throws {
        try await Self.with(setting) { served, path in
            let (driver, source) = try Self.arrive(served, setting)
            source.delayNanoseconds = 200_000
            #expect(await Self.reasons(served) == ["post-copy"])
            #expect(await served.export.status.frontend?.activities.contains("post-copy") == true)
            Self.submit(driver, .write, Self.writers, from: Self.sector)
            try Self.finish(driver, Self.writers.count)
            #expect(source.faultCount > 0)
            let written = try Self.disk(path)
            for slot in Self.writers {
                #expect(Array(written[slot * Self.slotBytes..<(slot + 1) * Self.slotBytes]) == Self.pattern(slot))
            }
            // Into slots that nobody has touched, so that the device has to wait for what it overwrites.
            Self.submit(driver, .read, 16..<24) { Self.sector($0 - 8) }
            try Self.finish(driver, 8)
            for slot in 16..<24 { #expect(Self.contents(driver, slot) == Self.pattern(slot - 8)) }
            // A queue that waits for memory stays where it is.
            let cpu = try #require(Topology().cpus.numbers.last)
            if await served.export.status.queues[0].cpu != cpu {
                await #expect(throws: ExportError.self) { try await served.export.move(queue: 0, to: cpu) }
            }
            try driver.endPostcopy()
            #expect(source.failure == nil)
            // On its way it is at no poller.
            for _ in 0..<2000 {
                if await Self.reasons(served) == ["load"] { break }
                await Task.yield()
                pause(milliseconds: 10)
            }
            #expect(await Self.reasons(served) == ["load"])
            #expect(await served.export.status.frontend?.activities == [])
            Self.fill(driver, 24..<32)
            Self.submit(driver, .write, 24..<32, from: Self.sector)
            try Self.finish(driver, 8)
            #expect(try driver.read(sector: Self.sector(24), count: Self.slotBytes) == Self.pattern(24))
            driver.close()
        }
    }

    /// Its descriptor lets whoever has it stop any thread of the process: no front-end gets one unasked.
    @Test func itIsOffUnlessItIsAskedFor() async throws {
        let served = try await ServedExport.start()
        #expect(await served.export.status.postcopyRefusal == "post_copy is off; see docs/migration.md")
        let driver = try BlockDriver(path: served.path, options: Self.options(Self.settings[0]))
        #expect(!driver.connection.protocolFeatures.contains(.pageFault))
        #expect(throws: FrontendError.self) { _ = try driver.connection.adviseOfPostcopy() }
        driver.close()
        try await served.stop()
        let asked = try await ServedExport.start { $0.offersPostcopy = true }
        #expect(await asked.export.status.postcopyRefusal == nil)
        try await asked.stop()
    }

    /// Whether requests did not end within the drain time-out.
    static func hasAbandoned(_ served: ServedExport) -> Bool {
        served.told.contains { if case .notice(let text) = $0 { text.contains("abandoned") } else { false } }
    }

    /// The memory of writes in flight never comes, in each way that this can end: the disk keeps what it had, and the next guest is served.
    @Test(arguments: settings, ["hang up", "delete"]) func memoryThatNeverComesIsNotWritten(_ setting: Setting, _ end: String) async throws
    {
        try await Self.with(setting) { served, path in
            let (driver, source) = try Self.arrive(served, setting)
            source.suppliesBackend = false
            Self.submit(driver, .write, Self.writers, from: Self.sector)
            Self.waitForFault(source)
            if end == "delete" {
                try await served.stopExport()
            } else {
                driver.close()
                #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
                for _ in 0..<500 where await served.export.isConnected { pause(milliseconds: 10) }
                let next = try BlockDriver(path: served.path, options: Self.options(setting))
                #expect(try #require(next.request(.read, length: 4096)).status == .ok)
                next.close()
            }
            #expect(!Self.hasAbandoned(served), "nothing was waited for as long as requests may be")
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Self.fresh)
            driver.close()
            source.end()
        }
    }

    /// Requests that the kernel has, and has not yet read the data of, when the front-end goes: an error, never zeroes.
    @Test(arguments: [false, true]) func whatTheKernelHasNotReadIsNotWritten(isPacked: Bool) async throws {
        let disk = try FreezableDisk()
        try Self.fresh.write(to: URL(fileURLWithPath: disk.file))
        let served = try await ServedExport.start {
            $0.backing = .file(path: disk.file)
            $0.engine = .ioURing
            $0.offersPostcopy = true
            $0.drainTimeoutNanoseconds = 200_000_000
        }
        let (driver, source) = try Self.arrive(served, Setting(isPacked: isPacked, engine: .ioURing, oneByOne: false))
        try disk.freeze()
        Self.submit(driver, .write, Self.writers, from: Self.sector)
        for _ in 0..<500 {
            if await served.export.status.queues[0].inFlight == Self.writers.count { break }
            pause(milliseconds: 10)
        }
        #expect(await served.export.status.queues[0].inFlight == Self.writers.count)
        pause(milliseconds: 50)
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        try disk.thaw()
        try await served.stop()
        let now = try Self.disk(disk.file)
        for slot in Self.writers {
            let part = Array(now[slot * Self.slotBytes..<(slot + 1) * Self.slotBytes])
            let pattern = Self.pattern(slot)
            #expect(part.indices.allSatisfy { part[$0] == 0xee || part[$0] == pattern[$0] }, "old or new, and nothing else")
        }
        source.end()
    }

    /// One processor for two exports: the one that waits holds up neither the other nor the control thread.
    @Test func aGuestThatWaitsHoldsUpNobody() async throws {
        let setting = Self.settings[0]
        let cpu = try #require(Topology().cpus.numbers.first)
        try await Self.with(setting, adjust: { $0.cpus = [cpu] }) { served, _ in
            let other = try await ServedExport.start(beside: served) { $0.cpus = [cpu] }
            let neighbour = try BlockDriver(path: other.path, options: BlockDriver.options(isPacked: false))
            #expect(try #require(neighbour.request(.read, length: 4096)).status == .ok)
            let (driver, source) = try Self.arrive(served, setting)
            source.suppliesBackend = false
            Self.submit(driver, .write, Self.writers, from: Self.sector)
            Self.waitForFault(source)
            #expect(await other.export.status.queues[0].cpu == cpu)
            for _ in 0..<100 { #expect(try #require(neighbour.request(.read, length: 4096)).status == .ok) }
            #expect(await served.export.status.queues[0].cpu == cpu)
            #expect(driver.next(0, milliseconds: 50) == nil)
            source.suppliesBackend = true
            try Self.finish(driver, Self.writers.count)
            try driver.endPostcopy()
            neighbour.close()
            driver.close()
            try await other.stopExport()
        }
    }

    /// All is there, says the front-end, while a request waits for a page: its session ends rather than that zeroes are written.
    @Test func anEndThatComesTooEarly() async throws {
        let setting = Self.settings[0]
        try await Self.with(setting) { served, path in
            let (driver, source) = try Self.arrive(served, setting)
            driver.connection.timeoutNanoseconds = 20_000_000_000
            source.suppliesBackend = false
            Self.submit(driver, .write, Self.writers, from: Self.sector)
            Self.waitForFault(source)
            #expect(throws: FrontendError.self) { try driver.connection.endPostcopy() }
            #expect(try #require(served.reasonOfDisconnection()).contains("POSTCOPY_END"))
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Self.fresh)
            source.end()
        }
    }

    /// Memory is told anew, and more of it comes, while requests run and pages are missing.
    @Test(arguments: settings) func memoryChangesMeanwhile(_ setting: Setting) async throws {
        try await Self.with(setting) { served, _ in
            let (driver, source) = try Self.arrive(served, setting)
            source.delayNanoseconds = 100_000
            var written: [Int] = []
            for slot in Self.writers {
                Self.submit(driver, .write, slot..<slot + 1, from: Self.sector)
                let isAddition = setting.oneByOne
                if isAddition {
                    let added = try DriverMemory(shared: [DriverMemory.Range(guestAddress: UInt64(slot) << 32, size: 1 << 20)])
                    _ = try driver.connection.addAwaitedRegion(0, of: added)
                    try driver.connection.acknowledgeMemory(oneByOne: true)
                } else {
                    // From here to the acknowledgement nothing is touched.
                    let addresses = try driver.connection.setAwaitedMemory(driver.memory)
                    try #require(source.failure == nil)
                    let faults = try #require(source.backendFaults)
                    try source.serve(faults, addresses: addresses)
                    try driver.connection.acknowledgeMemory()
                }
                written.append(slot)
            }
            try Self.finish(driver, written.count)
            // The last acknowledgement has no answer, but what is asked after it has.
            _ = try driver.connection.queueCountMax()
            #expect(await served.export.status.frontend?.regionCount == (setting.oneByOne ? 1 + written.count : 1))
            for slot in written {
                #expect(try driver.read(sector: Self.sector(slot), count: Self.slotBytes) == Self.pattern(slot))
            }
            try driver.endPostcopy()
            #expect(try #require(driver.request(.flush)).status == .ok)
            driver.close()
        }
    }
}

extension BlockDriver {
    /// The next completion of a queue, if it comes soon.
    func next(_ queue: Int, milliseconds: Int) -> BlockCompletion? {
        var completion = BlockCompletion()
        for _ in 0..<milliseconds {
            if queues[queue].poll(&completion) == .completed { return completion }
            pause(milliseconds: 1)
        }
        return nil
    }
}
