import CLinux

/// Time since an arbitrary point, never going back; about 44 ns a call.
public enum MonotonicClock {
    /// Nanoseconds since some point before this process started.
    public static func now() -> UInt64 { clinux_monotonic_ns() }
}
