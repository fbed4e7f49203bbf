internal import LinuxSystem
internal import Synchronization

/// What a poller tells of itself: written by its thread, read by the control thread.
final class PollerGauges: Sendable {
    let busyLoops = Atomic<UInt64>(0)
    let idleLoops = Atomic<UInt64>(0)
    let sleeps = Atomic<UInt64>(0)

    /// Adds to a counter that only the poller writes: a plain load and store.
    @inline(__always)
    static func add(_ amount: UInt64, to counter: borrowing Atomic<UInt64>) {
        counter.store(counter.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }
}
