import LinuxSystem
import VhostUser
import VhostUserFrontend
import Virtio

/// The front-end's side of a connection, as QEMU has it: a script of messages, each sent when the one before was answered.
@safe
final class SimulatedFrontend {
    /// A message to be sent, made when its turn comes, and what its answer brings.
    struct Step {
        var request: FrontendRequest
        var make: () -> Message
        var then: (Message) -> Void = { _ in }
    }

    /// The inflight region as the front-end keeps it over connections and daemons.
    private(set) var region: InflightHandover?
    /// The same, mapped: the world puts it back when a daemon dies.
    private(set) var regionMapping: MemoryMapping?
    /// Something that no correct daemon does.
    var problem: String?
    /// What is to be done when the script has ended.
    var onEnd: () -> Void = {}
    private var script: [Step] = []
    private(set) var waiting: Step?
    private var answers: [Message] = []
    /// What came over the back-end channel and was not answered.
    var requests: [Message] = []
    /// The guest's IOMMU as it is.
    var translations: (() -> IOMMU)?
    var isDaemonDead: (() -> Bool)?
    /// The dirty log, while a migration wants it.
    var log: DirtyBitmap?
    /// The device has been told of the log, if there is one.
    var hasToldLog = true
    /// The device's state between its old daemon and its new one.
    var state: [UInt8]?
    /// The guest wants completed writes to be durable.
    var wantsWriteThrough = false
    /// Translations that were given.
    var translationCount: UInt64 = 0
    private var bases: [Int: UInt32] = [:]
    private var hasExtraMemory = true
    let scenario: Scenario
    let dice: Dice
    let trace: Trace
    /// With that rule broken, what was in the region that was given away.
    private var oldRegion: [UInt8] = []
    let broken: BrokenRule?

    init(scenario: Scenario, dice: Dice, trace: Trace, broken: BrokenRule?) {
        self.scenario = scenario
        self.dice = dice
        self.trace = trace
        self.broken = broken
    }

    /// Whether a message waits for its answer, or more are to be sent.
    var isBusy: Bool { waiting != nil || !script.isEmpty }

    // MARK: The connection

    /// What a session puts out.
    func take(_ output: SessionOutput) {
        switch output {
        case .reply(let message): answers.append(message)
        case .close(let error): problem = "the session closed the connection: \(error)"
        case .notice(let notice): if notice.level == .warning, !isExpected(notice) { problem = notice.description }
        case .backendRequest(let message): requests.append(message)
        default: break
        }
    }

    /// Takes an answer that is there, or sends the next message; false when there is nothing to do but wait.
    func turn(_ session: Session) -> Bool {
        if waiting == nil, !requests.isEmpty, dice.once(in: 2) {
            answerBackend(session)
            return true
        }
        if let step = waiting {
            guard let answer = takeAnswer() else { return false }
            guard answer.request == step.request.rawValue else {
                problem = "\(step.request.name) was answered as \(FrontendRequest.describe(answer.request))"
                return false
            }
            waiting = nil
            step.then(answer)
        } else {
            guard !script.isEmpty else { return false }
            let step = script.removeFirst()
            waiting = step
            trace.note("message \(step.request.name)")
            session.receive(step.make())
        }
        if waiting == nil, script.isEmpty {
            let end = onEnd
            onEnd = {}
            end()
        }
        return true
    }

    /// The oldest answer that is there.
    func takeAnswer() -> Message? { answers.isEmpty ? nil : answers.removeFirst() }

    /// The connection is gone; the region stays.
    func disconnect() {
        script = []
        waiting = nil
        answers = []
        requests = []
        onEnd = {}
        hasExtraMemory = true
    }

    // MARK: Scripts

    func tell(
        _ request: FrontendRequest, descriptors: @autoclosure @escaping () -> [FileDescriptor] = [],
        _ payload: @escaping () -> Payload = { .none }
    ) {
        script.append(
            Step(
                request: request, make: { Message(request, payload(), descriptors: descriptors(), needReply: true) },
                then: { [unowned self] answer in
                    if case .u64(0)? = try? answer.decode(.u64) { return }
                    problem = "\(request.name) was refused"
                }))
    }

    func ask(
        _ request: FrontendRequest, _ payload: Payload = .none, descriptors: @autoclosure @escaping () -> [FileDescriptor] = [],
        _ then: @escaping (Message) -> Void = { _ in }
    ) {
        script.append(Step(request: request, make: { Message(request, payload, descriptors: descriptors()) }, then: then))
    }

    /// The opening, which ends with everything running.
    func open(_ guest: SimulatedGuest, then end: @escaping () -> Void = {}) {
        ask(.getFeatures)
        ask(.getProtocolFeatures)
        var features: ProtocolFeatures = [
            .multiQueue, .replyAck, .inflightSharedMemory, .resetDevice, .configureMemorySlots, .logSharedMemory, .backendChannel, .config,
            .deviceState,
        ]
        if scenario.leavesInflight { features.insert(.getVringBaseInflight) }
        tell(.setProtocolFeatures) { .u64(features.rawValue) }
        tell(.setOwner)
        ask(.getQueueCount)
        openChannel()
        bringState()
        start(guest, then: end)
    }

    /// Starts all rings, over a connection that is open.
    func start(_ guest: SimulatedGuest, then end: @escaping () -> Void = {}) {
        onEnd = end
        // QEMU gives the log last when it connects again in the middle of a migration, others first.
        let logsFirst = dice.once(in: 2)
        if logsFirst { tellLog() }
        tell(.setFeatures) { [unowned self] in .u64(features.rawValue) }
        askForRegion()
        tell(.setInflightDescriptor, descriptors: self.regionFiles) { [unowned self] in
            .inflight(region?.description ?? InflightDescription(size: 0, offset: 0, queueCount: 0, queueSize: 0))
        }
        tell(.setMemoryTable, descriptors: guest.memory.files) {
            .memoryTable(guest.memory.regions.indices.map { FrontendConnection.describe($0, of: guest.memory) })
        }
        hasExtraMemory = true
        for index in guest.queues.indices { setRing(index, guest) }
        for index in dice.shuffled(Array(guest.queues.indices)) {
            tell(.setVringEnable) { .vringState(VringState(index: UInt32(index), number: 1)) }
        }
        if !logsFirst { tellLog() }
    }

    private func setRing(_ index: Int, _ guest: SimulatedGuest) {
        let number = UInt32(index)
        let queue = guest.queues[index]
        let size = UInt32(queue.ring.area.size)
        tell(.setVringSize) { .vringState(VringState(index: number, number: size)) }
        tell(.setVringBase) { [unowned self] in .vringState(VringState(index: number, number: base(index, guest))) }
        tellAddress(index, guest)
        let reference = VringDescriptorReference(index: UInt8(index), hasDescriptor: true)
        tell(.setVringKick, descriptors: [queue.kick.descriptor]) { .vringDescriptor(reference) }
        tell(.setVringCall, descriptors: [queue.call.descriptor]) { .vringDescriptor(reference) }
    }

    /// What QEMU says: where GET_VRING_BASE answered, or, of a ring whose back-end vanished, a split one's used index, which is in shared
    /// memory. Of a packed ring there is nothing better than the last answer, however old, or the start.
    private func base(_ index: Int, _ guest: SimulatedGuest) -> UInt32 {
        if scenario.isPacked { return bases[index] ?? RingBase.packedStart.rawValue }
        return bases.removeValue(forKey: index) ?? guest.queues[index].ring.baseAfterCrash
    }

    private var regionFiles: [FileDescriptor] { region.map { [$0.file] } ?? [] }

    private func askForRegion() {
        guard region == nil else { return }
        let size = UInt16(scenario.ringSizes.max() ?? 1)
        let wish = InflightDescription(size: 0, offset: 0, queueCount: UInt16(scenario.queueCount), queueSize: size)
        ask(.getInflightDescriptor, .inflight(wish)) { [unowned self] answer in
            guard case .inflight(let description)? = try? answer.decode(.inflight), let file = answer.descriptors.first,
                let mapping = try? MemoryMapping(descriptor: file, offset: description.offset, size: description.size)
            else {
                problem = "GET_INFLIGHT_FD brought no region"
                return
            }
            region = InflightHandover(description: description, file: file)
            regionMapping = mapping
            if broken == .world(.newRegionIsZero) { putRegion(oldRegion) }
        }
    }

    /// GET_VRING_BASE for each ring.
    func stop(_ guest: SimulatedGuest, then end: @escaping () -> Void) {
        onEnd = end
        for index in dice.shuffled(Array(guest.queues.indices)) {
            if dice.once(in: 4) { tell(.setVringEnable) { .vringState(VringState(index: UInt32(index), number: 0)) } }
            ask(.getVringBase, .vringState(VringState(index: UInt32(index), number: 0))) { [unowned self] answer in
                guard case .vringState(let state)? = try? answer.decode(.vringState), state.index == index else {
                    problem = "GET_VRING_BASE was answered with something else"
                    return
                }
                bases[index] = state.number
            }
        }
    }

    /// RESET_DEVICE, which leaves the region fresh: it can be used for the next guest.
    func reset(then end: @escaping () -> Void) {
        onEnd = end
        var before: [UInt8] = []
        tell(.resetDevice) { [unowned self] in
            before = regionBytes
            return .none
        }
        guard broken == .world(.regionForgottenAtReset), let index = script.indices.last else { return }
        let then = script[index].then
        script[index].then = { [unowned self] answer in
            then(answer)
            putRegion(before)
        }
    }

    /// The memory table changes under the running rings: a region comes or goes, or the whole table is sent again.
    func changeMemory(_ guest: SimulatedGuest) {
        let extra = FrontendConnection.describe(1, of: guest.memory)
        switch dice.below(3) {
        case 0:
            let count = hasExtraMemory ? 2 : 1
            tell(.setMemoryTable, descriptors: Array(guest.memory.files.prefix(count))) {
                .memoryTable((0..<count).map { FrontendConnection.describe($0, of: guest.memory) })
            }
        case _ where hasExtraMemory:
            tell(.removeMemoryRegion) { .memoryRegion(extra) }
            hasExtraMemory = false
        default:
            tell(.addMemoryRegion, descriptors: [guest.memory.files[1]]) { .memoryRegion(extra) }
            hasExtraMemory = true
        }
    }

    // MARK: The region

    /// The guest was reset, or moved to another host: the region goes, as QEMU frees it.
    func dropRegion() {
        oldRegion = regionBytes
        region = nil
        regionMapping = nil
    }

    /// Bases that GET_VRING_BASE told are of rings that are no more.
    func dropBases() { bases = [:] }

    /// What the region holds.
    var regionBytes: [UInt8] {
        guard let mapping = regionMapping else { return [] }
        return unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: mapping.size))
    }

    /// Puts back what the region held.
    func putRegion(_ bytes: [UInt8]) {
        guard let mapping = regionMapping, bytes.count == mapping.size else { return }
        unsafe mapping.base.copyMemory(from: bytes, byteCount: bytes.count)
    }
}
