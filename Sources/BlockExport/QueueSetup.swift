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
        if ring.features.contains(.ringPacked) {
            try makeQueue(PackedVirtqueue.self, on: loop)
        } else {
            try makeQueue(SplitVirtqueue.self, on: loop)
        }
    }

    private func makeQueue<Ring: Virtqueue>(_ format: Ring.Type, on loop: PollerLoop) throws -> PolledQueue {
        let node = loop.poller.node
        let gauges = loop.poller.gauges
        let held = heldRequests(on: loop)
        func queue<Channel: IOChannel>(_ channel: Channel) throws -> PolledQueue {
            try QueueRunner<Ring, Channel>(
                setup: self, channel: channel, held: held, node: node, gauges: gauges,
                // The loop owns the queue.
                scheduleNotification: { [unowned loop] in loop.scheduleNotification(at: $0) })
        }
        switch disk.choice.engine {
        case .null: return try queue(NullChannel())
        case .ioURing:
            return try queue(URingChannel(engine: try loop.ioURing(isPolled: disk.choice.pollsCompletions), backing: disk.backing))
        case .libaio: return try queue(AIOChannel(engine: try loop.libaio(), backing: disk.backing))
        }
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
