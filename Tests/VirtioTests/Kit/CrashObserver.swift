import Virtio

/// Calls back after each store a ring makes to shared memory.
struct CrashObserver: StoreObserver {
    var afterStore: (() -> Void)?

    init() {}

    init(afterStore: @escaping () -> Void) { self.afterStore = afterStore }

    mutating func didStore(_ address: UnsafeMutableRawPointer, size: Int) { afterStore?() }
}
