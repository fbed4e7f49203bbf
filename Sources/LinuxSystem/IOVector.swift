/// One piece of memory that I/O goes to or comes from: struct iovec of the kernel's interface, bit for bit, so that an array of them is
/// handed to the kernel as it is.
@frozen
@safe
public struct IOVector {
    /// The first byte. iov_base.
    public var base: UnsafeMutableRawPointer
    /// Length in bytes, never negative. iov_len.
    public var length: Int

    /// Describes `length` bytes at `base`.
    @inlinable
    @inline(__always)
    public init(base: UnsafeMutableRawPointer, length: Int) {
        unsafe self.base = base
        self.length = length
    }
}
