import Glibc

/// A value that one thread at a time may touch, behind a pthread mutex.
///
/// Synchronization.Mutex does the same with less memory; but where threads contend it works inside the standard library, which the thread
/// sanitizer does not see into, so that every hand-over under contention would be reported as a race.
///
/// Safety: the mutex has memory of its own, since it must not move; `value` is touched only while it is held.
@safe
public final class Locked<Value: Sendable>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    /// Takes the value in.
    public init(_ value: Value) {
        self.value = value
        unsafe mutex = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Runs `body` with the value while no other thread can; it must not call this again on the same object.
    public func withLock<Result, Failure: Error>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
