internal import BlockIO
package import LinuxSystem
package import VhostUser
package import Virtio

/// One queue as its poller sees it. All members are the poller's thread's alone, unless said otherwise.
///
/// The subclass ``QueueRunner`` is generic over the ring format and the channel, so that one dynamic call per batch, not per request,
/// separates the poller from straight-line code.
package class PolledQueue {
    /// What a look at the ring found.
    package enum Take {
        /// So many chains were taken; 0 when the ring was empty.
        case taken(Int)
        /// The ring is corrupt or unusable: it is no longer looked at.
        case failed(String)
        /// So many chains were taken; the next one waits for a translation of this address.
        case missed(Int, MemoryMiss)
    }

    /// Which queue of which export this is.
    package let identity: QueueIdentity
    /// Counters, shared with the control thread.
    package let counters: QueueCounters
    /// How the queue waits for work.
    package let pollMode: PollMode
    /// Descriptor the driver kicks, or nil when the front-end gave none: then the ring must be polled for ever.
    package private(set) var kick: FileDescriptor?
    /// Where the queue stands between start and stop.
    package final var state = State.running {
        didSet { updateWatch() }
    }
    /// Whether ``complete()`` goes the slower way: to log writes, to leave requests in the inflight region, to forget them, to let
    /// notifications wait for each other, or because guest memory may be missing.
    final private(set) var isWatched = false
    /// Whether the poller looks at the ring at each turn; otherwise it waits for a kick.
    package final var isHot = false
    /// Until when, on the monotonic clock, the queue stays hot without new work.
    final var hotUntil: UInt64 = 0
    /// Whether an adaptive queue is to be spun for.
    final var forecast: SpinForecast
    /// Called once, on the poller, when nothing touches guest memory any more.
    package var onStopped: ((RingBase?) -> Void)?

    /// The life of a queue on a poller.
    package enum State {
        /// Chains are taken and completed.
        case running
        /// The IOTLB misses an address of the next chain: none is taken, those in flight are completed.
        case parked
        /// The IOTLB misses the ring itself: none is taken, and what ended waits too.
        case suspended
        /// No chain is taken; those in flight are awaited.
        case draining
        /// The ring is broken: no chain is taken, those in flight are awaited, and it stays until stopped.
        case failed
        /// The ring was given back although requests are in flight: they end without a trace in guest memory.
        case abandoned
    }

    init(
        identity: QueueIdentity, counters: QueueCounters, pollMode: PollMode, spinNanosecondsMax: UInt64, kick: FileDescriptor?
    ) {
        forecast = SpinForecast(spinNanosecondsMax: spinNanosecondsMax)
        self.identity = identity
        self.counters = counters
        self.pollMode = pollMode
        self.kick = kick
    }

    /// Requests taken and not yet completed.
    package var inFlight: Int { preconditionFailure("a subclass answers") }
    /// Whether finished operations wait for ``complete()``.
    package var hasCompletions: Bool { preconditionFailure("a subclass answers") }
    /// Where the ring stands, for GET_VRING_BASE; meaningful with nothing in flight.
    package var base: RingBase { preconditionFailure("a subclass answers") }
    /// What another poller makes the queue from when nothing is in flight: the ring as it is configured now, and where it stands.
    var handOver: QueueSetup { preconditionFailure("a subclass answers") }
    /// Takes what the driver made available and gives it to the channel.
    package func take() -> Take { preconditionFailure("a subclass takes") }
    /// Takes what an earlier daemon left in flight, as far as there is room, and nothing new: a ring that is stopped owes that to the driver.
    package func takeResubmissions() { preconditionFailure("a subclass takes") }
    /// Hands finished requests back to the driver, and notifies it once if it wants that. Returns how many; without any it does nothing.
    package func complete() -> Int { preconditionFailure("a subclass completes") }
    /// Asks the driver for a kick; true when chains are there already.
    package func arm() -> Bool { preconditionFailure("a subclass arms") }
    /// Tells the driver that no kick is needed.
    package func disarm() { preconditionFailure("a subclass disarms") }
    /// Goes on with another memory table, in which the ring's areas are elsewhere; the reason when the ring cannot.
    package func replaceMemory(_ memory: GuestMemory, _ place: RingPlace) -> String? { preconditionFailure("a subclass replaces") }
    /// Uses another call descriptor from now on and signals it once, so that no notification is lost in the swap.
    package func replaceCall(_ call: FileDescriptor?) { preconditionFailure("a subclass replaces") }
    /// Notes for the control thread what is not noted per request: since when the oldest request waits, and what happened on the channel.
    package func publishGauges() { preconditionFailure("a subclass notes") }
    /// Tries those requests again that are held and whose time has come; when to look next on the monotonic clock, `UInt64.max` for never.
    package func retryHeld(now: UInt64) -> UInt64 { preconditionFailure("a subclass retries") }
    /// Makes all held requests due now.
    package func hastenRetry() { preconditionFailure("a subclass hastens") }
    /// Ends the operations that the kernel has not got yet, held ones included.
    package func cancelWaiting() { preconditionFailure("a subclass cancels") }
    /// Lets requests that are cancelled from now on stay in the inflight region; false when there is none.
    package func leaveCancelled() -> Bool { preconditionFailure("a subclass leaves") }
    /// Whether ``leaveCancelled()`` was called.
    var leavesCancelled: Bool { preconditionFailure("a subclass answers") }
    /// Logs writes to guest memory from now on, or with nil no more.
    package func replaceLog(_ log: RingLog?) { preconditionFailure("a subclass replaces") }
    /// Whether pages of guest memory may be missing yet.
    var isAwaited: Bool { preconditionFailure("a subclass answers") }
    /// Whether writes are logged.
    var isLogging: Bool { preconditionFailure("a subclass answers") }
    /// Whether completions of its disk are asked for at the device.
    var pollsCompletions: Bool { false }
    /// The memory that is to be registered with io_uring; nil when none is.
    var memoryToRegister: GuestMemory? { nil }
    /// Makes the channel use registered memory; none ends that.
    func useRegistered(_ memory: [RegisteredMemory]) {}
    /// Tells the control thread what is registered.
    func reportRegistration(_ registration: MemoryRegistration) {}
    /// Whether notifications may wait for each other.
    var isCoalescing: Bool { false }
    /// Sends the notification that is owed, if its time has come; when the one that is still owed is due, `UInt64.max` for none.
    package func notifyOwed(now: UInt64) -> UInt64 { .max }
    /// Gives up the channel; nothing is in flight.
    package func close() { preconditionFailure("a subclass closes") }
    /// The IOMMU does not permit the access that the queue waits with: the chain gets an error when it is taken next.
    package func deny(_ miss: MemoryMiss) { preconditionFailure("a subclass denies") }
    /// Tells the control thread that the queue waits for a translation.
    func reportMiss(_ miss: MemoryMiss) { preconditionFailure("a subclass reports") }
    /// Tells the control thread that the ring broke.
    package func reportFailure(_ reason: String) { preconditionFailure("a subclass reports") }

    /// The queue had work: its next wait begins anew.
    @inline(__always)
    final func noteWork() {
        guard hotUntil != 0 else { return }
        hotUntil = 0
        if pollMode == .adaptive { forecast.workCame() }
    }

    /// To be called when one of its reasons comes or goes.
    final func updateWatch() { isWatched = state == .abandoned || leavesCancelled || isLogging || isCoalescing || isAwaited }

    /// Waits on another kick descriptor from now on.
    package final func replaceKick(_ kick: FileDescriptor?) { self.kick = kick }
}

/// The name of a queue: its export's and its index.
package struct QueueIdentity: Sendable, Hashable, CustomStringConvertible {
    package var export: String
    package var index: Int

    package init(export: String, index: Int) {
        self.export = export
        self.index = index
    }

    package var description: String { "\(export)/\(index)" }
}
