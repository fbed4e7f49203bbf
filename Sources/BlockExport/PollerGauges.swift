internal import LinuxSystem
internal import Synchronization

/// What a poller tells of itself: written by its thread, read by the control thread.
package final class PollerGauges: Sendable {
    let busyLoops = Atomic<UInt64>(0)
    let idleLoops = Atomic<UInt64>(0)
    let sleeps = Atomic<UInt64>(0)
    /// One more at the begin and at the end of each system call at a front-end's descriptor, which may wait: odd while the thread is in one.
    let peerCalls = Atomic<UInt64>(0)

    /// Of the poller's thread alone.
    let clock = TurnClock()

    /// All zero.
    package init() {}

    deinit { clock.destroy() }

    /// Adds to a counter that only the poller writes: a plain load and store.
    @inline(__always)
    static func add(_ amount: UInt64, to counter: borrowing Atomic<UInt64>) {
        counter.store(counter.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }
}
