/// Whether it pays to spin for a queue's next work, learned from how long the queue waited for work before.
///
/// Each wait either was short, so that a spin meets its end, or long, so that the spin is wasted. What was mostly short of late is spun for;
/// of what was mostly long one wait in sixteen is, since the time until a sleeper runs says little about when the work came. Waits with
/// requests at the disk, which end when it is done, are told from waits for the driver: a slow disk is no reason not to spin for a quick guest.
public struct SpinForecast: Sendable, Equatable {
    /// The longest spin unless somebody says otherwise, nanoseconds. About what a sleep and a wake-up cost, so that no wait costs more than
    /// twice the least possible.
    public static let spinNanosecondsDefault: UInt64 = 20_000
    /// What a wake-up takes, nanoseconds: a wait that a sleep ended counts as short up to the longest spin and this.
    package static let wakeUpNanoseconds: UInt64 = 10_000
    /// Of waits that are not worth a spin, one in so many is spun for all the same.
    package static let waitsPerProbe = 16

    /// How waits of one kind went: the more were short, the higher.
    private struct Record: Equatable {
        static let worthMax = 8
        static let worthNeeded = 4
        var worth = Self.worthMax
        var unspunWaits = 0

        mutating func note(isShort: Bool) { worth = isShort ? min(worth + 1, Self.worthMax) : max(worth - 1, 0) }

        mutating func isToBeSpun() -> Bool {
            if worth >= Self.worthNeeded { return true }
            unspunWaits += 1
            if unspunWaits < SpinForecast.waitsPerProbe { return false }
            unspunWaits = 0
            return true
        }
    }

    private let spinNanosecondsMax: UInt64
    private var driver = Record()
    private var disk = Record()
    /// Of the wait that goes on.
    private var isForDisk = false
    private var wasSpun = true
    private var began: UInt64 = 0

    /// Nothing learned: every wait is spun for, so long at most.
    package init(spinNanosecondsMax: UInt64 = Self.spinNanosecondsDefault) { self.spinNanosecondsMax = spinNanosecondsMax }

    /// A wait begins; until when to spin, on the same clock as `now`.
    package mutating func begin(now: UInt64, hasRequestsInFlight: Bool) -> UInt64 {
        isForDisk = hasRequestsInFlight
        began = now
        wasSpun = isForDisk ? disk.isToBeSpun() : driver.isToBeSpun()
        return wasSpun ? now &+ spinNanosecondsMax : now
    }

    /// Work came during the spin.
    package mutating func workCame() { note(isShort: true) }

    /// The spin is over, without work: the queue sleeps.
    package mutating func sleeps() {
        if wasSpun { note(isShort: false) }
    }

    /// Work came, and ended a sleep.
    package mutating func wakes(now: UInt64) {
        // A long one tells nothing: the work may have come soon, and the sleeper run late.
        if !wasSpun, now &- began <= spinNanosecondsMax &+ Self.wakeUpNanoseconds { note(isShort: true) }
    }

    private mutating func note(isShort: Bool) {
        if isForDisk { disk.note(isShort: isShort) } else { driver.note(isShort: isShort) }
    }
}
