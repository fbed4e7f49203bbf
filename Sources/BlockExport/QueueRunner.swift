package import BlockIO
package import LinuxSystem
package import VhostUser
package import Virtio

/// A queue on its poller: owns what its ``QueueCore`` points to, and changes it between two batches.
@safe
package class QueueRunner<Ring: Virtqueue, Channel: IOChannel>: PolledQueue {
    // unsafe: allocated here, initialised once, freed in deinit; only this object and the poller's thread use it.
    fileprivate let core: UnsafeMutablePointer<QueueCore<Ring, Channel>>
    private let completions: UnsafeMutablePointer<IOCompletionList>
    private let channel: Channel
    private let setup: QueueSetup
    private let scratch: MemoryMapping
    private let held: HeldRequests?
    /// Told when a notification that is owed now will be due, where such ones are.
    private let scheduleNotification: (UInt64) -> Void
    private var addresses: RingAddresses
    /// Keeps areas mapped that are mapped once more.
    private var joined: (any Sendable)?
    private var call: FileDescriptor?
    /// What of the channel's counters the queue's have already.
    private var published = IOChannelCounters()
    private let gauges: PollerGauges

    package required init(
        setup: QueueSetup, channel: Channel, held: HeldRequests? = nil, node: Int?, gauges: PollerGauges = PollerGauges(),
        scheduleNotification: @escaping (UInt64) -> Void = { _ in }
    ) throws {
        self.scheduleNotification = scheduleNotification
        self.gauges = gauges
        self.setup = setup
        self.channel = channel
        self.held = held
        let ring = setup.ring
        call = ring.call
        let entries = ring.inflight?.queue.entryCount ?? 0
        scratch = try MemoryMapping(anonymous: max(1, Ring.scratchBytes(queueSize: ring.size, inflightEntries: entries)), node: node)
        let device = try unsafe Ring(
            VirtqueueConfiguration(
                size: ring.size, addresses: ring.addresses, base: ring.base, features: ring.features, inflight: ring.inflight?.queue,
                scratch: scratch.base))
        let list = UnsafeMutablePointer<IOCompletionList>.allocate(capacity: 1)
        unsafe list.initialize(to: IOCompletionList())
        unsafe completions = list
        let slots: RequestSlots
        do {
            slots = try unsafe RequestSlots(capacity: setup.slotCount, completions: list, node: node)
        } catch {
            unsafe list.deallocate()
            throw error
        }
        unsafe core = .allocate(capacity: 1)
        unsafe core.initialize(
            to: QueueCore(
                ring: device, channel: channel, counters: setup.counters, gauges: gauges, disk: setup.disk, slots: slots,
                guest: ring.memory, completions: completions, features: ring.features, callDescriptor: ring.call?.rawValue ?? -1,
                held: held, coalescing: Coalescing(setup.coalescing)))
        (addresses, joined) = (ring.addresses, ring.joined)
        super.init(
            identity: setup.identity, counters: setup.counters, pollMode: setup.pollMode, spinNanosecondsMax: setup.spinNanosecondsMax,
            kick: ring.isPolled ? nil : ring.kick)
        if device.resubmitCount > 0 { setup.onRecovery(device.resubmitCount) }
        // A daemon that died after it published and before it signalled owes the driver a notification; a spurious one harms nobody.
        if !Ring.Observer.breaks(.signalAtStart) { unsafe core.pointee.notify() }
        replaceLog(ring.log)
        updateWatch()
    }

    deinit {
        assert(unsafe core.pointee.slots.used == 0, "a queue goes only when nothing is in flight")
        unsafe core.deinitialize(count: 1)
        unsafe core.deallocate()
        unsafe completions.deallocate()
    }

    // Both again in the subclasses below, where they are straight lines.
    package override func take() -> Take { unsafe core.pointee.take() }
    package override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }

    // A method of a generic class is compiled once for all its types; this one has a version for each pair besides (SE-0460).
    @specialized(where Ring == SplitVirtqueue, Channel == URingChannel)
    @specialized(where Ring == SplitVirtqueue, Channel == AIOChannel)
    @specialized(where Ring == SplitVirtqueue, Channel == NullChannel)
    @specialized(where Ring == PackedVirtqueue, Channel == URingChannel)
    @specialized(where Ring == PackedVirtqueue, Channel == AIOChannel)
    @specialized(where Ring == PackedVirtqueue, Channel == NullChannel)
    @inline(never)
    fileprivate func completeWatched() -> Int {
        // A ring in memory whose pages never came ends without a trace in it.
        if unsafe state == .abandoned || core.pointee.isWithdrawn { return unsafe core.pointee.discard() }
        let done = unsafe core.pointee.completeWatched()
        let due = unsafe core.pointee.coalescing.due
        if due != .max { scheduleNotification(due) }
        return done
    }

    package override func takeResubmissions() { unsafe core.pointee.takeResubmissions() }
    package override var inFlight: Int { unsafe core.pointee.slots.used }
    /// None while the ring may not be written to.
    package override var hasCompletions: Bool { unsafe !completions.pointee.isEmpty && state != .suspended }
    package override var base: RingBase { unsafe core.pointee.ring.base }
    override var handOver: QueueSetup {
        var setup = setup
        setup.ring.base = base
        unsafe setup.ring.move(
            to: RingPlace(addresses: addresses, joined: joined, log: core.pointee.log?.ring), in: core.pointee.guest)
        setup.ring.kick = kick
        setup.ring.isPolled = kick == nil
        setup.ring.call = call
        return setup
    }
    override func reportMiss(_ miss: MemoryMiss) { setup.onMiss(miss) }
    package override func deny(_ miss: MemoryMiss) {
        // A late answer is about a chain that is gone: the queue may wait with another one, and for another address, by now.
        let isLate = unsafe core.pointee.memory.miss?.page != miss.page || core.pointee.memory.miss?.access != miss.access
        if isLate { return }
        // A second one, for the status byte of the same chain: it ends without.
        if unsafe core.pointee.memory.denied == nil {
            unsafe core.pointee.memory.denied = miss
        } else {
            unsafe core.pointee.memory.deniesAll = true
        }
    }
    package override func reportFailure(_ reason: String) { setup.onFailure(reason) }
    package override func cancelWaiting() {
        unsafe core.pointee.abandonHeld()
        unsafe channel.cancelWaiting(completions)
    }

    package override func retryHeld(now: UInt64) -> UInt64 { unsafe core.pointee.retryHeld(now: now) }
    package override func hastenRetry() { held?.hasten() }

    package override func publishGauges() {
        counters.set(.oldestStart, unsafe core.pointee.slots.oldestStart)
        let now = channel.counters
        guard now != published else { return }
        counters.add(now, since: published)
        published = now
    }

    override var isCoalescing: Bool { setup.coalescing != nil }
    package override func notifyOwed(now: UInt64) -> UInt64 { unsafe core.pointee.notifyOwed(now: now) }

    package override func close() {
        // What was completed is told before the ring is given back.
        _ = notifyOwed(now: .max)
        publishGauges()
        channel.close()
    }
    override var pollsCompletions: Bool { setup.disk.choice.pollsCompletions }
    override var memoryToRegister: GuestMemory? { setup.registersMemory && !isAwaited ? unsafe core.pointee.guest : nil }
    override func useRegistered(_ memory: [RegisteredMemory]) {
        guard setup.registersMemory, let channel = channel as? URingChannel else { return }
        channel.use(memory)
    }
    override func reportRegistration(_ registration: MemoryRegistration) { setup.onRegistration(registration) }
    override var leavesCancelled: Bool { unsafe core.pointee.leavesCancelled }
    override var isAwaited: Bool { unsafe core.pointee.awaited != nil }
    override var isLogging: Bool { unsafe core.pointee.log != nil }

    package override func arm() -> Bool {
        let hasChains = unsafe core.pointee.ring.enableNotifications()
        if isWatched { unsafe core.pointee.logNotification() }
        return hasChains
    }

    package override func disarm() {
        unsafe core.pointee.ring.disableNotifications()
        if isWatched { unsafe core.pointee.logNotification() }
    }

    package override func leaveCancelled() -> Bool {
        guard setup.ring.inflight != nil else { return false }
        unsafe core.pointee.leavesCancelled = true
        updateWatch()
        return true
    }

    package override func replaceLog(_ log: RingLog?) {
        // What was noted and waits for its batch goes into the log that it was noted for.
        if !Ring.Observer.breaks(.notedIsLogged) { unsafe core.pointee.logBatch() }
        unsafe core.pointee.log = log.map(QueueLog.init)
        // What was written before the front-end began to look, or by an earlier daemon that did not come to mark it, is in these few pages.
        let features = setup.ring.features
        if !Ring.Observer.breaks(.ringLoggedAtStart) {
            unsafe core.pointee.log?.noteWholeRing(
                VirtqueueLayout(queueSize: setup.ring.size, features: features), isPacked: features.contains(.ringPacked))
        }
        unsafe core.pointee.logBatch()
        updateWatch()
    }

    package override func replaceCall(_ call: FileDescriptor?) {
        self.call = call
        unsafe core.pointee.callDescriptor = call?.rawValue ?? -1
        // A notification may have gone to the old descriptor after the front-end stopped listening there: said again, it is never lost.
        unsafe core.pointee.notify()
    }

    package override func replaceMemory(_ memory: GuestMemory, _ place: RingPlace) -> String? {
        do {
            try unsafe core.pointee.ring.relocate(place.addresses)
        } catch {
            return "the new memory table has no room for the ring: \(error)"
        }
        // Another state of the IOTLB takes no mapping away: what is in flight stays where it is.
        if unsafe !memory.sharesTable(with: core.pointee.guest) {
            // An address may mean other memory from here on than what is pinned there.
            useRegistered([])
            unsafe core.pointee.slots.retire(epoch: core.pointee.memoryEpoch)
            unsafe core.pointee.retired.retire(
                core.pointee.guest, epoch: core.pointee.memoryEpoch, inFlight: core.pointee.slots.used)
            unsafe core.pointee.memoryEpoch = core.pointee.memoryEpoch == .max ? 1 : core.pointee.memoryEpoch + 1
        }
        unsafe core.pointee.guest = memory
        unsafe core.pointee.memory = memory.view
        unsafe core.pointee.awaited = memory.awaited
        (addresses, joined) = (place.addresses, place.joined)
        updateWatch()
        if isLogging || place.log != nil { replaceLog(place.log) }
        return nil
    }
}

// The queues of a daemon. A method of a generic class asks at each call which types it is for, which takes longer than an empty ring to look
// at; those of these classes know.

final class SplitNullQueue: QueueRunner<SplitVirtqueue, NullChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}

final class PackedNullQueue: QueueRunner<PackedVirtqueue, NullChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}

final class SplitURingQueue: QueueRunner<SplitVirtqueue, URingChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}

final class PackedURingQueue: QueueRunner<PackedVirtqueue, URingChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}

final class SplitAIOQueue: QueueRunner<SplitVirtqueue, AIOChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}

final class PackedAIOQueue: QueueRunner<PackedVirtqueue, AIOChannel> {
    override func take() -> Take { unsafe core.pointee.take() }
    override func complete() -> Int { isWatched ? completeWatched() : unsafe core.pointee.complete(isWatched: false) }
}
