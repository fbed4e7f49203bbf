import Testing
import Virtio

/// A split or packed ring with an inflight region behind it in the same block.
struct InflightBench<Driver: CrashDriver> {
    static var regionOffset: Int { 0x1000 }
    var driver: Driver
    let memory: TestMemory
    let layout: InflightLayout
    let dataAddress = TestMemory.guestBase + 0x800

    init(size: Int = 8, entryCount: Int? = nil) throws {
        memory = try TestMemory(size: 0x2000)
        driver = Driver(memory: memory, size: size, start: 0)
        layout = InflightLayout(
            queueCount: 1, queueSize: entryCount ?? size, isPacked: Driver.features.contains(.ringPacked))
    }

    var region: InflightQueue { unsafe layout.queue(0, in: memory.base + Self.regionOffset) }

    func start(base: RingBase? = nil, size: Int = 8, region: InflightQueue? = nil) throws -> RingFixture<Driver.Ring> {
        try RingFixture(
            memory: memory, size: size, features: Driver.features, areas: driver.areas, base: base, inflight: region ?? self.region)
    }

    /// A field of the region.
    func field<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: Value.Type) -> Value {
        memory.load(Self.regionOffset + offset, as: type)
    }

    func setField<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ value: Value) {
        memory.store(value, Self.regionOffset + offset)
    }
}

@Suite("Inflight region")
struct InflightTests {
    @Test(
        "sizes of the parts, as other back-ends have them",
        arguments: [
            // queues, entries, packed, bytes of a part
            (1, 1, false, 64), (4, 128, false, 2112), (2, 3, false, 64), (1, 65535, false, 1_048_576), (1, 1, true, 64),
            (4, 128, true, 4160), (1, 2, true, 128), (2, 65535, true, 2_097_152),
        ])
    func layout(queues: Int, entries: Int, isPacked: Bool, bytes: Int) {
        let layout = InflightLayout(queueCount: queues, queueSize: entries, isPacked: isPacked)
        #expect(layout.queueBytes == bytes)
        #expect(layout.regionBytes == queues * bytes)
    }

    @Test("parts follow each other") func parts() throws {
        let memory = try TestMemory(size: 4096)
        let layout = InflightLayout(queueCount: 3, queueSize: 8, isPacked: false)
        for index in 0..<3 {
            let part = unsafe layout.queue(index, in: memory.base)
            #expect(unsafe memory.offset(of: part.base) == index * 192)
            #expect(part.entryCount == 8)
        }
    }

    @Test("split, bit for bit: a fresh part, two pops, a push, a publish") func splitBits() throws {
        var bench = try InflightBench<SplitDriver>()
        let fixture = try bench.start(base: RingBase(split: 65533))
        #expect(bench.field(0, as: UInt64.self) == 0)
        #expect(bench.field(8, as: UInt16.self) == 1, "version")
        #expect(bench.field(10, as: UInt16.self) == 8, "desc_num")
        #expect(bench.field(14, as: UInt16.self) == 65533, "used_idx, from the ring")
        // Heads 0 and 1.
        _ = bench.driver.add([.writable(bench.dataAddress, 1)])
        _ = bench.driver.add([.writable(bench.dataAddress, 1)])
        #expect(fixture.pop() == .chain)
        let first = fixture.segments.chain.handle
        #expect(fixture.pop() == .chain)
        #expect((0..<8).map { bench.field(16 + 16 * $0, as: UInt8.self) } == [1, 1, 0, 0, 0, 0, 0, 0])
        #expect((0..<2).map { bench.field(16 + 16 * $0 + 8, as: UInt64.self) } == [0, 1], "counters")
        fixture.ring.push(fixture.segments.chain.handle, length: 1)
        fixture.ring.push(first, length: 1)
        #expect(bench.field(16, as: UInt8.self) == 1, "not yet published")
        fixture.ring.publish()
        #expect((0..<8).map { bench.field(16 + 16 * $0, as: UInt8.self) } == [0, 0, 0, 0, 0, 0, 0, 0])
        #expect(bench.field(12, as: UInt16.self) == 0, "last_batch_head")
        #expect(bench.field(16 + 6, as: UInt16.self) == 1, "desc[0].next")
        #expect(bench.field(14, as: UInt16.self) == 65535, "used_idx")
    }

    @Test("packed, bit for bit: a fresh part, a pop of two descriptors, a publish") func packedBits() throws {
        var bench = try InflightBench<PackedDriver>(size: 3, entryCount: 4)
        let fixture = try bench.start(size: 3)
        #expect(bench.field(8, as: UInt16.self) == 1, "version")
        #expect(bench.field(10, as: UInt16.self) == 4, "desc_num")
        #expect(bench.field(12, as: UInt32.self) == 0, "free heads")
        #expect(bench.field(16, as: UInt64.self) == 0x0101_0000_0000, "used positions")
        #expect((0..<4).map { bench.field(32 + 32 * $0 + 2, as: UInt16.self) } == [1, 2, 3, 4], "free list")
        _ = bench.driver.add([.readable(bench.dataAddress, 7), .writable(bench.dataAddress + 8, 9)])
        #expect(fixture.pop() == .chain)
        #expect(bench.field(12, as: UInt32.self) == 0x0002_0002, "free heads")
        #expect(bench.field(32, as: UInt8.self) == 1, "inflight")
        #expect(bench.field(32 + 4, as: UInt16.self) == 1, "last")
        #expect(bench.field(32 + 6, as: UInt16.self) == 2, "num")
        #expect(bench.field(32 + 8, as: UInt64.self) == 0, "counter")
        #expect(bench.field(32 + 18, as: UInt16.self) == 0x80 | Flags.next, "flags")
        #expect(bench.field(32 + 20, as: UInt32.self) == 7, "len")
        #expect(bench.field(32 + 24, as: UInt64.self) == bench.dataAddress, "addr")
        #expect(bench.field(64, as: UInt8.self) == 0, "inflight, heads only")
        #expect(bench.field(64 + 16, as: UInt16.self) == fixture.segments.chain.handle.id, "id")
        #expect(bench.field(64 + 18, as: UInt16.self) == 0x80 | Flags.write, "flags")
        #expect(bench.field(64 + 20, as: UInt32.self) == 9, "len")
        fixture.ring.push(fixture.segments.chain.handle, length: 9)
        fixture.ring.publish()
        #expect(bench.field(32, as: UInt8.self) == 0, "inflight")
        #expect(bench.field(12, as: UInt32.self) == 0, "free heads")
        #expect(bench.field(64 + 2, as: UInt16.self) == 2, "the last entry links on to the old free list")
        #expect(bench.field(16, as: UInt64.self) == 0x0101_0002_0002, "used positions")
    }

    @Test("a migrated ring: nothing completed yet must not clear descriptor 0") func migrated() throws {
        // The ring has a past, the region is fresh: used_idx has to come from the ring.
        var bench = try InflightBench<SplitDriver>()
        let first = try bench.start(base: RingBase(split: 65533))
        for _ in 0..<3 { _ = bench.driver.add([.writable(bench.dataAddress, 1)]) }
        for _ in 0..<2 { #expect(first.pop() == .chain) }
        let second = try bench.start(base: RingBase(split: 0))
        #expect(second.ring.resubmitCount == 2)
        #expect(second.drain().map(\.id) == [0, 1, 2])
    }

    @Test("resubmitted chains come first, are marked as such, and keep their order") func order() throws {
        try order(SplitDriver.self)
        try order(PackedDriver.self)
    }

    private func order<Driver: CrashDriver>(_ type: Driver.Type) throws {
        var bench = try InflightBench<Driver>()
        let base: RingBase? = Driver.features.contains(.ringPacked) ? nil : RingBase(split: 65533)
        let first = try bench.start(base: base)
        for index in 0..<6 { _ = bench.driver.add([.writable(bench.dataAddress + UInt64(index), 1)]) }
        var handles: [ChainHandle] = []
        for _ in 0..<5 {
            #expect(first.pop() == .chain)
            handles.append(first.segments.chain.handle)
        }
        first.ring.push(handles[1], length: 1)
        first.ring.publish()
        let second = try bench.start(base: base)
        #expect(second.ring.resubmitCount == 4)
        #expect(second.enableNotifications(), "there is work")
        var seen: [Int] = []
        for isResubmitted in [true, true, true, true, false] {
            #expect(second.pop() == .chain)
            #expect(second.segments.chain.isResubmitted == isResubmitted)
            seen.append(second.pieces[0].offset - 0x800)
        }
        #expect(seen == [0, 2, 3, 4, 5])
        #expect(second.ring.inFlightCount == 5)
        #expect(second.pop() == .empty)
    }

    @Test("counters decide the order, wherever the entries lie; equal ones go by entry") func counters() throws {
        var bench = try InflightBench<SplitDriver>()
        let first = try bench.start(base: RingBase(split: 65533))
        for _ in 0..<4 { _ = bench.driver.add([.writable(bench.dataAddress, 1)]) }
        for _ in 0..<4 { #expect(first.pop() == .chain) }
        for (head, counter) in [UInt64.max - 1, 5, 9, 5].enumerated() { bench.setField(16 + 16 * head + 8, counter) }
        let second = try bench.start()
        #expect(second.drain().map(\.id) == [1, 3, 2, 0])
        _ = bench.driver.add([.writable(bench.dataAddress, 1)])
        #expect(second.pop() == .chain)
        let head = Int(second.segments.chain.handle.id)
        #expect(bench.field(16 + 16 * head + 8, as: UInt64.self) == UInt64.max, "the counter goes on after the largest")
    }

    @Test("resubmitted chains can be blocked, or malformed by now") func resubmittedFaults() throws {
        try resubmittedFaults(SplitDriver.self, status: 1)
        try resubmittedFaults(PackedDriver.self, status: 1)
    }

    private func resubmittedFaults<Driver: CrashDriver>(_ type: Driver.Type, status: Int32) throws {
        var bench = try InflightBench<Driver>()
        let base: RingBase? = Driver.features.contains(.ringPacked) ? nil : RingBase(split: 65533)
        let first = try bench.start(base: base)
        _ = bench.driver.add((0..<5).map { .readable(bench.dataAddress + UInt64($0), 1) })
        // Another region table: the second buffer is not mapped any more.
        _ = bench.driver.add([.readable(bench.dataAddress, 16), .readable(bench.dataAddress + 0x500, 1), .writable(bench.dataAddress, 1)])
        #expect(first.pop() == .chain)
        #expect(first.pop() == .chain)

        let second = try bench.start(base: base)
        let table = unsafe [
            MemoryRegion(
                guestAddress: TestMemory.guestBase, size: 0x800 + 0x100, frontendAddress: 0, hostBase: bench.memory.base)
        ]
        let guest = try GuestMemory(regions: table, owners: [])
        second.view = guest.view
        #expect(second.pop(hasSpill: false) == .blocked)
        #expect(second.ring.resubmitCount == 2)
        #expect(second.pop() == .chain)
        #expect(second.segments.buffer.hasSpilled)
        second.ring.push(second.segments.chain.handle, length: 0)
        #expect(second.pop() == .malformed(.unmappedBuffer))
        #expect(second.segments.chain.isResubmitted)
        #expect(second.segments.chain.writableCount == status)
        second.ring.push(second.segments.chain.handle, length: 1)
        second.ring.publish()
        for _ in 0..<2 {
            let id = bench.driver.takeUsedID()
            #expect(id != nil)
        }
    }

    @Test("a part that was forgotten is fresh again") func forget() throws {
        var bench = try InflightBench<PackedDriver>()
        let first = try bench.start()
        _ = bench.driver.add([.writable(bench.dataAddress, 1)])
        #expect(first.pop() == .chain)
        bench.region.forget()
        let second = try bench.start()
        #expect(second.ring.resubmitCount == 0)
        #expect(second.ring.base == .packedStart)
    }

    @Test("the drained region of another boot does no harm", arguments: [0, 5, 300, 65535] as [UInt16])
    func drained(usedIndex: UInt16) throws {
        let bench = try InflightBench<SplitDriver>()
        _ = try bench.start(base: RingBase(split: 65533))
        bench.setField(14, usedIndex)
        let second = try bench.start()
        #expect(second.ring.resubmitCount == 0)
        #expect(second.ring.base == RingBase(split: 65533))
        #expect(bench.field(14, as: UInt16.self) == 65533)
    }
}
