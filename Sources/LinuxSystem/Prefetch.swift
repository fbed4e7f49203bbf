public import CLinux

/// Hints that a cache line will be used soon. Any address will do: none faults, and nothing is read that a program can see. Any thread.
@safe
public enum Prefetch {
    /// The line at an address will be read.
    @inlinable
    @inline(__always)
    public static func toRead(_ address: UnsafeRawPointer?) { unsafe clinux_prefetch(address) }

    /// The line at an address will be written.
    @inlinable
    @inline(__always)
    public static func toWrite(_ address: UnsafeRawPointer?) { unsafe clinux_prefetch_to_write(address) }
}
