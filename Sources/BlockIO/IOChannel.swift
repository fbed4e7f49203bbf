/// The way from one queue to its backing, on one engine. Belongs to the engine's thread.
///
/// Data-path code is generic over the channel's concrete class (all are final), so that no call is dispatched at run time.
public protocol IOChannel: AnyObject {
    /// Whether operations are complete when ``add(_:)`` returns: then no system call is to be shared by a batch, and a small one lets driver
    /// and device work on different requests at the same time.
    static var isImmediate: Bool { get }

    /// Starts an operation. Never fails and never waits: what the engine cannot take now waits in it, in order; the outcome is in the
    /// operation when it reaches its completion list, which may be before this returns. The kernel may get it with the engine's next
    /// `submit` only.
    func add(_ operation: UnsafeMutablePointer<IOOperation>)

    /// Completes the operations of `completions` that wait in the engine and have not reached the kernel, with -ECANCELED. What the kernel
    /// has is still in flight after that: it owns the buffers until `completions.pointee.inFlight` is 0.
    func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>)

    /// Ends the channel's use of its engine; nothing may be in flight. To be called on the engine's thread, once.
    func close()

    /// What happened on this channel so far; to be read on the engine's thread.
    var counters: IOChannelCounters { get }
}

extension IOChannel {
    /// An engine does the operations.
    @inlinable
    public static var isImmediate: Bool { false }
}
