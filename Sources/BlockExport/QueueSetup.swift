internal import BlockIO
internal import LinuxSystem
package import VhostUser
internal import Virtio

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
    /// Tells the control thread that the ring broke, and why; called on the poller.
    var onFailure: @Sendable (String) -> Void

    package init(
        identity: QueueIdentity, ring: RingConfiguration, disk: Disk, counters: QueueCounters, pollMode: PollMode,
        onFailure: @escaping @Sendable (String) -> Void
    ) {
        self.identity = identity
        self.ring = ring
        self.disk = disk
        self.counters = counters
        self.pollMode = pollMode
        self.onFailure = onFailure
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
        switch disk.choice.engine {
        case .null:
            return try QueueRunner<Ring, NullChannel>(
                setup: self, channel: NullChannel(), node: loop.poller.node, gauges: loop.poller.gauges)
        case .ioURing:
            let engine = try loop.ioURing()
            return try QueueRunner<Ring, URingChannel>(
                setup: self, channel: URingChannel(engine: engine, backing: disk.backing), node: loop.poller.node,
                gauges: loop.poller.gauges)
        case .libaio:
            let engine = try loop.libaio()
            return try QueueRunner<Ring, AIOChannel>(
                setup: self, channel: AIOChannel(engine: engine, backing: disk.backing), node: loop.poller.node, gauges: loop.poller.gauges)
        }
    }
}
