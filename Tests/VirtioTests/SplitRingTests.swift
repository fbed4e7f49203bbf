import Testing
import Virtio

/// A started split ring and its driver over one block.
struct SplitBench {
    var driver: SplitDriver
    let fixture: RingFixture<SplitVirtqueue>
    let memory: TestMemory
    /// Guest address and block offset of memory for tables and buffers.
    let address: UInt64
    let offset: Int

    init(
        size: Int = 8, index: UInt16 = 0, features: VirtioFeatures = [.version1, .ringIndirectDescriptors],
        segments: TestSegments = TestSegments()
    ) throws {
        memory = try TestMemory(size: 64 * size + 0x8000)
        driver = SplitDriver(memory: memory, size: size, index: index)
        offset = driver.end
        address = TestMemory.guestBase + UInt64(offset)
        fixture = try RingFixture(
            memory: memory, size: size, features: features, areas: driver.areas, base: RingBase(split: index), segments: segments)
    }

    /// Takes one used element as the driver.
    mutating func takeUsed() -> Used? {
        driver.takeUsed().map { Used($0.id, $0.length) }
    }
}

/// A used element.
struct Used: Equatable {
    var id: UInt32
    var length: UInt32

    init(_ id: UInt32, _ length: UInt32) {
        self.id = id
        self.length = length
    }
}

@Suite("Split ring")
struct SplitRingTests {
    @Test("an empty ring") func empty() throws {
        let bench = try SplitBench()
        #expect(bench.fixture.pop() == .empty)
        #expect(bench.fixture.ring.base == RingBase(split: 0))
        #expect(bench.fixture.ring.inFlightCount == 0)
    }

    @Test("a direct chain: segments, counts, lengths, used element") func direct() throws {
        var bench = try SplitBench()
        let added = bench.driver.add([
            .readable(bench.address, 16), .readable(bench.address + 64, 100), .writable(bench.address + 256, 1),
        ])
        let head = try #require(added)
        #expect(bench.fixture.pop() == .chain)
        let chain = bench.fixture.segments.chain
        #expect(chain.handle.id == head)
        #expect(chain.readableCount == 2)
        #expect(chain.writableCount == 1)
        #expect(chain.readableLength == 116)
        #expect(chain.writableLength == 1)
        #expect(!chain.isResubmitted)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 16), Piece(bench.offset + 64, 100), Piece(bench.offset + 256, 1)])
        #expect(bench.fixture.ring.inFlightCount == 1)
        #expect(bench.fixture.pop() == .empty)

        bench.fixture.ring.push(chain.handle, length: 77)
        #expect(bench.driver.usedIndex == 0, "staged, not published")
        bench.fixture.ring.publish()
        #expect(bench.takeUsed() == Used(UInt32(head), 77))
        #expect(bench.fixture.ring.inFlightCount == 0)
        bench.fixture.ring.publish()
        #expect(bench.takeUsed() == nil)
    }

    @Test("an indirect table, longer than the queue", arguments: [1, 3, 20])
    func indirect(count: Int) throws {
        var bench = try SplitBench(size: 8)
        let buffers = (0..<count).map { index -> TestBuffer in
            let address = bench.address + 0x1000 + UInt64(index) * 32
            return index + 1 == count ? .writable(address, 1) : .readable(address, 32)
        }
        bench.driver.writeTable(buffers, at: bench.offset)
        _ = bench.driver.addIndirect(tableAddress: bench.address, bytes: UInt32(16 * count))
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == (0..<count).map { Piece(bench.offset + 0x1000 + $0 * 32, $0 + 1 == count ? 1 : 32) })
        #expect(bench.fixture.segments.buffer.hasSpilled == (count > bench.fixture.segments.inlineCapacity))
    }

    @Test("direct descriptors followed by an indirect table (2.7.5.3.2)") func mixed() throws {
        var bench = try SplitBench()
        bench.driver.writeTable([.readable(bench.address + 0x200, 8), .writable(bench.address + 0x300, 4)], at: bench.offset)
        bench.driver.write(3, address: bench.address + 0x100, length: 16, flags: Flags.next, next: 5)
        bench.driver.write(5, address: bench.address, length: 32, flags: Flags.indirect)
        bench.driver.stage(3)
        bench.driver.kick()
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces.map(\.length) == [16, 8, 4])
        #expect(bench.fixture.segments.chain.readableCount == 2)
    }

    @Test("an indirect table at any alignment, and one that straddles regions", arguments: [0, 1, 4, 8, 15])
    func scatteredTable(misalignment: Int) throws {
        // Two regions that are neighbours for the guest and apart here.
        let memory = try TestMemory(size: 0x6000, regions: [(0x1_0000, 0, 0x2000), (0x1_2000, 0x4000, 0x2000)])
        var driver = SplitDriver(memory: memory, size: 4)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 4, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        // The table begins 24 bytes before the border, give or take.
        let start: UInt64 = 0x1_2000 - 24 - UInt64(misalignment)
        var bytes: [UInt8] = []
        func put<Value: FixedWidthInteger>(_ value: Value) {
            for index in 0..<Value.bitWidth / 8 { bytes.append(UInt8(truncatingIfNeeded: value >> Value(8 * index))) }
        }
        put(0x1_1000 as UInt64); put(16 as UInt32); put(Flags.next); put(1 as UInt16)
        put(0x1_3000 as UInt64); put(8 as UInt32); put(Flags.next | Flags.write); put(2 as UInt16)
        put(0x1_3100 as UInt64); put(1 as UInt32); put(Flags.write); put(0 as UInt16)
        for (index, byte) in bytes.enumerated() {
            let address = start + UInt64(index)
            memory.store(byte, address < 0x1_2000 ? Int(address - 0x1_0000) : Int(address - 0x1_2000) + 0x4000)
        }
        _ = driver.addIndirect(tableAddress: start, bytes: 48)
        #expect(fixture.pop() == .chain)
        #expect(fixture.pieces == [Piece(0x1000, 16), Piece(0x5000, 8), Piece(0x5100, 1)])
    }

    @Test("a misaligned table in one region") func misalignedTable() throws {
        var bench = try SplitBench()
        bench.driver.writeTable([.readable(bench.address + 0x200, 8), .writable(bench.address + 0x300, 4)], at: bench.offset + 3)
        _ = bench.driver.addIndirect(tableAddress: bench.address + 3, bytes: 32)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == [Piece(bench.offset + 0x200, 8), Piece(bench.offset + 0x300, 4)])
    }

    @Test("a buffer over adjacent regions becomes several segments") func spanningBuffer() throws {
        let memory = try TestMemory(
            size: 0x6000, regions: [(0x1_0000, 0, 0x1000), (0x1_1000, 0x4000, 0x800), (0x1_1800, 0x2000, 0x1000)])
        var driver = SplitDriver(memory: memory, size: 4)
        let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 4, features: .version1, areas: driver.areas)
        _ = driver.add([.readable(0x1_0ff0, 0x900), .writable(0x1_1000, 1)])
        #expect(fixture.pop() == .chain)
        #expect(fixture.pieces == [Piece(0xff0, 0x10), Piece(0x4000, 0x800), Piece(0x2000, 0xf0), Piece(0x4000, 1)])
        #expect(fixture.segments.chain.readableCount == 3)
        #expect(fixture.segments.chain.readableLength == 0x900)
    }

    @Test("empty descriptors make no segments") func emptyDescriptors() throws {
        var bench = try SplitBench()
        _ = bench.driver.add([
            .readable(0, 0), .readable(bench.address, 16), .readable(bench.address, 0), .writable(0xdead_0000_0000, 0),
            .writable(bench.address + 32, 1),
        ])
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 16), Piece(bench.offset + 32, 1)])
        #expect(bench.fixture.segments.chain.readableCount == 1)
        #expect(bench.fixture.segments.chain.writableCount == 1)
    }

    @Test("every index wraps at 2^16, whatever the queue size", arguments: [1, 2, 8, 256])
    func wrap(size: Int) throws {
        var bench = try SplitBench(size: size, index: 65530)
        for round in 0..<40 {
            var added: [UInt32] = []
            for _ in 0..<(round % size + 1) {
                let head = bench.driver.add([.writable(bench.address, 1)])
                added.append(UInt32(try #require(head)))
            }
            #expect(bench.fixture.drain(length: 5).map { UInt32($0.id) } == added)
            for id in added {
                #expect(bench.takeUsed() == Used(id, 5))
            }
            #expect(bench.takeUsed() == nil)
        }
        #expect(bench.fixture.ring.base.splitAvailIndex == bench.driver.availIndex)
        #expect(bench.driver.usedIndex == bench.driver.availIndex)
    }

    @Test("the largest queue, full") func largest() throws {
        var bench = try SplitBench(size: 32768, index: 40000)
        for _ in 0..<32768 { _ = bench.driver.add([.writable(bench.address, 1)]) }
        #expect(bench.fixture.drain().count == 32768)
        #expect(bench.driver.usedIndex == bench.driver.availIndex)
        #expect(bench.fixture.pop() == .empty)
    }

    @Test("completion in any order") func outOfOrder() throws {
        var bench = try SplitBench()
        var handles: [ChainHandle] = []
        for _ in 0..<5 {
            _ = bench.driver.add([.writable(bench.address, 1)])
            #expect(bench.fixture.pop() == .chain)
            handles.append(bench.fixture.segments.chain.handle)
        }
        for handle in [3, 0, 4, 2, 1].map({ handles[$0] }) {
            bench.fixture.ring.push(handle, length: 1)
            bench.fixture.ring.publish()
            #expect(bench.takeUsed() == Used(UInt32(handle.id), 1))
        }
    }

    @Test("a chain without room stays in the ring until there is a spill block") func blocked() throws {
        var bench = try SplitBench(segments: TestSegments(inline: 2, spill: 3))
        _ = bench.driver.add([.readable(bench.address, 1), .readable(bench.address + 1, 1), .writable(bench.address + 2, 1)])
        #expect(bench.fixture.pop(hasSpill: false) == .blocked)
        #expect(bench.fixture.pop(hasSpill: false) == .blocked)
        #expect(bench.fixture.ring.inFlightCount == 0)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.segments.buffer.hasSpilled)
        #expect(bench.fixture.pieces.map(\.offset) == (0..<3).map { bench.offset + $0 })
    }

    @Test(
        "start: what is refused",
        arguments: [
            (3, 0, VirtqueueError.invalidSize(3)), (0, 0, .invalidSize(0)), (65536, 0, .invalidSize(65536)),
            (8, 9, .invalidBase(RingBase(split: 9))), (8, 65535, .invalidBase(RingBase(split: 65535))),
        ] as [(Int, UInt16, VirtqueueError)])
    func refusedStart(size: Int, base: UInt16, error: VirtqueueError) throws {
        let memory = try TestMemory(size: 0x1000)
        let driver = SplitDriver(memory: memory, size: 8)
        #expect(throws: error) {
            _ = try RingFixture<SplitVirtqueue>(
                memory: memory, size: size, features: .version1, areas: driver.areas, base: RingBase(split: base))
        }
    }

    @Test("start: misaligned areas", arguments: [(8, 0, 0), (0, 1, 0), (0, 0, 2)])
    func misaligned(descriptors: Int, driver: Int, device: Int) throws {
        let memory = try TestMemory(size: 0x1000)
        let areas = RingAreas(descriptors: descriptors, driver: 0x400 + driver, device: 0x800 + device)
        #expect(throws: VirtqueueError.misalignedArea) {
            _ = try RingFixture<SplitVirtqueue>(memory: memory, size: 8, features: .version1, areas: areas)
        }
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: .version1, areas: RingAreas(descriptors: 0, driver: 0x400, device: 0x800))
        #expect(throws: VirtqueueError.misalignedArea) { try fixture.ring.relocate(areas.addresses(in: memory)) }
    }

    @Test("a packed ring is not a split one") func packedRefused() throws {
        let memory = try TestMemory(size: 0x1000)
        let driver = SplitDriver(memory: memory, size: 8)
        #expect(throws: VirtqueueError.invalidSize(8)) {
            _ = try RingFixture<SplitVirtqueue>(memory: memory, size: 8, features: .ringPacked, areas: driver.areas)
        }
    }

    @Test("the ring goes on elsewhere after the memory table changed") func relocate() throws {
        var bench = try SplitBench()
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.drain().count == 1)
        // The guest's memory appears at another place of this process.
        let other = try TestMemory(size: bench.memory.size)
        other.image = bench.memory.image
        try bench.fixture.ring.relocate(bench.driver.areas.addresses(in: other))
        other.store(UInt16(3), bench.driver.areas.driver + 4 + 2)
        other.store(UInt16(2), bench.driver.areas.driver + 2)
        other.store(bench.address, 16 * 3)
        other.store(UInt32(1), 16 * 3 + 8)
        other.store(Flags.write, 16 * 3 + 12)
        bench.fixture.view = other.guest.view
        #expect(bench.fixture.drain().map(\.id) == [3])
        #expect(other.load(bench.driver.areas.device + 2, as: UInt16.self) == 2)
    }
}
