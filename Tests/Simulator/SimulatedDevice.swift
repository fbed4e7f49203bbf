import BlockExport
import BlockIO
import LinuxSystem
import VhostUser
import Virtio

/// The device of a simulated daemon: it runs the daemon's own queues, as a poller would but in an order that the dice choose.
@safe
final class SimulatedDevice: SessionDevice {
    /// A ring that runs.
    struct Running {
        var queue: PolledQueue
        var mayArm = false
        /// Turns that a stop may still wait for requests, as the drain time-out.
        var patience = 0
    }

    /// What the device asks of the history that it is in.
    struct Surroundings {
        let scenario: Scenario
        let disk: SimulatedDisk
        let clock: StoreClock
        let order: RequestOrder
        let dice: Dice
        let trace: Trace
        let broken: BrokenRule?
    }

    private typealias Split = QueueRunner<SplitRing<SimulatedObserver>, SimulatedChannel>
    private typealias Packed = QueueRunner<PackedRing<SimulatedObserver>, SimulatedChannel>

    let export: Disk
    let queueCount: Int
    let queueSizeMax = 64
    let around: Surroundings
    var running: [Int: Running] = [:]
    /// Rings that have run.
    private(set) var begun: Set<Int> = []
    /// Rings that were given back although the disk still has requests of theirs.
    var abandoned: [(index: Int, queue: PolledQueue)] = []
    /// Rings that start when those have ended, what is done to them first, and who is told when they have been stopped, if they are to be.
    private var waiting: [Int: (ring: RingConfiguration, jobs: [() -> Void], stopped: ((RingBase) -> Void)?)] = [:]
    /// Whether a stop may end with requests in flight: somebody will do them again.
    var mayAbandon = false
    /// With the rule of invalidations broken, the pollers go on with the translations that they have.
    var keepsTranslations = false
    /// Misses on their way to the session.
    var misses: [(index: Int, miss: MemoryMiss)] = []
    var onMiss: (Int, MemoryMiss) -> Void = { _, _ in }
    var now: UInt64 = 0
    private var isDead = false
    /// Status bytes that are stored too late, with that rule broken: where each is and where it goes.
    var lateStatus: [LateStatus] = []
    /// Something that no correct daemon does.
    var problem: String?

    init(sectorCount: Int, _ around: Surroundings) throws {
        let configuration = ExportConfiguration(
            name: "simulated", backing: .null(size: UInt64(sectorCount * SimulatedDisk.sectorBytes)), endpoint: .path("/nowhere"),
            queueCount: around.scenario.queueCount, queueSize: 64)
        export = try Disk(opening: configuration)
        queueCount = around.scenario.queueCount
        self.around = around
        around.disk.willFinish =
            around.broken == .world(.statusBeforeUsed) ? { [unowned self] operation in delayStatus(operation) } : nil
    }

    // MARK: What the session asks

    var offeredFeatures: VirtioFeatures { export.offeredFeatures }
    var offeredProtocolFeatures: ProtocolFeatures { Session.servedProtocolFeatures }
    func readConfig(offset: Int, size: Int) -> [UInt8]? { nil }
    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
        export.writeConfig(offset: offset, bytes: bytes, isMigration: isMigration)
    }
    func featuresDidChange(_ features: VirtioFeatures) {}
    func statusDidChange(_ status: UInt8) {}
    func resetDevice() { export.reset() }
    func cancelStateTransfer() {}

    /// A state is a few bytes: the channel takes or has all of it at once.
    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
        do {
            if saves {
                let bytes = export.stateStream
                _ = try unsafe bytes.withUnsafeBytes { try unsafe channel.write($0) }
                return completion(nil)
            }
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe channel.read(into: $0) } ?? 0
            let failure = export.restoreState(Array(bytes.prefix(count)))
            if around.broken == .world(.stateIsLoaded) { export.reset() }
            completion(failure)
        } catch {
            completion("\(error)")
        }
    }

    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        if mustWait(index) { waiting[index] = (ring, [], nil) } else { try begin(index, ring) }
    }

    /// Whether a ring may not begin yet, for the sake of abandoned requests.
    private func mustWait(_ index: Int) -> Bool {
        switch around.broken {
        case .world(.abandonedAreAwaited): false
        case .world(.abandonedOfOtherRingsAreAwaited): abandoned.contains { $0.index == index }
        default: !abandoned.isEmpty
        }
    }

    private func begin(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        do {
            let counters = try QueueCounters()
            let setup = QueueSetup(
                identity: QueueIdentity(export: "simulated", index: index), ring: ring, disk: export, counters: counters,
                pollMode: .adaptive, onFailure: { _ in })
            let channel = SimulatedChannel(queue: index, disk: around.disk, clock: around.clock, order: around.order)
            let holds = around.scenario.holds && around.broken != .world(.failuresAreHeld)
            let held =
                holds
                ? HeldRequests(timeoutNanoseconds: 0, isDirect: true, counters: counters, schedule: { _ in }, onChange: { _ in }) : nil
            let queue: PolledQueue =
                ring.features.contains(.ringPacked)
                ? try Packed(setup: setup, channel: channel, held: held, node: nil)
                : try Split(setup: setup, channel: channel, held: held, node: nil)
            around.trace.note("ring \(index) starts at \(queue.base), told was \(ring.base)")
            running[index] = Running(queue: queue)
            begun.insert(index)
            heat(index)
        } catch {
            problem = "ring \(index) does not start: \(error)"
            throw RingStartError("\(error)")
        }
    }

    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        if let ring = waiting[index]?.ring {
            // As ExportQueue does: what an earlier daemon left is owed first.
            guard mode == .drain, ring.mayHaveEarlierRequests, around.broken != .world(.waitingRingsOweRequests) else {
                waiting[index] = nil
                return completion(ring.base)
            }
            waiting[index]?.stopped = completion
            return
        }
        guard let queue = running[index]?.queue else { preconditionFailure("ring \(index) does not run") }
        guard !isDead else { return completion(queue.base) }
        // As PollerLoop stops a queue.
        if queue.state == .suspended { queue.cancelWaiting() }
        queue.state = queue.state == .suspended ? .abandoned : .draining
        queue.isHot = false
        queue.onStopped = { completion($0 ?? queue.base) }
        running[index]?.patience = around.dice.number(5...400)
        if mode == .leaveInflight, queue.leaveCancelled() { queue.cancelWaiting() }
        endIfDrained(index)
    }

    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
        // A ring that waits begins with what it was told last, as ExportQueue has it.
        switch change {
        case _ where waiting[index] == nil: apply(change, to: index)
        case .kick(let kick, let isPolled):
            waiting[index]?.ring.kick = kick
            waiting[index]?.ring.isPolled = isPolled
        case .call(let call): waiting[index]?.ring.call = call
        case .log(let log): waiting[index]?.ring.log = log
        default: waiting[index]?.jobs.append { [unowned self] in apply(change, to: index) }
        }
        completion()
    }

    private func apply(_ change: RingChange, to index: Int) {
        guard let queue = running[index]?.queue else { return }
        switch change {
        case .kick(let kick, _):
            queue.replaceKick(kick)
            heat(index)
        case .call(let call): queue.replaceCall(call)
        case .kicked: heat(index)
        case .log(let log): queue.replaceLog(log)
        case .suspended where queue.state == .running || queue.state == .parked:
            queue.state = .suspended
            queue.isHot = false
        case .denied(let miss) where queue.state == .parked:
            queue.deny(miss)
            goOn(index)
        case .error, .suspended, .denied: break
        }
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void) {
        defer { completion() }
        if keepsTranslations { return }
        for (index, place) in rings.sorted(by: { $0.key < $1.key }) {
            if waiting[index] != nil {
                waiting[index]?.ring.move(to: place, in: memory)
                waiting[index]?.jobs.append { [unowned self] in goOn(index) }
            } else {
                if let reason = running[index]?.queue.replaceMemory(memory, place) { problem = reason }
                goOn(index)
            }
        }
    }

    private func goOn(_ index: Int) {
        guard let queue = running[index]?.queue, queue.state == .parked || queue.state == .suspended else { return }
        queue.state = .running
        heat(index)
    }

    /// Starts the rings that waited for abandoned requests, when the last of these has ended.
    func beginWaiting() {
        for index in waiting.keys.sorted() where !mustWait(index) {
            guard let (ring, jobs, stopped) = waiting.removeValue(forKey: index) else { continue }
            // What is wrong is in `problem`.
            try? begin(index, ring)
            for job in jobs { job() }
            if let stopped, running[index] != nil { stopRing(index, .drain, completion: stopped) }
        }
    }

    // MARK: The end

    /// The daemon is dead: its queues touch neither guest memory nor the rings any more. Its session ends too, so that nobody keeps what
    /// it had; what that still stores to the region is undone by the world.
    func die(_ session: Session) {
        isDead = true
        lateStatus = []
        let queues = running.keys.sorted().compactMap { running[$0]?.queue }
        for queue in queues {
            queue.cancelWaiting()
            queue.state = .abandoned
        }
        around.disk.daemonDied()
        for queue in queues + abandoned.map(\.queue) { _ = queue.complete() }
        session.disconnect {}
        for queue in queues {
            queue.onStopped?(queue.base)
            queue.onStopped = nil
        }
        running = [:]
        for (_, (ring, _, stopped)) in waiting.sorted(by: { $0.key < $1.key }) { stopped?(ring.base) }
        abandoned = []
        waiting = [:]
    }

    /// With that rule broken, makes a request's status byte go elsewhere until the used element is stored.
    private func delayStatus(_ operation: DiskOperation) {
        if [.read, .write, .flush].contains(operation.kind) { lateStatus.append(LateStatus(operation)) }
    }
}
