internal import LinuxSystem

/// When a poller's last turn handed requests back: what its next turn takes began then, so that one reading of the clock does for both.
///
/// The poller's thread uses it. It has a place of its own in memory, so that looking at it is no access to the object that has it.
@safe
struct TurnClock: @unchecked Sendable {  // handed from the thread that makes a poller to the poller's, which alone uses it
    // @safe: one number, for as long as the owner lives; freed by `destroy`.
    private let time: UnsafeMutablePointer<UInt64>

    /// Without a time.
    init() {
        unsafe time = .allocate(capacity: 1)
        unsafe time.initialize(to: 0)
    }

    /// Frees the place.
    func destroy() { unsafe time.deallocate() }

    /// Reads the clock where requests are handed back.
    @inline(__always)
    func read() -> UInt64 {
        let now = MonotonicClock.now()
        unsafe time.pointee = now
        return now
    }

    /// The time at which requests are taken: the one just read, if nothing came in between, or now.
    @inline(__always)
    func last() -> UInt64 {
        let last = unsafe time.pointee
        return last != 0 ? last : MonotonicClock.now()
    }

    /// Something else than a turn came in between: what is taken next began later than the last turn ended.
    @inline(__always)
    func forget() { unsafe time.pointee = 0 }
}
