import BlockExport
import BlockIO
import LinuxSystem
import VhostUser
import Virtio

/// The device of a simulated daemon: it runs the daemon's own queues, as a poller would but in an order that the dice choose.
@safe
final class SimulatedDevice: SessionDevice {
    /// A ring that runs.
    private struct Running {
        var queue: PolledQueue
        var mayArm = false
    }

    private typealias Split = QueueRunner<SplitRing<SimulatedObserver>, SimulatedChannel>
    private typealias Packed = QueueRunner<PackedRing<SimulatedObserver>, SimulatedChannel>

    let export: Disk
    let queueCount: Int
    let queueSizeMax = 64
    private var running: [Int: Running] = [:]
    private let disk: SimulatedDisk
    private let clock: StoreClock
    private let order: RequestOrder
    private let dice: Dice
    private let trace: Trace
    private let breaksStatus: Bool
    private var now: UInt64 = 0
    private var isDead = false
    /// Status bytes that are stored too late, with that rule broken: where each is and where it goes.
    private var lateStatus: [LateStatus] = []
    /// Something that no correct daemon does.
    private(set) var problem: String?

    init(
        queueCount: Int, sectorCount: Int, disk: SimulatedDisk, clock: StoreClock, order: RequestOrder, dice: Dice, trace: Trace,
        breaksStatus: Bool
    ) throws {
        let configuration = ExportConfiguration(
            name: "simulated", backing: .null(size: UInt64(sectorCount * SimulatedDisk.sectorBytes)), endpoint: .path("/nowhere"),
            queueCount: queueCount, queueSize: 64)
        export = try Disk(opening: configuration)
        self.queueCount = queueCount
        self.disk = disk
        self.clock = clock
        self.order = order
        self.dice = dice
        self.trace = trace
        self.breaksStatus = breaksStatus
        disk.willFinish = breaksStatus ? { [unowned self] operation in delayStatus(operation) } : nil
    }

    /// Whether a ring runs or waits for its requests.
    var isActive: Bool { !running.isEmpty }

    // MARK: What the session asks

    var offeredFeatures: VirtioFeatures { export.offeredFeatures }
    var offeredProtocolFeatures: ProtocolFeatures { Session.servedProtocolFeatures }
    func readConfig(offset: Int, size: Int) -> [UInt8]? { nil }
    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool { false }
    func featuresDidChange(_ features: VirtioFeatures) {}
    func statusDidChange(_ status: UInt8) {}
    func resetDevice() { export.reset() }
    /// No simulated front-end moves the device's state.
    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
        completion("there is none in the simulation")
    }
    func cancelStateTransfer() {}

    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        do {
            let setup = QueueSetup(
                identity: QueueIdentity(export: "simulated", index: index), ring: ring, disk: export, counters: try QueueCounters(),
                pollMode: .adaptive, onFailure: { _ in })
            let channel = SimulatedChannel(queue: index, disk: disk, clock: clock, order: order)
            let queue: PolledQueue =
                ring.features.contains(.ringPacked)
                ? try Packed(setup: setup, channel: channel, node: nil) : try Split(setup: setup, channel: channel, node: nil)
            trace.note("ring \(index) starts at \(queue.base), told was \(ring.base)")
            running[index] = Running(queue: queue)
            heat(index)
        } catch {
            problem = "ring \(index) does not start: \(error)"
            throw RingStartError("\(error)")
        }
    }

    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        guard let queue = running[index]?.queue else { preconditionFailure("ring \(index) does not run") }
        guard !isDead else { return completion(queue.base) }
        queue.state = .draining
        queue.onStopped = { completion($0 ?? queue.base) }
        endIfDrained(index)
    }

    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
        switch change {
        case .kick(let kick, _):
            running[index]?.queue.replaceKick(kick)
            heat(index)
        case .call(let call): running[index]?.queue.replaceCall(call)
        case .kicked: heat(index)
        case .log(let log): running[index]?.queue.replaceLog(log)
        case .error, .suspended, .denied: break
        }
        completion()
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingAddresses], completion: @escaping () -> Void) {
        for (index, addresses) in rings.sorted(by: { $0.key < $1.key }) {
            if let reason = running[index]?.queue.replaceMemory(memory, addresses) { problem = reason }
        }
        completion()
    }

    // MARK: What a poller does

    /// One thing that a poller may do now; whether anything was done.
    func turn(now: UInt64) -> Bool {
        self.now = now
        guard !running.isEmpty else { return false }
        let index = dice.pick(running.keys.sorted())
        guard let queue = running[index]?.queue else { return false }
        if queue.hasCompletions, dice.once(in: 2) { return complete(index, queue) }
        guard queue.state == .running else {
            if queue.hasCompletions { return complete(index, queue) }
            endIfDrained(index)
            return false
        }
        guard queue.isHot else {
            guard let kick = queue.kick, EventFD(adopting: kick).drain() > 0 else { return false }
            heat(index)
            return true
        }
        switch queue.take() {
        case .taken(0): return cool(index, queue)
        case .taken(let count):
            trace.note("ring \(index): \(count) taken, now at \(queue.base)")
            running[index]?.mayArm = false
            if !clock.isDead { disk.submit(now: now) }
            return true
        case .failed(let reason):
            problem = "ring \(index) broke: \(reason)"
            return false
        case .missed(_, let miss):
            problem = "ring \(index) misses \(miss), and there is no IOMMU"
            return false
        }
    }

    private func complete(_ index: Int, _ queue: PolledQueue) -> Bool {
        let count = queue.complete()
        trace.note("ring \(index): \(count) completed")
        if !clock.isDead { disk.submit(now: now) }
        if !clock.isDead {
            for late in lateStatus { late.arrive() }
        }
        if queue.state == .draining { endIfDrained(index) } else { heat(index) }
        return true
    }

    private func heat(_ index: Int) {
        guard let queue = running[index]?.queue, !queue.isHot, queue.state == .running else { return }
        queue.isHot = true
        queue.disarm()
    }

    /// An empty look: spins on, or asks for a kick.
    private func cool(_ index: Int, _ queue: PolledQueue) -> Bool {
        guard running[index]?.mayArm == true, dice.once(in: 2) else {
            running[index]?.mayArm = true
            return false
        }
        running[index]?.mayArm = false
        if queue.arm() { queue.disarm() } else { queue.isHot = false }
        return false
    }

    private func endIfDrained(_ index: Int) {
        guard let queue = running[index]?.queue, queue.state == .draining else { return }
        queue.takeResubmissions()
        if !clock.isDead { disk.submit(now: now) }
        guard queue.inFlight == 0 else { return }
        queue.close()
        running[index] = nil
        queue.onStopped?(queue.base)
        queue.onStopped = nil
    }

    /// With that rule broken, makes a request's status byte go elsewhere until the used element is stored.
    private func delayStatus(_ operation: DiskOperation) {
        if [.read, .write, .flush].contains(operation.kind) { lateStatus.append(LateStatus(operation)) }
    }

    /// The daemon is dead: its queues touch neither guest memory nor the rings any more. Its session ends too, so that nobody keeps what
    /// it had; what that still stores to the region is undone by the world.
    func die(_ session: Session) {
        isDead = true
        lateStatus = []
        for index in running.keys.sorted() { running[index]?.queue.state = .abandoned }
        disk.daemonDied()
        for index in running.keys.sorted() { _ = running[index]?.queue.complete() }
        session.disconnect {}
        for ring in running.values {
            ring.queue.onStopped?(ring.queue.base)
            ring.queue.onStopped = nil
        }
        running = [:]
    }
}

/// A status byte on its way: stored here by the queue, and in guest memory when it is too late.
@safe
final class LateStatus {
    private static let none: UInt8 = 0xff
    // unsafe: `place` is allocated here and freed in deinit; `target` is used before the queue lets go of the guest's memory.
    private let place: UnsafeMutablePointer<UInt8>
    private let target: UnsafeMutableRawPointer

    init(_ operation: DiskOperation) {
        unsafe place = .allocate(capacity: 1)
        unsafe place.initialize(to: Self.none)
        unsafe target = operation.status
        unsafe operation.status = UnsafeMutableRawPointer(place)
    }

    deinit { unsafe place.deallocate() }

    func arrive() {
        guard unsafe place.pointee != Self.none else { return }
        unsafe target.storeBytes(of: place.pointee, as: UInt8.self)
        unsafe place.pointee = Self.none
    }
}
