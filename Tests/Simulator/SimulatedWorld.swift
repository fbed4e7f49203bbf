import BlockExport
import LinuxSystem
import VhostUser
import VhostUserFrontend
import Virtio

/// Host, guest, front-end and the daemons that live one after the other; what happens next is thrown with the dice.
@safe
final class SimulatedWorld {
    let seed: UInt64
    let scenario: Scenario
    var report = SimulationReport()
    /// The kind of the last event that changed anything, for a person who looks at a failure.
    private(set) var lastDeed = "began"

    let dice: Dice
    let trace: Trace
    let clock: StoreClock
    let disk: SimulatedDisk
    let order: RequestOrder
    private let numbers = RequestNumbers()
    let frontend: SimulatedFrontend
    let broken: BrokenRule?
    var guest: SimulatedGuest
    var model: DiskModel
    var daemon: (session: Session, device: SimulatedDevice)?
    /// The guest's memory on its way to another host.
    var transfer: MemoryTransfer?
    /// A log that the device was told to leave alone.
    var endedLog: DirtyBitmap?
    /// Something that no correct device does.
    var ownProblem: String?
    /// A daemon whose connection is ending; it starts the next session when its rings have stopped.
    var isLeaving = false
    /// What the front-end and the guest are about.
    var plan = Plan.run
    private var sectorCount = 64
    var now: UInt64 = 0
    /// When the front-end tries to connect again.
    private var reconnectAt: UInt64 = 0
    private var budget: Int
    /// Shared memory as it was when the daemon died.
    private var image: (guest: [[UInt8]], region: [UInt8], log: [UInt8]) = ([], [], [])

    enum Plan {
        case run
        /// The rings are being stopped because the guest resets or moves, or for a moment.
        case reset, migrate, pause
    }

    init(seed: UInt64, breaking broken: BrokenRule?, trace: Trace) throws {
        self.seed = seed
        self.broken = broken
        dice = Dice(seed: seed)
        self.trace = trace
        scenario = Scenario(seed: seed, dice)
        budget = scenario.requestCount
        var rule: OrderingRule?
        if case .ring(let ring)? = broken { rule = ring }
        clock = StoreClock(breaking: rule)
        disk = SimulatedDisk(
            sectorCount: Scenario.sectorsMax, dice: dice, trace: trace, hasErrors: scenario.hasErrors,
            fenceIsBroken: broken == .world(.fence))
        order = RequestOrder(queueCount: scenario.queueCount)
        frontend = SimulatedFrontend(scenario: scenario, dice: dice, trace: trace, broken: broken)
        guest = try SimulatedGuest(scenario: scenario, dice: dice, trace: trace, numbers: numbers)
        model = DiskModel(sectorCount: Scenario.sectorsMax, isWriteThrough: !scenario.hasFlush)
        unsafe StoreClock.current = clock
        clock.onDeath = { [unowned self] in keepImage() }
        frontend.isDaemonDead = { [unowned clock] in clock.isDead }
        frontend.translations = { [unowned self] in guest.iommu }
    }

    deinit { unsafe StoreClock.current = nil }

    // MARK: The run

    /// Lets the history happen until all requests are done; what is wrong, if anything is.
    func run() throws -> String? {
        defer { killDaemon() }
        while true {
            report.events += 1
            trace.event = report.events
            quiet += 1
            try happen()
            if clock.isDead { daemonDied() }
            if let problem { return problem }
            if isDone { break }
            if quiet > Self.quietMax { return "hang: \(guest.outstandingCount) requests are with the device and nothing moves" }
            now += 1
        }
        return finish()
    }

    /// Events since the guest submitted something, got something back, or was another: after a while nothing disturbs the daemon any more,
    /// and what does not move then never will.
    var quiet = 0
    private static let undisturbedAfter = 1500
    private static let quietMax = 6000

    private var problem: String? {
        ownProblem ?? guest.problem ?? disk.problem ?? order.problem ?? daemon?.device.problem ?? frontend.problem
    }

    private var isDone: Bool {
        budget == 0 && guest.outstandingCount == 0 && plan == .run && !frontend.isBusy && !isLeaving && daemon != nil && disk.isIdle
    }

    private func finish() -> String? {
        checkEndedLog()
        if let ownProblem { return ownProblem }
        if let wrong = model.compare(disk.cache[0..<sectorCount]) { return wrong }
        report.stores = clock.count
        report.againCount = order.againCount
        report.verifiedSectors = model.verifiedSectors
        report.translations = frontend.translationCount
        return nil
    }

    /// One event.
    private func happen() throws {
        if daemon == nil, !isLeaving {
            if now >= reconnectAt { try connect() }
        } else if quiet < Self.undisturbedAfter, dice.once(in: scenario.eventsPerDeath) {
            // In the middle of something, or between two things: after a completion of the disk, for one.
            if dice.once(in: 4) {
                clock.dieNow()
                return
            }
            clock.arm(stores: dice.number(1...(dice.once(in: 4) ? 100 : 24)))
        }
        if transfer != nil, dice.once(in: 12) { transfer?.copyWritten() }
        switch dice.below(16) {
        case 0..<3: submit()
        case 3..<5: reap()
        case 5..<11: turn()
        case 11..<14: if disk.step(now: now) { lastDeed = "the disk did something" }
        case 14: talk()
        default: if quiet < Self.undisturbedAfter, dice.once(in: 24) { change() }
        }
    }

    private func submit() {
        guard budget > 0, plan == .run || plan == .pause else { return }
        if scenario.hasIOMMU, dice.once(in: 3) { moveBuffer() }
        if clock.isDead { return }
        let made = asGuest { guest.submit(upTo: budget, model: &model, sectorCount: sectorCount) }
        budget -= made
        if made > 0 { progress("the guest submitted") }
    }

    private func progress(_ deed: String) {
        quiet = 0
        lastDeed = deed
    }

    private func reap() {
        guard plan != .reset else { return }
        let count = asGuest { guest.reap(model: &model) }
        report.requests += UInt64(count)
        if count > 0 { progress("the guest took what was used") }
    }

    private func turn() {
        guard let daemon else { return }
        let hasWorked = daemon.device.turn(now: now)
        if !clock.isDead { guest.noteSignals() }
        if hasWorked { lastDeed = "the poller turned" }
    }

    private func talk() {
        guard let daemon, !isLeaving else { return }
        for _ in 0..<dice.number(1...12) where !clock.isDead && self.daemon?.session === daemon.session {
            if frontend.turn(daemon.session) { lastDeed = "the front-end spoke" }
            if !clock.isDead { guest.noteSignals() }
        }
    }

    // MARK: Daemons

    /// A daemon is there, and the front-end connects to it.
    private func connect() throws {
        let device = try SimulatedDevice(
            sectorCount: sectorCount,
            SimulatedDevice.Surroundings(
                scenario: scenario, disk: disk, clock: clock, order: order, dice: dice, trace: trace, broken: broken))
        begin(device)
    }

    private func begin(_ device: SimulatedDevice) {
        let session = Session(device: device) { [unowned self] output in
            if !clock.isDead { frontend.take(output) }
        }
        daemon = (session, device)
        device.onMiss = { [unowned session] index, miss in session.ringDidMiss(index, miss) }
        device.mayAbandon = true
        order.restart()
        frontend.open(guest)
        lastDeed = "the front-end connected"
        trace.note(lastDeed)
    }

    private func keepImage() {
        guest.noteSignals()
        let regions = guest.memory.mappings.map { mapping in
            unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: mapping.size))
        }
        image = (regions, frontend.regionBytes, frontend.log?.bytes ?? [])
    }

    /// Frees everything that the daemon had, descriptors and mappings included, as the kernel would.
    func killDaemon() {
        guard let (session, device) = daemon else { return }
        daemon = nil
        isLeaving = false
        device.die(session)
    }

    private func daemonDied() {
        trace.note("the daemon died while \(plan)")
        // Nobody knows what it wrote before it was told of the log (docs/migration.md): the front-end has to begin anew.
        let hasLostWrites = transfer != nil && !frontend.hasToldLog && daemon?.device.begun.isEmpty == false
        killDaemon()
        for (mapping, bytes) in zip(guest.memory.mappings, image.guest) {
            unsafe mapping.base.copyMemory(from: bytes, byteCount: bytes.count)
        }
        frontend.putRegion(image.region)
        frontend.log?.put(image.log)
        if hasLostWrites { (transfer, frontend.log) = (nil, nil) }
        image = ([], [], [])
        guest.dropSignals()
        frontend.disconnect()
        clock.restart()
        report.crashes += 1
        reconnectAt = now + UInt64(dice.below(40))
        switch plan {
        // QEMU stops the rings of a back-end that is gone by itself.
        case .reset: boot(keepingRegion: false)
        case .migrate:
            frontend.state = nil
            plan = .run
        case .pause: plan = .run
        case .run: break
        }
    }

    // MARK: Changes

    /// Something that happens rarely.
    private func change() {
        guard let daemon, !isLeaving, !frontend.isBusy, plan == .run else { return }
        switch dice.below(22) {
        case 0..<4:
            frontend.changeMemory(guest)
            report.memoryChanges += 1
        case 4..<6: resize(daemon.device)
        case 6..<8: reset(daemon)
        case 8: migrate()
        case 14..<16: transfer == nil ? startTransfer() : migrate()
        case 16: if transfer != nil { cancelTransfer() }
        case 17..<19: beAway()
        case 19: invalidate(daemon)
        case 20: chooseCacheMode()
        case 9..<11: pause()
        case 11..<13: leave(daemon)
        case 13: losePower()
        default: break
        }
    }

    private func resize(_ device: SimulatedDevice) {
        guard sectorCount < Scenario.sectorsMax, !guest.awaitsRefusal else { return }
        sectorCount += 16
        guard (try? device.export.resize(to: UInt64(sectorCount * SimulatedDisk.sectorBytes))) != nil else {
            preconditionFailure("a null disk takes any size")
        }
        report.resizes += 1
    }

    /// The guest resets with requests in flight. The front-end stops the rings, and drops the region or has it made fresh.
    private func reset(_ daemon: (session: Session, device: SimulatedDevice)) {
        plan = .reset
        report.resets += 1
        if dice.once(in: 2) {
            frontend.reset { [unowned self] in restart(keepingRegion: true) }
        } else {
            frontend.stop(guest) { [unowned self] in restart(keepingRegion: false) }
        }
    }

    private func restart(keepingRegion: Bool) {
        boot(keepingRegion: keepingRegion)
        order.restart()
        frontend.start(guest)
    }

    private func boot(keepingRegion: Bool) {
        model.abandon()
        forgetMoves()
        trace.note("the guest boots\(keepingRegion ? " with the same region" : "")")
        if !keepingRegion { frontend.dropRegion() }
        frontend.dropBases()
        guard let next = try? SimulatedGuest(scenario: scenario, dice: dice, trace: trace, numbers: numbers) else {
            preconditionFailure("this machine has no memory for another guest")
        }
        guest = next
        quiet = 0
        plan = .run
    }

    /// The machine is stopped and goes on.
    private func pause() {
        plan = .pause
        frontend.stop(guest) { [unowned self] in
            plan = .run
            order.restart()
            frontend.start(guest)
        }
    }

    /// The front-end closes the connection and opens another; the daemon lives.
    private func leave(_ daemon: (session: Session, device: SimulatedDevice)) {
        isLeaving = true
        report.reconnects += 1
        frontend.disconnect()
        daemon.session.disconnect { [unowned self] in
            guard isLeaving, !clock.isDead else { return }
            isLeaving = false
            begin(daemon.device)
        }
    }

    /// The host loses its power: daemon, guest and front-end are gone, and what was not flushed may be.
    private func losePower() {
        killDaemon()
        frontend.disconnect()
        trace.note("the host loses its power")
        disk.losePower()
        model.losePower()
        boot(keepingRegion: false)
        report.powerLosses += 1
    }
}
