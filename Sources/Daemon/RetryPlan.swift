import LinuxSystem

/// When an export that cannot be served is tried again: soon at first, since most of what is missing at a boot comes a moment later, then
/// less and less often.
@ControlActor
struct RetryPlan {
    /// The first wait; each is twice the one before.
    nonisolated static let firstNanoseconds: UInt64 = 250_000_000
    /// The longest wait.
    nonisolated static let longestNanoseconds: UInt64 = 10_000_000_000

    /// How long to wait after this many failed attempts, counted from 0.
    nonisolated static func waitNanoseconds(after failures: Int) -> UInt64 {
        failures < 6 ? min(firstNanoseconds << UInt64(failures), longestNanoseconds) : longestNanoseconds
    }

    private var failureCount = 0
    private var timer: TimerRegistration?
    private var deadline: UInt64?

    nonisolated init() {}

    /// Time until the next attempt; nil when none is planned.
    var remainingNanoseconds: UInt64? {
        deadline.map { deadline in
            let now = MonotonicClock.now()
            return deadline > now ? deadline - now : 0
        }
    }

    /// Calls `attempt` after the wait that is due.
    mutating func plan(_ attempt: @escaping @ControlActor () -> Void) {
        timer?.cancel()
        let wait = Self.waitNanoseconds(after: failureCount)
        failureCount += 1
        deadline = MonotonicClock.now() + wait
        timer = EventLoop.control.after(nanoseconds: wait, handler: attempt)
    }

    /// Nothing is tried any more.
    mutating func cancel() {
        timer?.cancel()
        timer = nil
        deadline = nil
    }
}
