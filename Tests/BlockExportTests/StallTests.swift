import BlockExport
import Glibc
import LinuxSystem
import Testing
import VhostUserFrontend
import Virtio

/// Front-ends whose descriptors make whoever uses them wait: another export on the same poller hardly notices.
@Suite struct StallTests {
    /// An eventfd that blocks.
    private static func blockingEvent() throws -> EventFD {
        let event = try EventFD()
        try event.descriptor.setNonBlocking(false)
        return event
    }

    /// Fills an empty counter: a write waits from now on until somebody reads.
    private static func fill(_ event: EventFD) {
        var full = UInt64.max - 1
        // Eight bytes of this frame, read by the kernel during the call.
        #expect(unsafe write(event.descriptor.rawValue, &full, 8) == 8)
    }

    private static func fullEvent() throws -> EventFD {
        let event = try blockingEvent()
        fill(event)
        return event
    }

    /// Two exports on one poller, each with its front-end.
    private struct Pair {
        let bad: ServedExport
        let good: ServedExport
        let attacker: BlockDriver
        let neighbour: BlockDriver

        init(queueCount: Int = 2, mode: PollMode = .adaptive) async throws {
            let cpu = Topology().cpus.numbers[0]
            bad = try await ServedExport.start {
                $0.cpus = [cpu]
                $0.pollMode = mode
                $0.queueCount = queueCount
            }
            good = try await ServedExport.start(beside: bad) { $0.cpus = [cpu] }
            attacker = try BlockDriver(path: bad.path, options: BlockDriver.options(isPacked: false) { $0.queueCount = queueCount })
            neighbour = try BlockDriver(path: good.path, options: BlockDriver.options(isPacked: false))
        }

        /// The longest that a request of the neighbour's takes while `body` runs on another thread, and for a while after.
        func slowestRequest(while body: @escaping @Sendable () -> Void) throws -> UInt64 {
            let thread = try PinnedThread(name: "attack", body: body)
            let end = MonotonicClock.now() + 600_000_000
            var slowest: UInt64 = 0
            while MonotonicClock.now() < end {
                let before = MonotonicClock.now()
                #expect(try #require(neighbour.request(.read, length: 512)).status == .ok)
                slowest = max(slowest, MonotonicClock.now() - before)
            }
            thread.join()
            return slowest
        }

        func stop() async throws {
            neighbour.close()
            attacker.close()
            try await good.stopExport()
            try await bad.stop()
        }
    }

    private struct Sent: @unchecked Sendable {
        // One thread at a time: the attack's.
        let driver: BlockDriver
    }

    /// Two looks of the watch, and what a busy machine adds.
    private static let slowestAllowed: UInt64 = 300_000_000

    @Test(arguments: PollMode.allCases)
    func aFullCallDescriptorThatBlocksEndsItsSession(mode: PollMode) async throws {
        let pair = try await Pair(mode: mode)
        let event = try Self.blockingEvent()
        for queue in 0..<2 { try pair.attacker.connection.setCall(queue, event.descriptor) }
        event.drain()
        let sent = Sent(driver: pair.attacker)
        let slowest = try pair.slowestRequest {
            Self.fill(event)
            for queue in 0..<2 {
                _ = sent.driver.queues[queue].enableCalls()
                _ = sent.driver.submitRead(slot: 0, length: 512, queue: queue)
            }
            for queue in 0..<2 { sent.driver.queues[queue].flushSubmissions() }
        }
        #expect(slowest < Self.slowestAllowed, "\(slowest / 1_000_000) ms")
        let reason = try #require(pair.bad.reasonOfDisconnection())
        #expect(reason.contains("held up the poller"), "\(reason)")
        #expect(await pair.bad.export.statistics.total.stalls == 1, "the second queue's descriptor was looked at first")
        #expect(await pair.good.export.statistics.total.stalls == 0)
        try await pair.stop()
    }

    @Test func afterAStallTheNextFrontendWaits() async throws {
        let pair = try await Pair()
        var attacker = pair.attacker
        for (round, waited) in [900_000_000, 1_900_000_000].enumerated() as EnumeratedSequence<[UInt64]> {
            try attacker.connection.setCall(0, nil)
            let before = MonotonicClock.now()
            try? attacker.connection.setCall(0, Self.fullEvent().descriptor)
            #expect(pair.bad.waitFor { _ in pair.bad.told.count { if case .disconnected(_?) = $0 { true } else { false } } == round + 1 })
            attacker.close()
            attacker = try BlockDriver(path: pair.bad.path, options: BlockDriver.options(isPacked: false))
            #expect(MonotonicClock.now() - before > waited, "a second, and two the second time")
            #expect(try #require(attacker.request(.read, length: 512)).status == .ok, "and is served as any other")
        }
        attacker.close()
        try await pair.stop()
    }

    @Test func aFullErrorDescriptorThatBlocksHoldsUpNobody() async throws {
        let pair = try await Pair()
        let event = try Self.fullEvent()
        try pair.attacker.connection.setError(0, event.descriptor)
        let sent = Sent(driver: pair.attacker)
        let slowest = try pair.slowestRequest {
            // The avail index runs ahead by more than the ring has entries: the ring is broken, and its err descriptor is signalled.
            unsafe sent.driver.queues[0].endpoint.area.driver.pointer.storeBytes(of: 1000, toByteOffset: 2, as: UInt16.self)
            sent.driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        }
        #expect(slowest < Self.slowestAllowed, "\(slowest / 1_000_000) ms")
        #expect(pair.bad.reasonOfDisconnection()?.contains("held up the poller") == true)
        try await pair.stop()
    }

    @Test func aKickDescriptorThatBlocksAndIsSharedHoldsUpNobody() async throws {
        let pair = try await Pair(mode: .interrupt)
        let event = try Self.blockingEvent()
        // Both rings wait for one counter: the first that reads it takes the other's kick as well.
        try pair.attacker.connection.setKick(0, event.descriptor)
        try pair.attacker.connection.setKick(1, event.descriptor)
        let slowest = try pair.slowestRequest { for _ in 0..<200 { event.signal() } }
        #expect(slowest < Self.slowestAllowed, "\(slowest / 1_000_000) ms")
        #expect(await pair.bad.export.statistics.total.stalls == 0, "nothing waited at all")
        for queue in 0..<2 {
            #expect(pair.attacker.submitRead(slot: 0, length: 512, queue: queue))
            pair.attacker.queues[queue].flushSubmissions()
            event.signal()
            #expect(try #require(pair.attacker.next(queue)).status == .ok, "kicks still come")
        }
        try await pair.stop()
    }

    @Test func aKickDescriptorThatCannotBeReadBreaksItsRing() async throws {
        let pair = try await Pair(mode: .interrupt)
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        try pair.attacker.connection.setKick(0, FileDescriptor(owning: ends[1]))
        // Without a reader the writing end is ready for ever.
        close(ends[0])
        #expect(pair.bad.waitFor { if case .ringFailed(queue: 0, _) = $0 { true } else { false } })
        #expect(try #require(pair.attacker.request(.read, length: 512, queue: 1)).status == .ok)
        #expect(try #require(pair.neighbour.request(.read, length: 512)).status == .ok)
        try await pair.stop()
    }

    @Test func kickStormsCostOthersNothingButTime() async throws {
        let pair = try await Pair(mode: .interrupt)
        let kick = try #require(pair.attacker.queues[0].endpoint.kick)
        let end = MonotonicClock.now() + 800_000_000
        let slowest = try pair.slowestRequest { while MonotonicClock.now() < end { EventFD(adopting: kick).signal() } }
        #expect(slowest < Self.slowestAllowed, "\(slowest / 1_000_000) ms")
        #expect(try #require(pair.attacker.request(.read, length: 512)).status == .ok)
        try await pair.stop()
    }
}
