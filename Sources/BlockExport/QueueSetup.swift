internal import BlockIO
internal import LinuxSystem
package import VhostUser
package import Virtio

/// Everything a poller needs to run a queue. Gathered on the control thread, used once on the poller's.
///
/// `@unchecked Sendable`: the ring's addresses and inflight part are raw pointers that nobody follows before the poller has the setup and
/// nobody but the poller afterwards; all else is Sendable.
package struct QueueSetup: @unchecked Sendable {
    /// Which queue of which export.
    var identity: QueueIdentity
    /// The ring as the session checked it.
    var ring: RingConfiguration
    /// What is served, and how.
    var disk: Disk
    /// Counters of the queue.
    var counters: QueueCounters
    /// How the queue waits.
    var pollMode: PollMode
    /// What happens to requests that the backing fails.
    var errorPolicy: ErrorPolicy
    /// The longest that the queue is spun for where it is adaptive, nanoseconds.
    var spinNanosecondsMax = SpinForecast.spinNanosecondsDefault
    /// For how long notifications may wait for each other; nil: not at all.
    package var coalescing: CoalescingLimits?
    /// Whether guest memory is registered with io_uring, which the export must run on.
    var registersMemory = false
    /// Tells the control thread what of it is registered; called on the poller.
    var onRegistration: @Sendable (MemoryRegistration) -> Void = { _ in }
    /// Tells the control thread that the queue waits for a translation; called on the poller.
    var onMiss: @Sendable (MemoryMiss) -> Void
    /// Tells the control thread that the ring broke, and why; called on the poller.
    var onFailure: @Sendable (String) -> Void
    /// Tells the control thread that requests are held, or no more; called on the poller.
    var onHold: @Sendable (HoldChange) -> Void
    /// Tells the control thread how many requests that were left in flight are done again; called on the poller.
    var onRecovery: @Sendable (Int) -> Void = { _ in }

    package init(
        identity: QueueIdentity, ring: RingConfiguration, disk: Disk, counters: QueueCounters, pollMode: PollMode,
        errorPolicy: ErrorPolicy = .report, onMiss: @escaping @Sendable (MemoryMiss) -> Void = { _ in },
        onFailure: @escaping @Sendable (String) -> Void,
        onHold: @escaping @Sendable (HoldChange) -> Void = { _ in }
    ) {
        self.identity = identity
        self.ring = ring
        self.disk = disk
        self.counters = counters
        self.pollMode = pollMode
        self.errorPolicy = errorPolicy
        self.onMiss = onMiss
        self.onFailure = onFailure
        self.onHold = onHold
    }

    /// Requests that may be in flight at once: more than any medium profits from, and a bound on memory.
    static let slotCountMax = 1024

    /// Request slots: one for each chain that can be in flight.
    var slotCount: Int { min(ring.size, Self.slotCountMax) }

    /// Makes the queue on the poller's thread, its memory on the poller's node.
    func makeQueue(on loop: PollerLoop) throws -> PolledQueue {
        switch (disk.choice.engine, isPacked: ring.features.contains(.ringPacked)) {
        case (.null, false): try make(SplitNullQueue.self, NullChannel(), on: loop)
        case (.null, true): try make(PackedNullQueue.self, NullChannel(), on: loop)
        case (.ioURing, false): try make(SplitURingQueue.self, uringChannel(on: loop), on: loop)
        case (.ioURing, true): try make(PackedURingQueue.self, uringChannel(on: loop), on: loop)
        case (.libaio, false): try make(SplitAIOQueue.self, aioChannel(on: loop), on: loop)
        case (.libaio, true): try make(PackedAIOQueue.self, aioChannel(on: loop), on: loop)
        }
    }

    private func make<Ring, Channel, Queue: QueueRunner<Ring, Channel>>(
        _ type: Queue.Type, _ channel: Channel, on loop: PollerLoop
    ) throws -> PolledQueue {
        try type.init(
            setup: self, channel: channel, held: heldRequests(on: loop), node: loop.poller.node, gauges: loop.poller.gauges,
            // The loop owns the queue.
            scheduleNotification: { [unowned loop] in loop.scheduleNotification(at: $0) })
    }

    private func uringChannel(on loop: PollerLoop) throws -> URingChannel {
        URingChannel(engine: try loop.ioURing(isPolled: disk.choice.pollsCompletions), backing: disk.backing)
    }

    private func aioChannel(on loop: PollerLoop) throws -> AIOChannel {
        AIOChannel(engine: try loop.libaio(), backing: disk.backing)
    }

    /// Where failed requests wait; nil when they are reported.
    private func heldRequests(on loop: PollerLoop) -> HeldRequests? {
        guard case .hold(let timeoutNanoseconds) = errorPolicy else { return nil }
        return HeldRequests(
            timeoutNanoseconds: timeoutNanoseconds, isDirect: disk.backing.isDirect, counters: counters,
            // The loop owns the queue, which owns these.
            schedule: { [unowned loop] in loop.scheduleRetry(at: $0) }, onChange: onHold)
    }
}
