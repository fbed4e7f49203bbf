internal import BlockIO
internal import LinuxSystem

/// Requests of one queue that the backing failed and that wait to be tried again. All members are the poller's thread's alone.
///
/// A request in here stays in flight as the guest and the inflight region see it: its chain is not handed back, its slot is taken, its
/// memory stays mapped. All that wait are tried together, since what one of them needs says nothing about the others. The data path comes
/// here with failed requests only; that one of them succeeded in the end is seen by the mark in its slot
/// (``RequestSlot/heldMark``), which takes it through the code for requests of several ranges.
@safe
package final class HeldRequests {
    /// The first wait; each one after it is twice as long, up to the longest.
    static let retryNanosecondsMin: UInt64 = 100_000_000
    static let retryNanosecondsMax: UInt64 = 5_000_000_000

    private let timeoutNanoseconds: UInt64
    private let isDirect: Bool
    private let counters: QueueCounters
    /// Asks the poller to call `takeDue` at a time of the monotonic clock.
    private let schedule: (UInt64) -> Void
    private let onChange: (HoldChange) -> Void

    private var waiting = IOCompletionList()
    /// Requests that were held and have not ended, those that are just being tried included.
    private var outstanding: UInt64 = 0
    private var retryNanoseconds = HeldRequests.retryNanosecondsMin
    /// When those that wait are tried again, on the monotonic clock; `UInt64.max` when none waits.
    private(set) var nextRetry = UInt64.max

    /// Holds requests until they are `timeoutNanoseconds` old (0: for ever), on a backing with or without the page cache in between.
    package init(
        timeoutNanoseconds: UInt64, isDirect: Bool, counters: QueueCounters, schedule: @escaping (UInt64) -> Void,
        onChange: @escaping (HoldChange) -> Void
    ) {
        self.timeoutNanoseconds = timeoutNanoseconds
        self.isDirect = isDirect
        self.counters = counters
        self.schedule = schedule
        self.onChange = onChange
    }

    /// Takes a request that failed with `result`; false when the guest is to be told: its time is over, or the failure is not of the kind
    /// that is held.
    func take(_ slot: UnsafeMutablePointer<RequestSlot>, _ result: Int64) -> Bool {
        let now = MonotonicClock.now()
        let isOver = unsafe timeoutNanoseconds > 0 && now &- slot.pointee.start >= timeoutNanoseconds
        let mayRetry = unsafe IOFailure.mayRetry(slot.pointee.operation.kind, result: result, isDirect: isDirect)
        guard mayRetry, !isOver else {
            if unsafe slot.pointee.isHeld {
                if isOver { counters.add(1, to: .holdTimeouts) }
                unsafe end(slot)
            }
            return false
        }
        counters.set(.heldError, UInt64(-result))
        if unsafe !slot.pointee.isHeld { unsafe begin(slot, now) }
        unsafe waiting.append(UnsafeMutableRawPointer(slot).assumingMemoryBound(to: IOOperation.self))
        var deadline = min(nextRetry, now &+ retryNanoseconds)
        // The last try is when the time is over, not a back-off later.
        if timeoutNanoseconds > 0 { deadline = unsafe min(deadline, slot.pointee.start &+ timeoutNanoseconds) }
        if deadline < nextRetry {
            nextRetry = deadline
            schedule(deadline)
        }
        return true
    }

    private func begin(_ slot: UnsafeMutablePointer<RequestSlot>, _ now: UInt64) {
        unsafe slot.pointee.makeGeneral()
        unsafe slot.pointee.rangesLeft |= RequestSlot.heldMark
        outstanding += 1
        counters.add(1, to: .heldTotal)
        counters.set(.held, outstanding)
        guard outstanding == 1 else { return }
        counters.set(.heldSince, now)
        counters.set(.heldTries, 0)
        retryNanoseconds = Self.retryNanosecondsMin
        onChange(.began)
    }

    /// Notes that a request that was held has ended, or goes on with its next range; nothing where it was given up meanwhile.
    func end(_ slot: UnsafeMutablePointer<RequestSlot>) {
        unsafe slot.pointee.rangesLeft &= ~RequestSlot.heldMark
        guard outstanding > 0 else { return }
        outstanding -= 1
        counters.set(.held, outstanding)
        if outstanding == 0 { onChange(.ended) }
    }

    /// Those that are to be tried by `now`; empty when it is not time yet. The caller adds them to the channel again.
    func takeDue(now: UInt64) -> IOCompletionList {
        guard now >= nextRetry else { return IOCompletionList() }
        let due = waiting
        waiting = IOCompletionList()
        nextRetry = .max
        retryNanoseconds = min(2 * retryNanoseconds, Self.retryNanosecondsMax)
        counters.add(1, to: .heldTries)
        return due
    }

    /// Makes the next wait a short one again and everything that waits due now: somebody says that the backing is back.
    func hasten() {
        retryNanoseconds = Self.retryNanosecondsMin
        if !waiting.isEmpty { nextRetry = 0 }
    }

    /// Gives up all requests, those that are just being tried included; those that wait are returned. Nothing is held after this.
    func abandon() -> IOCompletionList {
        let given = waiting
        waiting = IOCompletionList()
        nextRetry = .max
        if outstanding > 0 {
            outstanding = 0
            counters.set(.held, 0)
            onChange(.ended)
        }
        return given
    }
}

/// The first request of a queue was held, or the last one is held no more.
package enum HoldChange: Sendable {
    case began, ended
}
