import Glibc

/// What a thread has used of the processor so far.
public struct ThreadUsage: Equatable, Sendable {
    /// Time in user mode.
    public var userNanoseconds: UInt64
    /// Time in the kernel.
    public var systemNanoseconds: UInt64
    /// Times it was taken off a CPU, of its own will or not.
    public var contextSwitches: UInt64

    /// The calling thread's figures.
    public static func current() -> ThreadUsage {
        var usage = rusage()
        // 1 is RUSAGE_THREAD, which glibc shows to _GNU_SOURCE only; getrusage(2) cannot fail with it and a valid pointer.
        _ = unsafe getrusage(1, &usage)
        func nanoseconds(_ time: timeval) -> UInt64 { UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1000 }
        return ThreadUsage(
            userNanoseconds: nanoseconds(usage.ru_utime), systemNanoseconds: nanoseconds(usage.ru_stime),
            contextSwitches: UInt64(usage.ru_nvcsw + usage.ru_nivcsw))
    }
}
