import BlockIO
import Foundation
import LinuxSystem
import TestSupport
import Testing
import VhostUserFrontend

@testable import BlockExport

/// Notifications that wait for each other.
@Suite(.serialized) struct CoalescingTests {
    // MARK: The rule

    @Test func withoutLimitsEachIsSentAtOnce() {
        var coalescing = Coalescing(nil)
        let wanted = coalescing.isDue(after: 1, isWanted: true, isLast: false, now: 5)
        #expect(wanted)
        let unwanted = coalescing.isDue(after: 1, isWanted: false, isLast: true, now: 5)
        #expect(!unwanted)
        #expect(coalescing.due == .max)
    }

    @Test func whatIsWantedWaitsForItsNumberItsTimeOrTheLast() {
        var coalescing = Coalescing(CoalescingLimits(nanoseconds: 100, count: 4))
        func note(_ done: Int, wanted: Bool = true, last: Bool = false, at now: UInt64) -> Bool {
            coalescing.isDue(after: done, isWanted: wanted, isLast: last, now: now)
        }
        // What the driver does not want is owed to nobody, the last one neither.
        #expect(!note(9, wanted: false, last: true, at: 1))
        #expect(coalescing.due == .max)
        // By number, counted from the first that is wanted.
        #expect(!note(3, at: 10))
        #expect(coalescing.due == 110)
        #expect(note(1, wanted: false, at: 11))
        #expect(coalescing.due == .max)
        // By time: of the first.
        #expect(!note(1, at: 200))
        #expect(!note(1, at: 299))
        #expect(note(1, at: 300))
        // By being the last in flight, for one that was wanted earlier.
        #expect(!note(1, at: 400))
        #expect(note(1, wanted: false, last: true, at: 401))
        // By the clock alone.
        #expect(!note(1, at: 500))
        let over = [599, 600, .max].map { coalescing.isOver(now: $0) }
        #expect(over == [false, true, false], "told once")
    }

    // MARK: Queues

    /// One write that the disk does not finish, and reads that it does.
    private final class Stuck {
        let disk: FreezableDisk
        let served: ServedExport
        let driver: BlockDriver

        init(_ limits: CoalescingLimits?, isPacked: Bool, mode: PollMode, engine: EngineKind = .ioURing) async throws {
            disk = try FreezableDisk()
            let path = disk.file
            served = try await ServedExport.start {
                $0.backing = .file(path: path)
                $0.engine = engine
                $0.pollMode = mode
                $0.coalescing = limits
            }
            driver = try BlockDriver(
                path: served.path,
                options: BlockDriver.options(isPacked: isPacked) {
                    $0.tracksInflight = true
                    $0.layout.options.eventIndex = true
                })
            try #require(try #require(driver.request(.write, length: 4096)).status == .ok)
            try disk.freeze()
            let isSubmitted = driver.queues[0].submit(.write, slot: 31, sector: 8, length: 4096, toDevice: true)
            try #require(isSubmitted)
            driver.queues[0].flushSubmissions()
        }

        /// Notifications so far.
        var notifications: UInt64 {
            get async { await served.export.statistics.total.notificationsSent }
        }

        /// One read, to its used element; whether the driver was notified of it within the time.
        func read(slot: Int, nanoseconds: UInt64) throws -> (took: UInt64, isNotified: Bool) {
            let call = EventFD(adopting: try #require(driver.queues[0].endpoint.call))
            call.drain()
            let begin = MonotonicClock.now()
            // The driver asks to be notified of the next element, as one that sleeps does.
            _ = driver.queues[0].enableCalls()
            #expect(driver.submitRead(slot: slot, length: 512))
            driver.queues[0].flushSubmissions()
            var isNotified = false
            while MonotonicClock.now() - begin < nanoseconds, !isNotified {
                isNotified = call.drain() > 0
            }
            let took = MonotonicClock.now() - begin
            var completion = BlockCompletion()
            for _ in 0..<5000 {
                if driver.queues[0].poll(&completion) == .completed { break }
                pause(milliseconds: 1)
            }
            #expect(completion.slot == slot && completion.status == .ok)
            return (took, isNotified)
        }

        /// Lets the disk go on; everything comes to its end.
        func end() async throws {
            try disk.thaw()
            #expect(try #require(driver.next()).slot == 31)
            driver.close()
            try await served.stop()
        }
    }

    @Test(arguments: [false, true], [PollMode.interrupt, .adaptive, .busy])
    func theTimeIsTheMostThatOneWaits(isPacked: Bool, mode: PollMode) async throws {
        let stuck = try await Stuck(CoalescingLimits(nanoseconds: 200_000_000, count: 1000), isPacked: isPacked, mode: mode)
        let early = try stuck.read(slot: 0, nanoseconds: 20_000_000)
        #expect(!early.isNotified, "it waits for others")
        // Owed since then: the next one gets no time of its own.
        let late = try stuck.read(slot: 1, nanoseconds: 5_000_000_000)
        #expect(late.isNotified)
        try await stuck.end()
    }

    @Test(arguments: [false, true])
    func theNumberEndsTheWait(isPacked: Bool) async throws {
        let stuck = try await Stuck(CoalescingLimits(nanoseconds: 3_600_000_000_000, count: 4), isPacked: isPacked, mode: .interrupt)
        let before = await stuck.notifications
        for round in 0..<3 {
            for slot in 0..<3 { #expect(try !stuck.read(slot: slot, nanoseconds: 5_000_000).isNotified, "round \(round)") }
            #expect(try stuck.read(slot: 3, nanoseconds: 5_000_000_000).isNotified, "round \(round)")
        }
        #expect(await stuck.notifications - before == 3)
        // Two are owed; the last in flight takes them along, and so would a stop.
        #expect(try !stuck.read(slot: 0, nanoseconds: 5_000_000).isNotified)
        #expect(try !stuck.read(slot: 1, nanoseconds: 5_000_000).isNotified)
        try await stuck.end()
    }

    @Test(arguments: [false, true])
    func withoutItEachIsNotified(isPacked: Bool) async throws {
        let stuck = try await Stuck(nil, isPacked: isPacked, mode: .interrupt)
        for slot in 0..<4 { #expect(try stuck.read(slot: slot, nanoseconds: 5_000_000_000).isNotified) }
        try await stuck.end()
    }

    @Test(arguments: [false, true])
    func oneAtATimeWaitsForNothing(isPacked: Bool) async throws {
        let served = try await ServedExport.start {
            $0.pollMode = .interrupt
            $0.coalescing = CoalescingLimits(nanoseconds: 3_600_000_000_000, count: 1000)
        }
        let driver = try BlockDriver(
            path: served.path, options: BlockDriver.options(isPacked: isPacked) { $0.layout.options.eventIndex = true })
        for _ in 0..<100 { #expect(try #require(driver.request(.read, length: 512)).status == .ok) }
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func aStopAndAMoveTellWhatIsOwed(isPacked: Bool) async throws {
        let stuck = try await Stuck(CoalescingLimits(nanoseconds: 3_600_000_000_000, count: 1000), isPacked: isPacked, mode: .interrupt)
        #expect(try !stuck.read(slot: 0, nanoseconds: 5_000_000).isNotified)
        let before = await stuck.notifications
        try stuck.disk.thaw()
        try stuck.driver.stop()
        #expect(await stuck.notifications == before + 1)
        try stuck.driver.resume()
        #expect(try #require(stuck.driver.next()).slot == 31)
        stuck.driver.close()
        try await stuck.served.stop()
    }
}
