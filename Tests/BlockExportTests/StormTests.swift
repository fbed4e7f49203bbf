import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

/// Front-ends that do what is allowed, far too often.
@Suite struct StormTests {
    @Test func aThousandConnectionsWithinASecond() async throws {
        let served = try await ServedExport.start()
        let began = MonotonicClock.now()
        var connections = 0
        while connections < 1000 {
            // A full backlog turns a front-end away for a moment; that is the kernel's answer, and the front-end's to try again.
            guard let socket = try? UnixSocket.connect(path: served.path) else { continue }
            connections += 1
            withExtendedLifetime(socket) {}
        }
        let elapsed = MonotonicClock.now() - began
        // On a machine that does nothing else it takes a tenth of a second.
        #expect(elapsed < 3_000_000_000, "\(elapsed / 1_000_000) ms: the export keeps up")
        // Each had gone when the next one came: none is a second front-end.
        #expect(!served.told.contains { if case .refusedSecondFrontend = $0 { true } else { false } })
        let options = BlockDriver.options(isPacked: false) {
            $0.patienceNanoseconds = 5_000_000_000
            // Those who connected last may still fill the backlog.
            $0.waitsForBackend = true
        }
        let driver = try BlockDriver(path: served.path, options: options)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func anEnableStormLosesNoRequest(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        for round in 0..<500 {
            for slot in 0..<8 { #expect(driver.submitRead(slot: slot, length: 512)) }
            driver.queues[0].flushSubmissions()
            for _ in 0..<(round % 3 + 1) {
                try driver.connection.setEnabled(0, false)
                try driver.connection.setEnabled(0, true)
            }
            var seen: [Int] = []
            for _ in 0..<8 { seen.append(try #require(driver.next()).slot) }
            #expect(seen.sorted() == Array(0..<8), "each once, round \(round)")
        }
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func aKickOfADisabledRingWaits(isPacked: Bool) async throws {
        let served = try await ServedExport.start { $0.pollMode = .interrupt }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        for _ in 0..<20 {
            try driver.connection.setEnabled(0, false)
            #expect(driver.submitRead(slot: 0, length: 512))
            driver.queues[0].flushSubmissions()
            driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
            pause(milliseconds: 2)
            var completion = BlockCompletion()
            #expect(driver.queues[0].poll(&completion) != .completed, "a disabled ring is not processed")
            try driver.connection.setEnabled(0, true)
            #expect(try #require(driver.next()).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    /// Another thread of the guest writes all over descriptors, tables, headers and rings while they are read: its own ring may break, its
    /// requests may fail, and that is all.
    @Test(arguments: [false, true], [UInt64(1), 2, 3])
    func aGuestThatRewritesWhatIsBeingRead(isPacked: Bool, seed: UInt64) async throws {
        let served = try await ServedExport.start { $0.pollMode = .busy }
        let neighbour = try await ServedExport.start(beside: served)
        let other = try BlockDriver(path: neighbour.path, options: BlockDriver.options(isPacked: isPacked))
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        let scribbled = Scribble(memory: driver.memory, seed: seed)
        let thread = try PinnedThread(name: "scribble") { scribbled.run(nanoseconds: 400_000_000) }
        let end = MonotonicClock.now() + 400_000_000
        while MonotonicClock.now() < end {
            // The driver may find nonsense in its own ring; it is not what is tried here.
            for slot in 0..<8 { _ = driver.submitRead(slot: slot, length: 4096) }
            driver.queues[0].flushSubmissions()
            #expect(try #require(other.request(.read, length: 512)).status == .ok)
        }
        thread.join()
        driver.close()
        let next = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        #expect(try #require(next.request(.read, length: 512)).status == .ok)
        next.close()
        other.close()
        try await neighbour.stopExport()
        try await served.stop()
    }

    /// Writes plausible values to random places of guest memory: small numbers, guest addresses, flags, and the ends of all ranges.
    private struct Scribble: Sendable {
        var memory: DriverMemory
        var seed: UInt64

        func run(nanoseconds: UInt64) {
            let region = memory.regions[0]
            let area = memory.buffer(region: 0, offset: 0, size: Int(min(region.size, 64 << 10)))
            let values: [UInt64] = [
                0, 1, 2, 4, 7, 16, 512, 0xffff, 0x8080, 0xffff_ffff, .max, region.guestAddress, region.guestAddress + region.size - 1,
            ]
            var state = seed
            func random(_ bound: Int) -> Int {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int((state >> 33) % UInt64(bound))
            }
            let end = MonotonicClock.now() + nanoseconds
            while MonotonicClock.now() < end {
                for _ in 0..<64 {
                    let value = values[random(values.count)]
                    let offset = random(area.size / 8) * 8
                    switch random(3) {
                    case 0: unsafe area.pointer.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
                    case 1: unsafe area.pointer.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: offset, as: UInt32.self)
                    default: unsafe area.pointer.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
                    }
                }
            }
        }
    }

    /// How a front-end can turn its back on requests in flight.
    enum TurningAway: CaseIterable {
        case resetDevice, getVringBase, disconnect
    }

    @Test(arguments: TurningAway.allCases, [false, true])
    func withRequestsInFlightOverAndOver(how: TurningAway, isPacked: Bool) async throws {
        let path = NSTemporaryDirectory() + "vhublk-storm-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(FileManager.default.createFile(atPath: path, contents: Data(count: 1 << 20)))
        let served = try await ServedExport.start { $0.backing = .file(path: path) }
        var options = BlockDriver.options(isPacked: isPacked)
        options.patienceNanoseconds = 5_000_000_000
        for _ in 0..<60 {
            let driver = try BlockDriver(path: served.path, options: options)
            for slot in 0..<32 { #expect(driver.submitRead(slot: slot, length: 4096)) }
            driver.queues[0].flushSubmissions()
            switch how {
            case .resetDevice:
                try driver.connection.resetDevice()
                #expect(await served.export.status.queues[0].inFlight == 0)
            case .getVringBase:
                try driver.stop()
                try driver.resume()
                for _ in 0..<32 { #expect(try #require(driver.next()).status == .ok) }
            case .disconnect: break
            }
            driver.close()
        }
        let last = try BlockDriver(path: served.path, options: options)
        #expect(try #require(last.request(.read, length: 4096)).status == .ok)
        last.close()
        try await served.stop()
    }
}
