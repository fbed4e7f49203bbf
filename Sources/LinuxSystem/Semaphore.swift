import CLinux
import Glibc

/// A counting semaphore (sem_t) for threads of our own; never wait on one from a Task.
@safe
public final class Semaphore: @unchecked Sendable {
    // sem_t must not move, so it has memory of its own; the kernel and glibc synchronise the access.
    private let semaphore: UnsafeMutablePointer<sem_t>

    /// Starts at zero.
    public init() {
        unsafe semaphore = .allocate(capacity: 1)
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    /// Adds one.
    public func signal() { unsafe sem_post(semaphore) }

    /// Waits until the count is not zero, then takes one and returns true; false after `nanoseconds`.
    public func wait(nanoseconds: UInt64) -> Bool {
        unsafe clinux_semaphore_wait(semaphore, Int64(clamping: nanoseconds)) == 0
    }

    /// Waits until the count is not zero, then takes one.
    public func wait() {
        while unsafe sem_wait(semaphore) != 0 {}
    }
}
