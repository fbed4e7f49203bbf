/// One queue's part of the inflight region: the shared memory in which the requests in flight survive the death of this process.
///
/// Safety: the pointer is followed by the ring types only, with every value read through it checked: the front-end can write there too.
@frozen
@safe
public struct InflightQueue {
    /// First byte of the queue's part.
    public var base: UnsafeMutableRawPointer
    /// Number of entries (desc_num).
    public var entryCount: Int

    /// Names the part; the caller vouches that it is mapped whole.
    @inlinable
    public init(base: UnsafeMutableRawPointer, entryCount: Int) {
        unsafe self.base = unsafe base
        self.entryCount = entryCount
    }
}
