internal import BlockIO
internal import LinuxSystem
internal import Synchronization
internal import Virtio

/// The data path's state of one queue: pop, parse, check, hand to the channel; complete, publish, notify.
///
/// A struct of pointers and plain values that lives in raw memory of its ``QueueRunner`` and is reached through a pointer only: so that
/// nothing here is retained, released or checked for exclusive access per request, and nothing allocates or locks. Generic over the ring
/// format and the channel; the runner has the compiler make one straight-line loop for each pair.
@safe
struct QueueCore<Ring: Virtqueue, Channel: IOChannel> {
    var ring: Ring
    // unsafe: not owned. The runner owns what these four point to and outlives its core, which it frees.
    private let channel: Unmanaged<Channel>
    let counters: QueueCounters.Live
    unowned(unsafe) let gauges: PollerGauges
    /// The poller's, which `gauges` keeps.
    let clock: TurnClock
    unowned(unsafe) let disk: Disk
    var slots: RequestSlots
    var memory: GuestMemoryView
    /// What `memory` is a view of: for the dirty log, which needs the way back from an address here to the guest's.
    var guest: GuestMemory
    // unsafe: the runner's list node; the engine appends finished operations to it on this thread only.
    let completions: UnsafeMutablePointer<IOCompletionList>
    let features: VirtioFeatures

    /// The rules for requests, and how writes are done, as of `diskGeneration`.
    private(set) var check: BlockRequestCheck
    private(set) var writeFlags: IOFlags
    private var diskGeneration: UInt64

    /// The number of the memory table that new requests point into; 0 means none.
    var memoryEpoch: UInt32 = 1
    /// Requests in flight that point into an earlier one; the runner keeps those mapped.
    var retired = RetiredMemory()
    // unsafe: the runner's, like the three above; nil when failures are reported at once. Looked at when a request failed.
    unowned(unsafe) let held: HeldRequests?
    /// Where the driver is notified, or -1.
    var callDescriptor: Int32
    /// Marks writes to guest memory, while a migration wants it.
    var log: QueueLog?
    /// The notification that waits for more, if such ones do. Looked at on the slower way to complete only.
    var coalescing: Coalescing
    /// The ring is being stopped, and requests that the disk has not got stay in the inflight region.
    var leavesCancelled = false
    // unsafe: `guest` keeps it, and both change together. Looked at on the way of requests that are not plain, as all are with it.
    /// With this, pages of guest memory may be missing yet.
    unowned(unsafe) var awaited: AwaitedMemory?

    /// Most chains taken in one look, so that a deep queue leaves the other queues of its poller their turn.
    static var batchSizeMax: Int { Channel.isImmediate ? Ring.smallBatch : 128 }

    init(
        ring: Ring, channel: Channel, counters: QueueCounters, gauges: PollerGauges, disk: Disk, slots: RequestSlots,
        guest: GuestMemory,
        completions: UnsafeMutablePointer<IOCompletionList>, features: VirtioFeatures, callDescriptor: Int32, held: HeldRequests?,
        coalescing: Coalescing = Coalescing(nil)
    ) {
        self.ring = ring
        unsafe self.channel = .passUnretained(channel)
        self.counters = counters.live
        unsafe self.gauges = gauges
        clock = gauges.clock
        unsafe self.disk = disk
        self.slots = slots
        self.guest = guest
        memory = guest.view
        unsafe awaited = guest.awaited
        unsafe self.completions = completions
        self.features = features
        self.callDescriptor = callDescriptor
        unsafe self.held = held
        self.coalescing = coalescing
        // Acquire: what changed before this number moved is seen by the two reads that follow.
        diskGeneration = disk.generation.load(ordering: .acquiring)
        check = disk.check(features: features)
        writeFlags = disk.writeFlags(features: features)
    }

    /// Hands an operation to the channel, which is neither retained nor released for it.
    @inline(__always)
    func submit(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe channel._withUnsafeGuaranteedRef { unsafe $0.add(operation) }
    }

    /// Reads what the control thread changed of the disk since the last batch.
    @inline(__always)
    mutating func refreshRules() {
        if unsafe disk.generation.load(ordering: .relaxed) != diskGeneration { reloadRules() }
    }

    @inline(never)
    private mutating func reloadRules() {
        diskGeneration = unsafe disk.generation.load(ordering: .acquiring)
        check = unsafe disk.check(features: features)
        writeFlags = unsafe disk.writeFlags(features: features)
    }

    /// Signals the driver. The write may wait (see ``PollerWatch``), so that it is marked as a call at a front-end's descriptor.
    @inline(__always)
    mutating func notify() {
        guard callDescriptor >= 0 else { return }
        if unsafe disk.callsAreSuspect.load(ordering: .relaxed) && !EventFD.takesSignal(raw: callDescriptor) { return }
        unsafe PollerGauges.add(1, to: gauges.peerCalls)
        let wasInterrupted = EventFD.signal(raw: callDescriptor)
        unsafe PollerGauges.add(1, to: gauges.peerCalls)
        counters.add(1, to: .notificationsSent)
        if wasInterrupted { dropCall() }
    }

    /// The descriptor held the poller up: it does so no second time, nor do those of the export's other queues. The session ends for it.
    @inline(never)
    private mutating func dropCall() {
        callDescriptor = -1
        unsafe disk.callsAreSuspect.store(true, ordering: .relaxed)
        counters.add(1, to: .stalls)
    }

    /// Frees a slot of any kind; with the last request of a retired memory table, the table.
    mutating func release(_ slot: UnsafeMutablePointer<RequestSlot>) {
        let epoch = unsafe slot.pointee.retiredEpoch
        unsafe slot.pointee.retiredEpoch = 0
        unsafe slot.pointee.rangesLeft = 0
        unsafe slots.releaseSpill(slot)
        unsafe slots.release(slot)
        if epoch != 0 { retired.requestEnded(epoch: epoch) }
    }
}
