internal import BlockIO
internal import LinuxSystem
internal import Synchronization
internal import VhostUser
internal import Virtio

/// The data path of one queue: pop, parse, check, hand to the channel; complete, publish, notify.
///
/// Generic over the ring format and the channel, so that each pair is one straight-line loop. All state is plain fields and raw memory
/// of this queue; nothing here allocates, locks or retains per request.
@safe
final class QueueRunner<Ring: Virtqueue, Channel: IOChannel>: PolledQueue {
    var ring: Ring
    let channel: Channel
    var slots: RequestSlots
    private let scratch: MemoryMapping
    // unsafe: one list node allocated here and freed in deinit; the engine appends finished operations to it on this thread only.
    let completions: UnsafeMutablePointer<IOCompletionList>

    private var guest: GuestMemory
    var memory: GuestMemoryView
    private(set) var memoryEpoch: UInt32 = 0
    private var retired = RetiredMemory()

    let setup: QueueSetup
    var check: BlockRequestCheck
    var writeFlags: IOFlags
    private var diskGeneration: UInt64
    private var call: FileDescriptor?
    private var callDescriptor: Int32

    /// Most chains taken in one look, so that a deep queue leaves the other queues of its poller their turn.
    static var batchSizeMax: Int { 128 }

    init(setup: QueueSetup, channel: Channel, node: Int?) throws {
        self.setup = setup
        self.channel = channel
        let ring = setup.ring
        guest = ring.memory
        memory = ring.memory.view
        let entries = ring.inflight?.queue.entryCount ?? 0
        scratch = try MemoryMapping(anonymous: max(1, Ring.scratchBytes(queueSize: ring.size, inflightEntries: entries)), node: node)
        slots = try RequestSlots(capacity: setup.slotCount, node: node)
        let configuration = unsafe VirtqueueConfiguration(
            size: ring.size, addresses: ring.addresses, base: ring.base, features: ring.features, inflight: ring.inflight?.queue,
            scratch: scratch.base)
        self.ring = try Ring(configuration)
        unsafe completions = .allocate(capacity: 1)
        unsafe completions.initialize(to: IOCompletionList())
        diskGeneration = setup.disk.generation.load(ordering: .acquiring)
        check = setup.disk.check(features: ring.features)
        writeFlags = setup.disk.writeFlags(features: ring.features)
        call = ring.call
        callDescriptor = ring.call?.rawValue ?? -1
        super.init(identity: setup.identity, counters: setup.counters, pollMode: setup.pollMode, kick: ring.isPolled ? nil : ring.kick)
    }

    deinit {
        assert(slots.used == 0, "a queue goes only when nothing is in flight")
        unsafe completions.deallocate()
    }

    override var inFlight: Int { slots.used }
    override var hasCompletions: Bool { unsafe !completions.pointee.isEmpty }
    override var base: RingBase { ring.base }
    override func arm() -> Bool { ring.enableNotifications() }
    override func disarm() { ring.disableNotifications() }
    override func reportFailure(_ reason: String) { setup.onFailure(reason) }
    override func noteOldest() { counters.set(.oldestStart, slots.oldestStart) }
    override func close() { channel.close() }

    // MARK: Changes between batches

    override func replaceCall(_ call: FileDescriptor?) {
        self.call = call
        callDescriptor = call?.rawValue ?? -1
        // A notification may have gone to the old descriptor after the front-end stopped listening there: said again, it is never lost.
        notify()
    }

    override func replaceMemory(_ memory: GuestMemory, _ addresses: RingAddresses) -> String? {
        do {
            try ring.relocate(addresses)
        } catch {
            return "the new memory table has no room for the ring: \(error)"
        }
        retired.retire(guest, epoch: memoryEpoch, inFlight: slots.used)
        guest = memory
        self.memory = memory.view
        memoryEpoch &+= 1
        return nil
    }

    /// Reads what the control thread changed of the disk since the last batch.
    @inline(__always)
    func refreshRules() {
        let generation = setup.disk.generation.load(ordering: .acquiring)
        if generation != diskGeneration {
            diskGeneration = generation
            check = setup.disk.check(features: setup.ring.features)
            writeFlags = setup.disk.writeFlags(features: setup.ring.features)
        }
    }

    /// Signals the driver, if it wants to be.
    @inline(__always)
    func notify() {
        guard callDescriptor >= 0 else { return }
        EventFD.signal(raw: callDescriptor)
        counters.add(1, to: .notificationsSent)
    }

    /// Frees a slot whose chain was handed back; with the last request of a retired memory table, the table.
    @inline(__always)
    func release(_ slot: UnsafeMutablePointer<RequestSlot>) {
        let epoch = unsafe slot.pointee.memoryEpoch
        unsafe slots.release(slot)
        if epoch != memoryEpoch { retired.requestEnded(epoch: epoch) }
    }

    override func take() -> Take { takeChains() }
    override func complete() -> Int { completeRequests() }
}
