/// The engine of null backings: nothing is ever in flight.
public final class NullEngine: IOEngine {}

/// A channel whose operations are complete as soon as they are added, without touching any memory: what a benchmark of everything else needs.
public final class NullChannel: IOChannel {
    /// Makes a channel; it needs no engine.
    public init() {}

    /// Nothing is done.
    @inlinable
    public static var isImmediate: Bool { true }

    /// Completes the operation.
    @inlinable
    @inline(__always)
    public func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        let hasData = unsafe operation.pointee.kind == .read || operation.pointee.kind == .write
        unsafe operation.pointee.result = hasData ? Int64(bitPattern: operation.pointee.length) : 0
        unsafe operation.pointee.completions.pointee.append(operation)
    }

    /// Nothing ever waits here.
    public func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {}

    /// Nothing is held.
    public func close() {}

    /// All zero.
    public var counters: IOChannelCounters { IOChannelCounters() }
}
