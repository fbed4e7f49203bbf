internal import LinuxSystem

/// How long, and for how many completed requests, notifications of a queue may wait for each other.
public struct CoalescingLimits: Sendable, Equatable {
    /// The longest that a completed request waits for its notification, nanoseconds, at least 1.
    public var nanoseconds: UInt64
    /// Completed requests that do not wait any longer, at least 1.
    public var count: Int

    /// Limits of both kinds.
    public init(nanoseconds: UInt64, count: Int) { (self.nanoseconds, self.count) = (nanoseconds, count) }
}

/// The notification that a queue owes its driver.
///
/// The ring decides with each batch whether the driver wants to be told (event index or flags); what it wants is owed from then on, and told
/// when enough requests have been completed, when the time is over, or when no request is in flight, since none can join it then. The used
/// ring is written at once: a driver that polls waits for nothing. Without limits a notification is never owed for longer than a moment.
struct Coalescing {
    /// nil: nothing waits.
    let limits: CoalescingLimits?
    /// When the owed notification is due at the latest, on the monotonic clock; `UInt64.max` when none is owed.
    private(set) var due = UInt64.max
    private var count = 0

    init(_ limits: CoalescingLimits?) { self.limits = limits }

    /// A batch of `done` requests was published; whether the driver is to be told now.
    ///
    /// - Parameters:
    ///   - isWanted: the driver wants to be told of this batch.
    ///   - isLast: no request is in flight.
    mutating func isDue(after done: Int, isWanted: Bool, isLast: Bool, now: UInt64) -> Bool {
        guard let limits else { return isWanted }
        if due == .max {
            guard isWanted else { return false }
            (due, count) = (now &+ limits.nanoseconds, 0)
        }
        count += done
        guard count >= limits.count || isLast || now >= due else { return false }
        due = .max
        return true
    }

    /// Whether the time of an owed notification is over.
    mutating func isOver(now: UInt64) -> Bool {
        guard due != .max, now >= due else { return false }
        due = .max
        return true
    }
}
