/// A channel on a libaio engine.
///
/// Safety: `state` is this object's; `engineState` is that of the engine it retains.
@safe
public final class AIOChannel: IOChannel {
    private let engine: AIOEngine
    private let backing: Backing
    private let engineState: UnsafeMutablePointer<AIOState>
    private let state: UnsafeMutablePointer<ChannelState>

    /// Makes a channel to a backing that is not null, on the engine's thread.
    public init(engine: AIOEngine, backing: Backing) {
        guard let initial = unsafe ChannelState(backing, mailbox: engine.state.pointee.mailbox) else {
            preconditionFailure("a null backing has no channel but NullChannel")
        }
        self.engine = engine
        self.backing = backing
        unsafe engineState = engine.state
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: initial)
    }

    deinit { unsafe state.deallocate() }

    /// Puts the operation into the next batch.
    public func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe engineState.pointee.add(operation, state)
    }

    /// Ends what waits here.
    public func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {
        unsafe engineState.pointee.core.cancelWaiting(completions, state)
    }

    /// Nothing of the kernel's belongs to this channel alone.
    public func close() {}

    /// What happened on this channel so far.
    public var counters: IOChannelCounters { unsafe state.pointee.counters }
}
