internal import BlockIO
internal import LinuxSystem
internal import VhostUser
internal import Virtio

/// The device that a front-end's session asks: the export's disk and queues. The session lives on the control thread, so the conformance
/// does too.
@ControlActor
final class ExportDevice: @ControlActor SessionDevice {
    let disk: Disk
    let queues: [ExportQueue]
    /// Where a broken ring is announced, by queue, while the ring runs.
    private var ringErrors: [Int: FileDescriptor] = [:]
    /// The backing is this export's while a ring runs.
    let lock: DiskLock
    private var stateTransfer: StateTransfer?
    let configuration: ExportConfiguration
    let pollers: PollerGroup
    private let tell: @ControlActor (ExportEvent) -> Void
    /// Told when a ring broke, to tell the session.
    var onRingFailure: (@ControlActor (Int, String) -> Void)?
    /// Told when a queue waits for a translation of an I/O virtual address, to tell the session.
    var onMiss: (@ControlActor (Int, MemoryMiss) -> Void)?
    /// Told when a descriptor of the front-end's held up the poller of this queue.
    var onStall: (@ControlActor (Int) -> Void)?
    /// Stalls that were told, by queue.
    private var toldStalls: [Int: UInt64] = [:]
    /// Where somebody wants a queue to run, by queue.
    var cpuByHand: [Int: Int] = [:]
    /// Says, once, that requests are held.
    private let holdWatch: HoldWatch
    /// What was told of features: none at the beginning, and after a reset.
    private var negotiated: VirtioFeatures = []
    private var wasMigrating = false
    /// Guest memory is not all there: queues run on a poller of the export's own.
    var isAwaiting = false
    /// The next try to give queues back to the pollers of everybody.
    var nextReturn: TimerRegistration?

    init(
        _ configuration: ExportConfiguration, disk: Disk, pollers: PollerGroup, tell: @escaping @ControlActor (ExportEvent) -> Void
    ) throws(SystemError) {
        self.configuration = configuration
        self.disk = disk
        self.pollers = pollers
        self.tell = tell
        let queues = try (0..<configuration.queueCount).map { index throws(SystemError) in
            try ExportQueue(
                identity: QueueIdentity(export: configuration.name, index: index),
                drainTimeoutNanoseconds: configuration.drainTimeoutNanoseconds)
        }
        holdWatch = HoldWatch(counters: queues.map(\.counters), tell: tell)
        let lock = DiskLock(
            disk, timeoutNanoseconds: configuration.lockTimeoutNanoseconds,
            hasAbandonedRequests: { queues.contains { $0.abandonedCount > 0 } }, onNotice: { tell(.notice($0)) })
        for queue in queues {
            queue.onNotice = { tell(.notice($0)) }
        }
        (self.queues, self.lock) = (queues, lock)
        for queue in queues {
            // Weak: the lock looks at the queues, and a ring of the three would keep the backing open when the export is gone.
            queue.exportHasAbandonedRequests = { [weak self] in self?.hasAbandonedRequests ?? false }
            queue.onAbandonedEnded = { [weak self] in
                for queue in self?.queues ?? [] { queue.beginIfReady() }
                self?.lock.abandonedEnded()
                self?.endPollerApart()
            }
        }
    }

    var offeredFeatures: VirtioFeatures { disk.offeredFeatures }
    /// Why PAGEFAULT is not offered. Pinning asks for every page, which post-copy would have to bring over first: the two exclude each other.
    var postcopyRefusal: String? {
        if !configuration.offersPostcopy { return "post_copy is off; see docs/migration.md" }
        return configuration.registersMemory ? "guest memory is registered with io_uring (register_memory)" : AwaitedMemory.unavailability
    }
    var offeredProtocolFeatures: ProtocolFeatures {
        postcopyRefusal == nil ? Session.servedProtocolFeatures : Session.servedProtocolFeatures.subtracting(.pageFault)
    }
    var queueCount: Int { configuration.queueCount }
    var queueSizeMax: Int { ExportConfiguration.Limits.queueSizes.upperBound }

    func readConfig(offset: Int, size: Int) -> [UInt8]? { disk.configSpace.read(offset: offset, size: size) }

    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
        disk.writeConfig(offset: offset, bytes: bytes, isMigration: isMigration)
    }

    func featuresDidChange(_ features: VirtioFeatures) {
        let isMigrating = features.contains(.logAll)
        let others = features.subtracting(.logAll)
        if isMigrating != wasMigrating { tell(.migrating(isMigrating)) }
        if !features.isEmpty, others != negotiated { tell(.negotiated(features: features.rawValue, names: features.bitNames)) }
        (wasMigrating, negotiated) = (isMigrating, others)
    }

    /// The session remembers it; nothing here depends on it.
    func statusDidChange(_ status: UInt8) {}

    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        let queue = queues[index]
        let isApart = ring.memory.awaited != nil
        // To ask where a page is brings it, or waits for it.
        let memoryNode = isApart ? nil : unsafe NUMA.node(of: ring.addresses.descriptors)
        do {
            let (poller, place) = try pollers.assign(
                queue.identity, cpus: cpuByHand[index].map { [$0] } ?? configuration.cpus, memoryNode: memoryNode,
                backingNode: disk.backing.node, isByHand: cpuByHand[index] != nil,
                isApart: isApart, onStall: { [weak self] in self?.tellStalls(index) })
            var setup = QueueSetup(
                identity: queue.identity, ring: ring, disk: disk, counters: queue.counters, pollMode: configuration.pollMode,
                errorPolicy: configuration.errorPolicy,
                onMiss: { [weak self] miss in ControlActor.post { self?.onMiss?(index, miss) } },
                onFailure: { [weak self] reason in ControlActor.post { self?.ringFailed(index, reason) } },
                onHold: { [weak self] change in ControlActor.post { self?.holdWatch.note(change, queue: index) } })
            setup.coalescing = configuration.coalescing
            setup.spinNanosecondsMax = configuration.spinNanosecondsMax
            setup.registersMemory = configuration.registersMemory && disk.choice.engine == .ioURing
            setup.onRegistration = { registration in ControlActor.post { queue.registration = registration } }
            setup.onRecovery = { [weak self] count in ControlActor.post { self?.tell(.recovered(queue: index, requests: count)) } }
            queue.start(setup, on: poller, place: place, memoryNode: memoryNode, waitsForLock: true)
            ringErrors[index] = ring.error
            lock.take(for: index) { [weak self] error in
                if let error { self?.ringFailed(index, error.message) } else { queue.lockTaken() }
            }
            isAwaiting = isApart
            tell(.ringStarted(queue: index, cpu: poller.cpu))
        } catch {
            throw RingStartError("\(error)")
        }
    }

    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        let queue = queues[index]
        let completion = HandedOver(completion)
        queue.stop(mode) { [self] base in
            pollers.release(queue.identity)
            endPollerApart()
            ringErrors[index] = nil
            // A front-end that leaves at once is no better: the next session is to know.
            tellStalls(index)
            tell(.ringStopped(queue: index))
            // Whoever is told that the ring has stopped may start it elsewhere: the lock is free then.
            lock.give(for: index) { completion.value(base) }
        }
    }

    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
        let queue = queues[index]
        let completion = HandedOver(completion)
        let done: @ControlActor () -> Void = { completion.value() }
        switch change {
        case .kick(let kick, let isPolled):
            queue.onPoller(
                { loop, token in loop.replaceKick(token, isPolled ? nil : kick) },
                beforeBegin: { ($0.setup.ring.kick, $0.setup.ring.isPolled) = (kick, isPolled) }, completion: done)
        case .call(let call):
            queue.onPoller(
                { loop, token in loop.replaceCall(token, call) }, beforeBegin: { $0.setup.ring.call = call }, completion: done)
        case .kicked:
            queue.onPoller({ loop, token in loop.kicked(token) }, completion: done)
        case .error(let error):
            ringErrors[index] = error
            done()
        case .suspended:
            queue.onPoller({ loop, token in loop.suspend(token) }, beforeBegin: { $0.isSuspended = true }, completion: done)
        case .denied(let miss):
            queue.onPoller({ loop, token in loop.deny(token, miss) }, completion: done)
        case .log(let log):
            queue.onPoller(
                { loop, token in loop.queues[token]?.replaceLog(log) }, beforeBegin: { $0.setup.ring.log = log }, completion: done)
        }
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void) {
        var pending = rings.count
        isAwaiting = memory.awaited != nil
        guard pending > 0 else { return completion() }
        let completion = HandedOver(completion)
        for (index, place) in rings {
            let place = HandedOver(place)
            queues[index].onPoller(
                { loop, token in loop.replaceMemory(token, memory, place.value) },
                beforeBegin: {
                    $0.setup.ring.move(to: place.value, in: memory)
                    $0.isSuspended = false
                },
                completion: {
                    pending -= 1
                    guard pending == 0 else { return }
                    completion.value()
                    if !self.isAwaiting { self.returnQueues() }
                })
        }
    }

    /// Tries held requests now; calls nobody back, since a disk may take its time.
    func retryHeld() {
        for queue in queues where queue.running != nil {
            queue.onPoller({ loop, token in loop.hastenRetry(token) }, completion: {})
        }
    }

    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
        stateTransfer?.cancel()
        let transfer = saves ? StateTransfer(saving: disk.stateStream, to: channel) : StateTransfer(loadingFrom: channel)
        stateTransfer = transfer
        let completion = HandedOver(completion)
        transfer.start { [self] result in
            stateTransfer = nil
            do throws(DeviceStateError) {
                let bytes = try result.get()
                if !saves { try disk.restore(bytes) }
                tell(.stateMoved(isLoaded: !saves))
                completion.value(nil)
            } catch {
                completion.value(error.reason)
            }
        }
    }

    var state: [UInt8] { disk.stateStream }

    func restore(_ state: [UInt8]) -> String? {
        let failure = disk.restoreState(state)
        if failure == nil { tell(.stateMoved(isLoaded: true)) }
        return failure
    }

    func cancelStateTransfer() {
        stateTransfer?.cancel()
        stateTransfer = nil
    }

    /// Whether the kernel still has requests of rings that were given back.
    var hasAbandonedRequests: Bool { queues.contains { $0.abandonedCount > 0 } }

    func resetDevice() { disk.reset() }

    private func ringFailed(_ index: Int, _ reason: String) {
        queues[index].fail(reason)
        // virtio has no other way to say it: the front-end learns from the err descriptor that the ring is dead. The write may wait, which
        // pollers are watched for and the control thread is not.
        if let error = ringErrors[index] { queues[index].onPoller({ loop, token in loop.signalError(token, error) }, completion: {}) }
        tell(.ringFailed(queue: index, reason: reason))
        onRingFailure?(index, reason)
    }

    func tellStalls(_ index: Int) {
        let count = queues[index].counters.read(.stalls)
        guard count > toldStalls[index, default: 0] else { return }
        toldStalls[index] = count
        onStall?(index)
    }
}
