import LinuxSystem
import Testing
import Virtio

/// The hot path for plain reads and writes must find what the general way finds, and leave ring and inflight region as it does.
@Suite("Plain transfers")
struct PlainTransferTests {
    private typealias RandomTable = [(address: UInt64, length: UInt32, flags: UInt16, next: UInt16)]

    /// Descriptors of a table, mostly of the plain shape, each field spoilt now and then; the header's place comes first.
    private func randomTable(_ random: inout SeededRandom) -> RandomTable {
        func spoil<Value>(_ value: Value, _ others: [Value]) -> Value {
            Int.random(in: 0..<24, using: &random) == 0 ? others.randomElement(using: &random) ?? value : value
        }
        let base = TestMemory.guestBase
        let addresses: [UInt64] = [
            0, base - 1, base, base + 0x8000 - 1, base + 0x8000 - 8, base + 0x8000, 0x20_0000, 0x20_0000 + 0x7fff, 0x20_0000 + 0x8000,
            0x40_0000, base + 0x1004, base &+ 1 << 62, base &+ 1 << 63, UInt64.max, UInt64.max - 15, base &- 1 << 62,
        ]
        let lengths: [UInt32] = [0, 1, 2, 15, 16, 17, 512, 0x8000, 0x8001, 1 << 30, 1 << 30 + 1, UInt32.max]
        let flags: [UInt16] = [0, 1, 2, 3, 4, 5, 6, 7, 0xfff8]
        let writesData = Bool.random(using: &random)
        let shape: [(UInt32, UInt16)] = [(16, 1), (4096, writesData ? 3 : 1), (1, 2), (1, 2)]
        return shape.enumerated().map { index, part in
            // Header and status mostly where the table is, as it has to be for the hot way.
            let isElsewhere = Int.random(in: 0..<(index == 1 ? 2 : 12), using: &random) == 0
            let home = base + UInt64(0x1000 * (index + 1)) + (isElsewhere ? 0x20_0000 - base : 0)
            return (
                spoil(home, addresses), spoil(part.0, lengths), spoil(part.1, flags), spoil(UInt16(index + 1), [0, 1, 2, 3, 4, 65535])
            )
        }
    }

    /// What came of a request, as both ways can tell it.
    private struct Found: Equatable {
        var handle: ChainHandle
        var verdict: BlockVerdict
        var sector: UInt64
        var data: Int?
        var length: UInt64
        var status: Int
    }

    /// A disk of 100 sectors with blocks of eight.
    private func makeCheck(isReadOnly: Bool) -> BlockRequestCheck {
        var abilities = BlockAbilities(byteCount: 51200, blockSize: 4096)
        abilities.isReadOnly = isReadOnly
        return BlockRequestCheck(abilities, negotiated: [.version1])
    }

    private func found(_ transfer: PlainTransfer, _ check: BlockRequestCheck, _ memory: TestMemory) -> Found {
        let passes = check.passes(transfer)
        return Found(
            handle: transfer.handle, verdict: passes ? transfer.isRead ? .read : .write : .refused(.ioError), sector: transfer.sector,
            data: passes ? unsafe memory.offset(of: transfer.data) : nil, length: UInt64(transfer.dataLength),
            status: unsafe memory.offset(of: transfer.status))
    }

    /// Pops in the general way; nil unless a chain with a whole request came.
    private func foundGenerally<Ring: Virtqueue>(_ fixture: RingFixture<Ring>, _ check: BlockRequestCheck, _ memory: TestMemory) -> Found? {
        guard fixture.pop() == .chain else { return nil }
        let chain = fixture.segments.chain
        var request = unsafe BlockRequest(placeholder: fixture.segments.buffer.base)
        guard unsafe request.parse(chain, fixture.segments.buffer.base) == .request else { return nil }
        let verdict = check.verdict(request)
        return unsafe Found(
            handle: chain.handle, verdict: verdict, sector: request.sector,
            data: verdict == .read || verdict == .write ? memory.offset(of: request.data[0].base) : nil, length: request.dataLength,
            status: memory.offset(of: request.status))
    }

    /// Two large regions, which the hot path knows, and a small one, which it does not; the inflight region lies behind them in the block.
    private func makeMemory() throws -> TestMemory {
        try TestMemory(
            size: 0x1_2000, regions: [(TestMemory.guestBase, 0, 0x8000), (0x20_0000, 0x8000, 0x8000), (0x40_0000, 0x1_0000, 0x1000)])
    }

    private func writeHeaders(_ memory: TestMemory, _ random: inout SeededRandom) {
        let types: [UInt32] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 4, 8, 11, 0x1_0000]
        let sectors: [UInt64] = [0, 8, 16, 80, 88, 92, 96, 99, 104, 4, UInt64.max - 7]
        let type = types.randomElement(using: &random) ?? 0
        let sector = sectors.randomElement(using: &random) ?? 0
        for place in [0x1000, 0x9000] {
            memory.store(type, place)
            memory.store(sector, place + 8)
        }
    }

    @Test("split: the same as the general way", arguments: 1...4 as ClosedRange<UInt64>)
    func split(seed: UInt64) throws { try compare(SplitVirtqueue.self, seed, addTable(_:to:) as (_, inout SplitDriver) -> Void) }

    @Test("split, in the ring itself: the same as the general way", arguments: 1...4 as ClosedRange<UInt64>)
    func linked(seed: UInt64) throws { try compare(SplitVirtqueue.self, seed, addLinked(_:to:)) }

    @Test("packed: the same as the general way", arguments: 1...4 as ClosedRange<UInt64>)
    func packed(seed: UInt64) throws { try compare(PackedVirtqueue.self, seed, addTable(_:to:) as (_, inout PackedDriver) -> Void) }

    /// Makes a table available as an indirect one, less its last descriptor.
    private func addTable<Driver: CrashDriver>(_ table: RandomTable, to driver: inout Driver) {
        for (entry, part) in table.prefix(3).enumerated() {
            let place = 0x400 + 16 * entry
            driver.memory.store(part.address, place)
            driver.memory.store(part.length, place + 8)
            // Flags and next of a split table change places in a packed one, where next is the id.
            driver.memory.store(Driver.features.contains(.ringPacked) ? part.next : part.flags, place + 12)
            driver.memory.store(Driver.features.contains(.ringPacked) ? part.flags : part.next, place + 14)
        }
        _ = driver.addIndirect(tableAddress: TestMemory.guestBase + 0x400, bytes: 48, flags: Flags.indirect)
    }

    /// Makes the same descriptors available in the ring, next as the places in it.
    private func addLinked(_ table: RandomTable, to driver: inout SplitDriver) {
        let buffers = table.prefix(3).map { TestBuffer(address: $0.address, length: $0.length, isWritable: false) }
        guard let head = driver.add(buffers), let places = driver.owned[head] else { return }
        for (entry, part) in table.prefix(3).enumerated() {
            let next = Int(part.next) < places.count ? places[Int(part.next)] : part.next
            driver.write(Int(places[entry]), address: part.address, length: part.length, flags: part.flags, next: next)
        }
    }

    /// What the daemon does: the next chain if it is a plain transfer.
    private func popHot<Ring: Virtqueue>(_ fixture: RingFixture<Ring>) -> TransferPop {
        switch fixture.ring.look(likely: ChainHandle()) {
        case .nothing: return .empty
        case .other: return .other
        case .chains: break
        }
        let popped = fixture.ring.popTransfer(fixture.view.windows)
        guard case .other = popped, let transfer = fixture.ring.popLinkedTransfer(fixture.view.windows) else { return popped }
        return .transfer(transfer)
    }

    /// The same requests in two worlds, one popped the hot way and one the general way: what comes of each, and all memory afterwards.
    private func compare<Driver: CrashDriver, Ring: Virtqueue>(
        _ ring: Ring.Type, _ seed: UInt64, _ add: (RandomTable, inout Driver) -> Void
    ) throws {
        var random = SeededRandom(seed: seed)
        let check = makeCheck(isReadOnly: seed % 4 == 0)
        let layout = InflightLayout(queueCount: 1, queueSize: 8, isPacked: Driver.features.contains(.ringPacked))
        let worlds = try [makeMemory(), makeMemory()]
        var drivers = worlds.map { Driver(memory: $0, size: 8, start: 0) }
        let fixtures = try (0..<2).map { index in
            let base = Driver.features.contains(.ringPacked) ? nil : RingBase(split: 65533)
            return try RingFixture<Ring>(
                memory: worlds[index], size: 8, features: Driver.features, areas: drivers[index].areas, base: base,
                inflight: unsafe layout.queue(0, in: worlds[index].base + 0x1_1000))
        }
        var outcomes: [String: Int] = [:]
        for _ in 0..<400 {
            let table = randomTable(&random)
            let next = random.next()
            for index in 0..<2 {
                var own = SeededRandom(seed: next)
                writeHeaders(worlds[index], &own)
                add(table, &drivers[index])
            }
            switch popHot(fixtures[0]) {
            case .empty: Issue.record("a request was made available")
            case .other:
                outcomes["other", default: 0] += 1
                _ = fixtures[0].pop()
                _ = fixtures[1].pop()
            case .transfer(let transfer):
                let hot = found(transfer, check, worlds[0])
                outcomes["\(hot.verdict)", default: 0] += 1
                #expect(hot == foundGenerally(fixtures[1], check, worlds[1]), "\(table)")
                fixtures[0].segments.chain.handle = transfer.handle
            }
            #expect(worlds[0].image == worlds[1].image, "the region after the pop of \(table)")
            for index in 0..<2 {
                fixtures[index].ring.push(fixtures[index].segments.chain.handle, length: 1)
                fixtures[index].ring.publish()
                _ = drivers[index].takeUsedID()
            }
            #expect(worlds[0].image == worlds[1].image, "the region after the push of \(table)")
        }
        #expect(outcomes.count == (seed % 4 == 0 ? 3 : 4), "\(outcomes)")
    }

    @Test("the hot way takes data in either region and leaves a header in the other, or a third, to the general way", arguments: 0..<16)
    func regions(choice: Int) throws {
        let memory = try makeMemory()
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        // Header, data and status each in the first or second region; the table in the third, or not.
        let places = (0..<3).map { choice >> $0 & 1 == 0 ? TestMemory.guestBase + 0x1000 : 0x20_0000 as UInt64 }
        let isRemote = choice >> 3 != 0
        driver.writeTable(
            [.readable(places[0], 16), .writable(places[1] + 16, 512), .writable(places[2] + 600, 1)], at: isRemote ? 0x1_0000 : 0x400)
        _ = driver.addIndirect(tableAddress: isRemote ? 0x40_0000 : TestMemory.guestBase + 0x400, bytes: 48)
        guard case .transfer(let transfer) = popHot(fixture) else {
            #expect(isRemote || choice & 0b101 != 0, "table, header and status are in one region")
            #expect(fixture.pop() == .chain)
            return
        }
        #expect(!isRemote && choice & 0b101 == 0)
        #expect(unsafe memory.offset(of: transfer.data) == (choice & 0b10 == 0 ? 0x1010 : 0x8010))
    }

    @Test("in the ring itself, header and status are in one region, and data in any", arguments: 0..<8)
    func linkedRegions(choice: Int) throws {
        let memory = try makeMemory()
        var driver = SplitDriver(memory: memory, size: 8)
        // Without INDIRECT_DESC, as the drivers that lay requests out like this.
        let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 8, features: [.version1], areas: driver.areas)
        let places = (0..<3).map { choice >> $0 & 1 == 0 ? TestMemory.guestBase + 0x1000 : 0x20_0000 as UInt64 }
        let head = driver.add([.readable(places[0], 16), .writable(places[1] + 16, 512), .writable(places[2] + 600, 1)])
        let isApart = choice & 1 != choice >> 2
        guard case .transfer(let transfer) = popHot(fixture) else {
            #expect(isApart)
            #expect(fixture.pop() == .chain)
            return
        }
        #expect(!isApart)
        #expect(transfer.handle.id == head)
        #expect(unsafe memory.offset(of: transfer.data) == (choice & 0b10 == 0 ? 0x1010 : 0x8010))
        if case .empty = popHot(fixture) { return }
        Issue.record("a chain came twice")
    }

    @Test("without INDIRECT_DESC, and while requests are resubmitted, nothing goes the hot way", arguments: [false, true])
    func notTaken(isPacked: Bool) throws {
        if isPacked { try refuses(PackedDriver.self, PackedVirtqueue.self) } else { try refuses(SplitDriver.self, SplitVirtqueue.self) }
    }

    private func refuses<Driver: CrashDriver, Ring: Virtqueue>(_ driver: Driver.Type, _ ring: Ring.Type) throws {
        let layout = InflightLayout(queueCount: 1, queueSize: 8, isPacked: Driver.features.contains(.ringPacked))
        let memory = try makeMemory()
        var driver = Driver(memory: memory, size: 8, start: 0)
        let base = Driver.features.contains(.ringPacked) ? nil : RingBase(split: 65533)
        func start(_ features: VirtioFeatures) throws -> RingFixture<Ring> {
            try RingFixture<Ring>(
                memory: memory, size: 8, features: features, areas: driver.areas, base: base,
                inflight: unsafe layout.queue(0, in: memory.base + 0x1_1000))
        }
        func look(_ fixture: RingFixture<Ring>) -> String {
            switch popHot(fixture) {
            case .transfer: "transfer"
            case .empty: "empty"
            case .other: "other"
            }
        }
        let data = TestMemory.guestBase + 0x1000
        driver.writeTable([.readable(data, 16), .writable(data + 4096, 512), .writable(data + 16, 1)], at: 0x400)
        let plain = try start(Driver.features.subtracting(.ringIndirectDescriptors))
        #expect(look(plain) == "empty")
        for _ in 0..<2 { _ = driver.addIndirect(tableAddress: TestMemory.guestBase + 0x400, bytes: 48, flags: Flags.indirect) }
        #expect(look(plain) == "other")
        // One is taken by a daemon that dies; the next one has to do it again before it takes what is new.
        #expect(look(try start(Driver.features)) == "transfer")
        let successor = try start(Driver.features)
        #expect(successor.ring.resubmitCount == 1)
        #expect(look(successor) == "other")
        #expect(successor.ring.popLinkedTransfer(successor.view.windows).map(\.handle) == nil)
        #expect(successor.pop() == .chain)
        #expect(successor.segments.chain.isResubmitted)
        #expect(look(successor) == "transfer")
        #expect(look(successor) == "empty")
    }
}
