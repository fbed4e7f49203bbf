import BlockIO
import LinuxSystem
import Virtio

@testable import BlockExport

/// The data path of one queue, from ring to disk and back: `QueueCore` over a real ring, with a driver that is mostly honest.
enum ChainTarget {
    /// What the first bytes of an input choose.
    struct Geometry {
        var features: VirtioFeatures = [.version1, .blockFlush, .blockDiscard, .blockWriteZeroes, .blockSecureErase, .blockConfigWriteback]
        var size: Int
        var tracksInflight: Bool
        var disk: FuzzDisk
        var memoryChoice: UInt8
        /// Where a split ring's indices begin.
        var index: UInt16

        init(_ reader: inout InputReader) {
            let bits = reader.byte()
            if bits & 1 != 0 { features.insert(.ringPacked) }
            if bits & 2 != 0 { features.insert(.ringIndirectDescriptors) }
            if bits & 4 != 0 { features.insert(.ringEventIndex) }
            if bits & 8 != 0 { features.insert(.notifyOnEmpty) }
            tracksInflight = bits & 16 != 0
            disk = FuzzDisk(blockSize: bits & 32 != 0 ? 4096 : 512, isReadOnly: bits & 192 == 192)
            let choice = Int(reader.byte())
            size = bits & 1 != 0 ? 1 + choice : 1 << (choice % 9)
            memoryChoice = reader.byte()
            index = reader.word()
        }

        var isPacked: Bool { features.contains(.ringPacked) }
    }

    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        var reader = InputReader(input)
        let geometry = Geometry(&reader)
        return geometry.isPacked
            ? try ChainRun<PackedVirtqueue>(geometry).run(&reader) : try ChainRun<SplitVirtqueue>(geometry).run(&reader)
    }

    /// Disks are opened once: they have no state that a run could change.
    static func disk(_ kind: FuzzDisk) throws(FuzzFailure) -> Disk {
        guard let disk = disks[kind] else { throw FuzzFailure("the fuzzer's null disk does not open") }
        return disk
    }

    private static let disks: [FuzzDisk: Disk] = {
        var disks: [FuzzDisk: Disk] = [:]
        for blockSize in [512, 4096] {
            for isReadOnly in [false, true] {
                let configuration = ExportConfiguration(
                    name: "fuzz", backing: .null(size: UInt64(FuzzDisk.bytes)), endpoint: .path("/"), isReadOnly: isReadOnly,
                    blockSize: blockSize)
                disks[FuzzDisk(blockSize: blockSize, isReadOnly: isReadOnly)] = try? Disk(opening: configuration)
            }
        }
        return disks
    }()
}

/// Guest memory in several shapes: the ring and the requests' small parts first, then data.
private struct MemoryPlan {
    static let controlBytes = 16384
    static let dataBytes = 24576
    let memory: FuzzMemory
    let control: Range<UInt64>
    let data: Range<UInt64>

    init(choice: UInt8, ringBytes: Int) throws(FuzzFailure) {
        let first = (ringBytes + 15) & ~15 + Self.controlBytes
        let start: UInt64 = choice & 64 == 0 ? 0x1_0000 : 0x7fff_ffff_0000
        let end = start + UInt64(first)
        let third = Self.dataBytes / 3
        let regions: [(guest: UInt64, size: Int)] =
            switch choice % 4 {
            case 0: [(start, first + Self.dataBytes)]
            // One after the other in the guest, anywhere in this process: buffers may span them.
            case 1: [(start, first), (end, third), (end + UInt64(third), third), (end + 2 * UInt64(third), third)]
            case 2: [(start, first), (end, Self.dataBytes), (0, 4096)]
            default: [(end, Self.dataBytes), (start, first)]
            }
        memory = try FuzzMemory(regions)
        control = end - UInt64(Self.controlBytes)..<end
        data = end..<end + UInt64(third * 3)
    }
}

/// One input's world.
private final class ChainRun<Ring: Virtqueue> {
    private let geometry: ChainTarget.Geometry
    private let memory: FuzzMemory
    private var driver: FuzzDriver
    private var writer: FuzzRequestWriter
    private let scratch: FuzzBlock
    private let region: FuzzBlock?
    private let completions: IOCompletionListBox
    private let channel: FuzzChannel
    private var core: QueueCore<ObservedRing<Ring>, FuzzChannel>
    private let journal: RingJournal
    private let gauges = PollerGauges()
    private var expectations: [UInt16: FuzzExpectation] = [:]
    /// The driver has kept to the rules so far, so that expectations hold.
    private var isHonest = true
    private var isBroken = false

    init(_ geometry: ChainTarget.Geometry) throws(FuzzFailure) {
        self.geometry = geometry
        let layout = VirtqueueLayout(queueSize: geometry.size, features: geometry.features.union(.ringEventIndex))
        let plan = try MemoryPlan(
            choice: geometry.memoryChoice, ringBytes: layout.descriptorBytes + layout.driverBytes + layout.deviceBytes + 16)
        memory = plan.memory
        driver = FuzzDriver(
            memory, isPacked: geometry.isPacked, size: geometry.size,
            start: memory.guest.regions.map(\.guestAddress).filter { $0 != 0 }.min() ?? 0,
            index: geometry.index)
        writer = FuzzRequestWriter(memory, geometry.disk, control: plan.control, data: plan.data)
        let inflightLayout = InflightLayout(queueCount: 1, queueSize: geometry.size, isPacked: geometry.isPacked)
        region = geometry.tracksInflight ? FuzzBlock(size: inflightLayout.regionBytes) : nil
        scratch = FuzzBlock(
            size: Ring.scratchBytes(queueSize: geometry.size, inflightEntries: geometry.tracksInflight ? geometry.size : 0))
        completions = IOCompletionListBox()
        let inflight = region.map { unsafe inflightLayout.queue(0, in: $0.base) }
        do {
            let ring = try unsafe ObservedRing<Ring>(
                VirtqueueConfiguration(
                    size: geometry.size, addresses: driver.addresses(),
                    base: geometry.isPacked ? .packedStart : RingBase(split: geometry.index), features: geometry.features,
                    inflight: inflight, scratch: scratch.base))
            journal = ring.journal
            channel = FuzzChannel(memory, geometry.disk, journal)
            core = try unsafe QueueCore(
                ring: ring, channel: channel, counters: chainCounters.get(), gauges: gauges, disk: ChainTarget.disk(geometry.disk),
                slots: RequestSlots(capacity: geometry.size, completions: completions.list, node: nil), guest: memory.guest,
                completions: completions.list, features: geometry.features, callDescriptor: -1, held: nil)
        } catch {
            throw FuzzFailure("a fresh ring does not start: \(error)")
        }
    }

    func run(_ reader: inout InputReader) throws(FuzzFailure) -> Int {
        journal.onPush = { [unowned self] handle, length in pushed(handle, length) }
        channel.onOperation = { [unowned self] head, what, result in operation(head, what, result) }
        while !reader.isAtEnd {
            try step(&reader)
            try journal.check()
        }
        try finish()
        return journal.pushCount
    }

    private func step(_ reader: inout InputReader) throws(FuzzFailure) {
        switch reader.byte() % 16 {
        case 0...6: add(&reader)
        case 7, 8: try take()
        case 9, 10: channel.completeOne(&reader)
        case 11: complete()
        case 12:
            guard !isBroken else { return }
            _ = core.ring.enableNotifications()
            core.ring.disableNotifications()
        case 13: wish(&reader)
        case 14: scribble(&reader)
        default: cheat(&reader)
        }
    }

    private func add(_ reader: inout InputReader) {
        if driver.outstandingCount == 0, isHonest { writer.restart() }
        guard let (written, expectation) = writer.write(&reader) else { return }
        var chain = written
        let style = reader.byte()
        if style % 8 == 7 { spoil(&chain, &reader) }
        if style & 8 != 0, !geometry.isPacked || chain.count > 1,
            let table = writer.allocate(16 * chain.count, alignment: style & 16 == 0 ? 16 : 1)
        {
            driver.writeTable(chain, at: table)
            // Some descriptors in the ring, and the rest in a table at the end: legal as well.
            let indirect = FuzzDescriptor(address: table, length: UInt32(16 * chain.count), flags: FuzzDescriptor.indirect)
            if !geometry.features.contains(.ringIndirectDescriptors) { isHonest = false }
            chain = [indirect]
            if style & 96 == 96 { spoil(&chain, &reader) }
        }
        guard let head = driver.add(chain) else { return }
        expectations[head] = expectation
    }

    /// Makes one field of one descriptor something else.
    private func spoil(_ chain: inout [FuzzDescriptor], _ reader: inout InputReader) {
        isHonest = false
        let index = reader.number(below: chain.count)
        switch reader.byte() % 4 {
        case 0: chain[index].address = reader.edge()
        case 1: chain[index].length = reader.edge()
        case 2: chain[index].flags ^= 1 << UInt16(reader.number(below: 3))
        default: chain[index].address &+= UInt64(reader.byte()) &- 128
        }
    }

    /// The driver says when it wants to be notified.
    private func wish(_ reader: inout InputReader) {
        if geometry.isPacked {
            memory.store(reader.word(as: UInt32.self), at: driver.driverArea)
        } else if geometry.features.contains(.ringEventIndex) {
            memory.store(reader.word(as: UInt16.self), at: driver.driverArea + 4 + 2 * UInt64(geometry.size))
        } else {
            memory.store(UInt16(reader.byte() & 1), at: driver.driverArea)
        }
    }

    /// Overwrites something of the ring, of the inflight region or of what descriptors point to.
    private func scribble(_ reader: inout InputReader) {
        isHonest = false
        if let region, reader.chance(in: 4) {
            region.store(reader.byte(), at: Int(reader.word(as: UInt16.self)))
            return
        }
        let span = Int(driver.end - driver.descriptors) + (reader.chance(in: 2) ? 2048 : 0)
        let place = driver.descriptors + UInt64(reader.number(below: min(span, 65536)))
        switch reader.byte() % 3 {
        case 0: memory.store(reader.edge(as: UInt16.self), at: place & ~1)
        case 1: memory.store(reader.edge(as: UInt32.self), at: place & ~3)
        default: memory.store(reader.edge(as: UInt64.self), at: place & ~7)
        }
    }

    /// Makes a head available that may be in flight, free or outside the table.
    private func cheat(_ reader: inout InputReader) {
        isHonest = false
        guard !geometry.isPacked else { return scribble(&reader) }
        driver.offer(reader.chance(in: 4) ? reader.edge() : UInt16(reader.number(below: geometry.size)))
    }

    private func take() throws(FuzzFailure) {
        guard !isBroken else { return }
        switch core.take() {
        case .taken(let count): try FuzzFailure.require(count <= 128, "\(count) chains in one batch")
        case .missed(_, let miss): throw FuzzFailure("a miss of \(miss) without an IOMMU")
        case .failed(let reason):
            isBroken = true
            try FuzzFailure.require(!isHonest, "an honest driver's ring is given up: \(reason)")
        }
        try FuzzFailure.require(core.slots.used <= geometry.size, "\(core.slots.used) requests on a ring of \(geometry.size)")
    }

    private func complete() { _ = core.complete(isWatched: false) }

    private func operation(_ head: UInt16, _ what: FuzzExpectation.Outcome, _ result: Int64?) {
        guard isHonest, let expectation = expectations[head] else { return }
        expectations[head]?.result = result
        switch expectation.outcome {
        case .transfer: if what != expectation.outcome { journal.fail("chain \(head): \(what) where \(expectation.outcome) was asked") }
        case .status(let status): journal.fail("chain \(head) is to end with \(status) and asks the disk for \(what)")
        case .answered: break
        }
    }

    private func pushed(_ handle: ChainHandle, _ length: UInt32) {
        if isHonest, let expectation = expectations[handle.id] {
            let status: UInt8 = memory.load(expectation.status)
            let isRight =
                switch expectation.outcome {
                case .status(let wanted): status == wanted.rawValue
                case .answered: status <= 2
                case .transfer: expectation.result.map { $0 >= 0 ? status == 0 : status == ($0 == -95 ? 2 : 1) } ?? false
                }
            if !isRight { journal.fail("chain \(handle.id) ends with status \(status), length \(length); asked: \(expectation)") }
            if length == 0 { journal.fail("chain \(handle.id) has a status byte and ends with length 0") }
        }
        expectations[handle.id] = nil
        driver.reclaim(handle.id)
    }

    /// Everything that was taken comes back, and with an honest driver everything that was made available.
    private func finish() throws(FuzzFailure) {
        var last = InputReader([])
        let popsBefore = journal.popCount
        for _ in 0..<4 * geometry.size + 64 {
            try take()
            while channel.waitingCount > 0 { channel.completeOne(&last) }
            complete()
            try journal.check()
            if core.slots.used == 0, isBroken || !core.ring.enableNotifications() { break }
        }
        let pops = journal.popCount - popsBefore
        try FuzzFailure.require(pops <= 2 * geometry.size, "\(pops) chains from a ring of \(geometry.size) that stands still")
        try FuzzFailure.require(core.slots.used == 0 && journal.inFlight.isEmpty, "\(core.slots.used) requests never end")
        guard isHonest else { return }
        try FuzzFailure.require(driver.outstandingCount == 0, "\(driver.outstandingCount) chains are never answered")
        guard !geometry.isPacked else { return }
        let wanted = geometry.index &+ UInt16(truncatingIfNeeded: journal.pushCount)
        try FuzzFailure.require(driver.usedIndex == wanted, "the used index is \(driver.usedIndex), not \(wanted)")
    }
}

/// A completion list at an address that does not change.
///
/// Safety: freed in deinit; operations do not outlive the run that made it.
@safe
final class IOCompletionListBox {
    let list: UnsafeMutablePointer<IOCompletionList>

    init() {
        unsafe list = .allocate(capacity: 1)
        unsafe list.initialize(to: IOCompletionList())
    }

    deinit { unsafe list.deallocate() }
}

/// Counters for all runs: nothing is asked of them.
private let chainCounters = Result { try QueueCounters() }
