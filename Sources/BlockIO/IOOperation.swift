public import LinuxSystem

/// One read, write, flush, discard, write of zeroes or secure erase.
///
/// The caller owns the memory of the operation, of its segments and of what they point to, and keeps all three in place and unchanged from
/// `IOChannel.add` until the operation is in its completion list: until then the kernel may use them. A request slot begins with one.
/// After completion it can be added again, changed or not. Segments that an engine adjusted in between are as they were.
///
/// Safety: the struct only stores pointers; those who follow them are the engine between add and completion, the caller otherwise.
@frozen
@safe
public struct IOOperation {
    /// Link in whatever list holds the operation: the engine's while in flight, the completion list after that.
    public var next: UnsafeMutablePointer<IOOperation>?
    /// Where the engine puts the operation when it is done.
    public var completions: UnsafeMutablePointer<IOCompletionList>
    /// Memory of a read or write, in order; each piece lies in mapped memory.
    public var segments: UnsafeMutablePointer<IOVector>
    /// How many segments there are; 0 for operations without data.
    public var segmentCount: Int32
    /// What to do.
    public var kind: IOKind
    /// How to do it.
    public var flags: IOFlags
    /// First byte of the range in the backing.
    public var offset: UInt64
    /// Bytes of the range; for reads and writes the sum of the segments' lengths.
    public var length: UInt64
    /// Outcome, valid once completed: for reads and writes `length`, for others 0, or a negated errno.
    public var result: Int64

    // What follows is the engine's while the operation is in flight.

    /// The `ChannelState` the operation was added to.
    @usableFromInline var channel: UnsafeMutableRawPointer?
    /// Bytes transferred so far; transfers may come in pieces.
    @usableFromInline var done: UInt64
    /// The bounce buffer in use, if the segments do not fit the backing's alignment.
    @usableFromInline var bounce: UnsafeMutableRawPointer?
    /// The segment of which a part is transferred, as it was given; `partialIndex` is its index, or -1.
    @usableFromInline var partial: IOVector
    @usableFromInline var partialIndex: Int32
    /// How often the kernel asked to try again.
    @usableFromInline var attempts: UInt16
    /// What is to be counted when the operation comes back from another thread.
    @usableFromInline var notes: UInt16

    /// An operation that reads nothing; the caller sets what it needs.
    @inlinable
    public init(completions: UnsafeMutablePointer<IOCompletionList>, segments: UnsafeMutablePointer<IOVector>) {
        unsafe next = nil
        unsafe self.completions = completions
        unsafe self.segments = segments
        (segmentCount, kind, flags) = (0, .read, [])
        (offset, length, result) = (0, 0, 0)
        unsafe (channel, bounce) = (nil, nil)
        (done, partialIndex, attempts, notes) = (0, -1, 0, 0)
        unsafe partial = IOVector(base: UnsafeMutableRawPointer(segments), length: 0)
    }
}
