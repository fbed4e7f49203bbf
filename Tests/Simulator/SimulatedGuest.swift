import LinuxSystem
import VhostUserFrontend
import Virtio

/// A virtual machine: its memory, its driver's queues, and what it knows of its disk.
@safe
final class SimulatedGuest {
    let memory: DriverMemory
    /// What the device's addresses stand for.
    private(set) var iommu = IOMMU()
    var queues: [GuestQueue] = []
    /// Requests that came back.
    private(set) var completedCount = 0
    /// Something that no correct device does.
    private(set) var problem: String?

    private let scenario: Scenario
    private let dice: Dice
    private let trace: Trace
    private let numbers: RequestNumbers

    /// Boots: fresh memory, empty rings.
    init(scenario: Scenario, dice: Dice, trace: Trace, numbers: RequestNumbers) throws {
        self.scenario = scenario
        self.dice = dice
        self.trace = trace
        self.numbers = numbers
        let queueBytes =
            16 * 16 * (Scenario.indirectCapacity + 1) + 64 * scenario.slotCount + Scenario.slotBytes * scenario.pageCount + 6 * 4096
        let main = DriverMemory.Range(guestAddress: 0x10_0000, size: (queueBytes * scenario.queueCount + 4095) & ~4095)
        // Memory that comes and goes.
        memory = try DriverMemory(shared: [main, DriverMemory.Range(guestAddress: 0x400_0000, size: 8192)])
        if scenario.hasIOMMU {
            // Guest physical addresses are others than those that the device is told.
            memory.tableOffset = 0x800_0000
            iommu.map(
                iova: memory.regions[0].guestAddress, size: memory.regions[0].size, frontendAddress: memory.regions[0].frontendAddress)
        }
        for index in 0..<scenario.queueCount {
            queues.append(try GuestQueue(index: index, scenario: scenario, memory: memory, waits: dice.once(in: 2)))
        }
    }

    /// Whether a request is with the device that it has to refuse.
    var awaitsRefusal: Bool { queues.contains { queue in queue.requests.values.contains { $0.kind == .impossible } } }

    /// Requests that are with the device.
    var outstandingCount: Int { queues.reduce(0) { $0 + $1.requests.count } }

    // MARK: Submitting

    /// Makes a batch of requests available on one queue; how many.
    func submit(upTo budget: Int, model: inout DiskModel, sectorCount: Int) -> Int {
        let index = dice.below(queues.count)
        var made = 0
        for _ in 0..<min(budget, dice.number(1...4)) {
            guard let slot = queues[index].freeSlot(dice), add(slot, to: index, &model, sectorCount) else { break }
            trace.note("queue \(index): submitted \(queues[index].requests[slot].map { "\($0.number), \($0.kind)" } ?? "")")
            made += 1
        }
        if made > 0 { queues[index].publish() }
        return made
    }

    private func add(_ slot: Int, to index: Int, _ model: inout DiskModel, _ sectorCount: Int) -> Bool {
        // A full ring must not leave a trace in the model: room for the longest chain, or one descriptor with a table.
        let needed = scenario.hasIndirect ? 1 : min(queues[index].ring.area.size, 5)
        guard queues[index].ring.freeCount >= needed else { return false }
        let number = numbers.next()
        switch dice.below(20) {
        case 0..<8:
            let sectors = range(sectorCount)
            let base = number << 16
            queues[index].fill(slot, sectors: sectors, base: base)
            let write = model.submitWrite([sectors], base: base)
            return send(.init(number: number, kind: .write([sectors], model: write)), .write, slot, index, sectors, toDevice: true)
        case 8..<14:
            let sectors = range(sectorCount)
            // Poison: a device that says it read and did not is found out.
            queues[index].fill(slot, sectors: 0..<sectors.count, base: .max - 0xffff)
            model.submitRead(number, sectors)
            return send(.init(number: number, kind: .read(sectors)), .read, slot, index, sectors, toDevice: false)
        case 14..<16:
            return send(.init(number: number, kind: .flush(model: model.submitFlush())), .flush, slot, index, 0..<0, toDevice: true)
        case 16..<18:
            let ranges = disjointRanges(sectorCount)
            let length = queues[index].fill(slot, ranges: ranges)
            let isDiscard = dice.once(in: 2)
            let write = model.submitWrite(ranges, base: 0)
            let kind: GuestRequest.Kind = isDiscard ? .discard(ranges, model: write) : .write(ranges, model: write)
            let request = GuestRequest(number: number, kind: kind)
            let command: BlockCommand = isDiscard ? .discard : .writeZeroes
            return queues[index].add(request, command, slot: slot, sector: 0, length: length, toDevice: true, dice)
        case 18 where scenario.hasIOMMU && dice.once(in: 2):
            return send(.init(number: number, kind: .forbidden), .read, slot, index, 0..<2, toDevice: false)
        case 18:
            let sectors = sectorCount - 1..<sectorCount + 1
            return send(.init(number: number, kind: .impossible), .read, slot, index, sectors, toDevice: false)
        default:
            let request = GuestRequest(number: number, kind: .identity)
            return queues[index].add(request, .getID, slot: slot, sector: 0, length: 20, toDevice: false, dice)
        }
    }

    private func send(
        _ request: GuestRequest, _ command: BlockCommand, _ slot: Int, _ index: Int, _ sectors: Range<Int>, toDevice: Bool
    ) -> Bool {
        queues[index].add(
            request, command, slot: slot, sector: sectors.lowerBound, length: sectors.count * SimulatedDisk.sectorBytes,
            toDevice: toDevice, dice)
    }

    /// Sectors of one request: few, and often the same ones, so that requests meet.
    private func range(_ sectorCount: Int) -> Range<Int> {
        let count = dice.once(in: 3) ? dice.number(1...8) : dice.number(1...3)
        let start = dice.below((dice.once(in: 3) ? sectorCount : min(sectorCount, 24)) - 8)
        return start..<start + count
    }

    private func disjointRanges(_ sectorCount: Int) -> [Range<Int>] {
        let first = range(sectorCount / 2)
        guard dice.once(in: 2) else { return [first] }
        let second = range(sectorCount / 2)
        return [first, second.lowerBound + sectorCount / 2..<second.upperBound + sectorCount / 2]
    }

    /// Bytes of a dirty log for all of its memory.
    var logBytes: UInt64 {
        let end = (memory.regions.map { $0.guestAddress + $0.size }.max() ?? 0) + memory.tableOffset
        return (end + 8 * DirtyBitmap.pageSize - 1) / (8 * DirtyBitmap.pageSize)
    }

    // MARK: The IOMMU

    /// A free slot gets other memory behind the address that the device knows: which address now stands for something else.
    ///
    /// - Parameter tell: tells the device of a range of addresses; false when it cannot be told now, and nothing changes.
    func move(telling tell: (_ address: UInt64, _ size: UInt64) -> Bool) -> Bool {
        let index = dice.below(queues.count)
        guard let slot = queues[index].freeSlot(dice) else { return false }
        let address = queues[index].address(ofSlot: slot)
        guard tell(address, UInt64(Scenario.slotBytes)) else { return false }
        trace.note("queue \(index): slot \(slot) moves")
        iommu.unmap(iova: address, size: UInt64(Scenario.slotBytes))
        queues[index].move(slot, dice)
        iommu.map(iova: address, size: UInt64(Scenario.slotBytes), frontendAddress: queues[index].frontendAddress(ofSlot: slot))
        return true
    }

    // MARK: Completions

    /// Notes signals that came. The world calls it after everything the daemon does, and before it undoes what a dead one did.
    func noteSignals() {
        for index in queues.indices where queues[index].call.drain() > 0 { queues[index].isSignalled = true }
    }

    /// Forgets the signals of a daemon that was dead when it gave them.
    func dropSignals() {
        for queue in queues { queue.call.drain() }
    }

    /// The driver looks at one of its queues, if it has a reason; how many requests came back.
    func reap(model: inout DiskModel) -> Int {
        let index = dice.below(queues.count)
        guard !queues[index].waits || queues[index].isSignalled else { return 0 }
        queues[index].isSignalled = false
        if dice.once(in: 4) { queues[index].ring.disableCalls() }
        var count = 0
        repeat {
            while takeOne(index, &model) { count += 1 }
        } while problem == nil && queues[index].waits && queues[index].ring.enableCalls()
        return count
    }

    private func takeOne(_ index: Int, _ model: inout DiskModel) -> Bool {
        var used = UsedBuffer()
        switch queues[index].ring.reap(&used) {
        case .none: return false
        case .violation(let violation):
            problem = "queue \(index): the device broke the ring: \(violation)"
            return false
        case .completed: break
        }
        let slot = Int(used.token)
        guard let request = queues[index].requests.removeValue(forKey: slot) else {
            problem = "queue \(index): slot \(slot) came back and was not in flight"
            return false
        }
        completedCount += 1
        trace.note("queue \(index): request \(request.number) came back with \(queues[index].status(slot)): \(request.kind)")
        if let wrong = end(request, slot, queues[index], used.length, &model) {
            problem = "queue \(index), request \(request.number) (\(request.kind)): \(wrong)"
        }
        return problem == nil
    }

    /// Tells the model, and what is wrong with the answer.
    private func end(_ request: GuestRequest, _ slot: Int, _ queue: GuestQueue, _ length: UInt32, _ model: inout DiskModel) -> String? {
        let status = queue.status(slot)
        let isDone = status == .ok
        guard isDone || status == .ioError else { return "its status is \(status)" }
        let mayFail = scenario.hasErrors && !scenario.holds || request.kind == .impossible || request.kind == .forbidden
        if !isDone, !mayFail { return "its status is \(status)" }
        var wanted: UInt32 = 1
        switch request.kind {
        case .read(let sectors):
            wanted = isDone ? UInt32(sectors.count * SimulatedDisk.sectorBytes) + 1 : 1
            if let wrong = model.completeRead(request.number, isDone ? queue.stamps(slot, count: sectors.count) : nil) { return wrong }
        case .write(let ranges, let write): model.completeWrite(write, ranges, isDone ? .done : .unsure)
        case .discard(let ranges, let write): model.completeWrite(write, ranges, .unsure)
        case .flush(let flush): if isDone { model.completeFlush(flush) }
        case .impossible: if isDone { return "it reaches beyond the disk and succeeded" }
        case .forbidden: if isDone { return "its addresses are not permitted, and it succeeded" }
        case .identity: wanted = 21
        }
        return length == wanted ? nil : "the device says it wrote \(length) bytes, not \(wanted)"
    }
}

/// Numbers for requests, each once in a simulation.
final class RequestNumbers {
    private var last: UInt64 = 0

    /// The next number.
    func next() -> UInt64 {
        last += 1
        return last
    }
}
