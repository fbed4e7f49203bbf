/// Finished operations of one owner, first finished first. It belongs to the thread that runs the engine.
///
/// Safety: an intrusive list; every operation in it is in place until it is popped (see `IOOperation`).
@frozen
@safe
public struct IOCompletionList {
    @usableFromInline var head: UnsafeMutablePointer<IOOperation>?
    @usableFromInline var tail: UnsafeMutablePointer<IOOperation>?
    /// Operations that were added to a channel and are not in this list yet: waiting in an engine, or the kernel's.
    public internal(set) var inFlight: Int

    /// An empty list.
    public init() {
        unsafe (head, tail) = (nil, nil)
        inFlight = 0
    }

    /// Whether no finished operation waits to be popped.
    @inlinable
    @inline(__always)
    public var isEmpty: Bool { unsafe head == nil }

    /// Removes and returns the operation that finished first, or nil.
    @inlinable
    @inline(__always)
    public mutating func pop() -> UnsafeMutablePointer<IOOperation>? {
        guard let first = unsafe head else { return nil }
        unsafe head = first.pointee.next
        if unsafe head == nil { unsafe tail = nil }
        return unsafe first
    }

    /// Empties the list and returns the operation that finished first, or nil; the others follow it through `next`.
    @inlinable
    @inline(__always)
    public mutating func takeAll() -> UnsafeMutablePointer<IOOperation>? {
        guard let first = unsafe head else { return nil }
        unsafe (head, tail) = (nil, nil)
        return unsafe first
    }

    /// Adds a finished operation at the end; for engines.
    @inlinable
    @inline(__always)
    public mutating func append(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe operation.pointee.next = nil
        if let last = unsafe tail {
            unsafe last.pointee.next = operation
        } else {
            unsafe head = operation
        }
        unsafe tail = operation
    }
}
