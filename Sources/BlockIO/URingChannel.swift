/// A channel on an io_uring engine.
///
/// Safety: `state` is this object's; `engineState` is that of the engine it retains.
@safe
public final class URingChannel: IOChannel {
    private let engine: URingEngine
    private let backing: Backing
    private let engineState: UnsafeMutablePointer<URingState>
    private let state: UnsafeMutablePointer<ChannelState>
    private var memory: [RegisteredMemory] = []
    private var ranges: UnsafeMutablePointer<RegisteredRange>?
    private var isClosed = false

    /// Makes a channel to a backing that is not null, on the engine's thread. `close` must be called there before the channel goes.
    public init(engine: URingEngine, backing: Backing) {
        guard var initial = unsafe ChannelState(backing, mailbox: engine.state.pointee.mailbox) else {
            preconditionFailure("a null backing has no channel but NullChannel")
        }
        initial.flushIsSlow = unsafe engine.state.pointee.ring.isPolled
        initial.registeredFile = unsafe engine.state.pointee.files.add(initial.descriptor)
        self.engine = engine
        self.backing = backing
        unsafe engineState = engine.state
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: initial)
    }

    deinit {
        precondition(isClosed, "a channel is closed on its engine's thread before it goes")
        unsafe ranges?.deallocate()
        unsafe state.deallocate()
    }

    /// Puts the operation into the submission queue.
    public func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe engineState.pointee.add(operation, state)
    }

    /// Makes transfers from now on use what is pinned of memory that is registered with the same engine; none ends that.
    public func use(_ memory: [RegisteredMemory]) {
        let before = unsafe ranges
        let table = UnsafeMutablePointer<RegisteredRange>.allocate(capacity: max(memory.count, 1))
        for (index, part) in memory.enumerated() { unsafe (table + index).initialize(to: RegisteredRange(part)) }
        unsafe state.pointee.use(table, count: memory.count)
        unsafe ranges = table
        self.memory = memory
        unsafe before?.deallocate()
    }

    /// Ends what waits here.
    public func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {
        unsafe engineState.pointee.core.cancelWaiting(completions, state)
    }

    /// Takes the file out of the ring's table.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        use([])
        unsafe engineState.pointee.files.remove(state.pointee.registeredFile)
    }

    /// What happened on this channel so far.
    public var counters: IOChannelCounters { unsafe state.pointee.counters }
}
