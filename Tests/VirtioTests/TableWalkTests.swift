import LinuxSystem
import Testing
import Virtio

/// The walk over a table where it lies must find exactly what the one over a scattered or misaligned table finds, which copies it byte by
/// byte: each table is popped twice, as it is, and a byte further on.
@Suite("Indirect tables")
struct TableWalkTests {
    /// A table of up to four descriptors, mostly of the plain shape, each field spoilt now and then.
    private func randomTable(_ random: inout SeededRandom) -> [(address: UInt64, length: UInt32, flags: UInt16, next: UInt16)] {
        func spoil<Value>(_ value: Value, _ others: [Value]) -> Value {
            Int.random(in: 0..<12, using: &random) == 0 ? others.randomElement(using: &random) ?? value : value
        }
        let base = TestMemory.guestBase
        let addresses: [UInt64] = [
            0, base - 1, base, base + 0x8000 - 1, base + 0x8000, 0x20_0000, 0x20_0000 + 0x7fff, 0x20_0000 + 0x8000, 0x40_0000,
            base &+ 1 << 62, base &+ 1 << 63, UInt64.max, UInt64.max - 15, base &- 1 << 62,
        ]
        let lengths: [UInt32] = [0, 1, 2, 15, 16, 17, 512, 0x8000, 0x8001, 1 << 30, 1 << 30 + 1, UInt32.max]
        let flags: [UInt16] = [0, 1, 2, 3, 4, 5, 6, 7, 0xfff8]
        let writesData = Bool.random(using: &random)
        let shape: [(UInt32, UInt16)] = [(16, 1), (4096, writesData ? 3 : 1), (1, 2), (1, 2)]
        return shape.enumerated().map { index, part in
            let home = base + UInt64(0x1000 * (index + 1)) + (Bool.random(using: &random) ? 0x20_0000 - base : 0)
            return (
                spoil(home, addresses), spoil(part.0, lengths), spoil(part.1, flags), spoil(UInt16(index + 1), [0, 1, 2, 3, 4, 65535])
            )
        }
    }

    /// What a pop found, with the segments' places.
    private struct Found: Equatable {
        var result: PopResult
        var pieces: [Piece]
        var counts: [Int32]
        var lengths: [UInt64]
    }

    private func found<Ring: Virtqueue>(_ fixture: RingFixture<Ring>) -> Found {
        let result = fixture.pop()
        let chain = fixture.segments.chain
        let found = Found(
            result: result, pieces: fixture.pieces, counts: [chain.readableCount, chain.writableCount],
            lengths: [chain.readableLength, chain.writableLength])
        fixture.ring.push(chain.handle, length: 0)
        fixture.ring.publish()
        return found
    }

    /// Three regions: two large ones, which the quick look-up knows, and a small one, which it does not.
    private func makeMemory() throws -> TestMemory {
        try TestMemory(
            size: 0x1_1000, regions: [(TestMemory.guestBase, 0, 0x8000), (0x20_0000, 0x8000, 0x8000), (0x40_0000, 0x1_0000, 0x1000)])
    }

    @Test("split: the same wherever the table lies", arguments: 1...20 as ClosedRange<UInt64>)
    func split(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let memory = try makeMemory()
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        var outcomes = Set<String>()
        for _ in 0..<300 {
            let table = randomTable(&random)
            let count = Int.random(in: 0..<8, using: &random) == 0 ? 4 : 3
            var both: [Found] = []
            for shift in 0..<2 {
                for index in 0..<count {
                    let part = table[index]
                    driver.write(
                        index, at: 0x400 + shift, address: part.address, length: part.length, flags: part.flags, next: part.next)
                }
                _ = driver.addIndirect(tableAddress: TestMemory.guestBase + 0x400 + UInt64(shift), bytes: UInt32(16 * count))
                both.append(found(fixture))
                _ = driver.takeUsed()
            }
            #expect(both[0] == both[1], "\(table)")
            outcomes.insert("\(both[0].result)")
        }
        #expect(outcomes.count >= 5, "\(outcomes)")
    }

    @Test("packed: the same wherever the table lies", arguments: 1...20 as ClosedRange<UInt64>)
    func packed(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let memory = try makeMemory()
        var driver = PackedDriver(memory: memory, size: 8)
        let fixture = try RingFixture<PackedVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors, .ringPacked], areas: driver.areas)
        var outcomes = Set<String>()
        for _ in 0..<300 {
            let table = randomTable(&random)
            let count = Int.random(in: 0..<8, using: &random) == 0 ? 4 : 3
            var both: [Found] = []
            for shift in 0..<2 {
                for index in 0..<count {
                    let part = table[index]
                    driver.write(
                        index, at: 0x400 + shift, address: part.address, length: part.length, id: part.next, flags: part.flags)
                }
                _ = driver.addIndirect(tableAddress: TestMemory.guestBase + 0x400 + UInt64(shift), bytes: UInt32(16 * count))
                both.append(found(fixture))
                _ = driver.takeUsed()
            }
            #expect(both[0] == both[1], "\(table)")
            outcomes.insert("\(both[0].result)")
        }
        #expect(outcomes.count >= 4, "\(outcomes)")
    }

    @Test("a chain is found in every combination of regions", arguments: 0..<16)
    func regions(choice: Int) throws {
        let memory = try makeMemory()
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        // Header, data and status each in the first or second region; the table in the third, or not.
        let places = (0..<3).map { choice >> $0 & 1 == 0 ? TestMemory.guestBase + 0x1000 : 0x20_0000 as UInt64 }
        let offsets = (0..<3).map { choice >> $0 & 1 == 0 ? 0x1000 : 0x8000 }
        let isRemote = choice >> 3 != 0
        driver.writeTable(
            [.readable(places[0], 16), .writable(places[1] + 16, 512), .writable(places[2] + 600, 1)], at: isRemote ? 0x1_0000 : 0x400)
        _ = driver.addIndirect(tableAddress: isRemote ? 0x40_0000 : TestMemory.guestBase + 0x400, bytes: 48)
        #expect(fixture.pop() == .chain)
        #expect(fixture.pieces == [Piece(offsets[0], 16), Piece(offsets[1] + 16, 512), Piece(offsets[2] + 600, 1)])
        #expect(fixture.segments.chain.writableLength == 513)
    }

    @Test("a request with one piece of data", arguments: [0, 1, 8] as [UInt32], [0, 4])
    func request(type: UInt32, misalignment: Int) throws {
        let memory = try TestMemory(size: 0x8000)
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        for isWritable in [true, false] {
            let header = 0x2000 + misalignment
            let start = TestMemory.guestBase
            driver.writeTable(
                [
                    .readable(start + UInt64(header), 16), TestBuffer(address: start + 0x3000, length: 64, isWritable: isWritable),
                    .writable(start + 0x4000, 1),
                ], at: 0x400)
            memory.store(type, header)
            memory.store(UInt64(77), header + 8)
            _ = driver.addIndirect(tableAddress: start + 0x400, bytes: 48)
            #expect(fixture.pop() == .chain)
            var request = unsafe BlockRequest(placeholder: fixture.segments.buffer.base)
            let outcome = unsafe request.parse(fixture.segments.chain, fixture.segments.buffer.base)
            #expect(outcome == .request)
            #expect(request.type == type)
            #expect(request.sector == 77)
            #expect(unsafe memory.offset(of: request.status) == 0x4000)
            // Data of the wrong direction is not this request's.
            let hasData = (type != 1) == isWritable
            #expect(request.dataLength == (hasData ? 64 : 0))
            #expect(request.dataCount == (hasData ? 1 : 0))
            if hasData { #expect(unsafe memory.offset(of: request.data[0].base) == 0x3000) }
            fixture.ring.push(fixture.segments.chain.handle, length: 1)
            fixture.ring.publish()
            _ = driver.takeUsed()
        }
    }

    @Test("no room for three segments: the walk spills") func noRoom() throws {
        let memory = try TestMemory(size: 0x8000)
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas,
            segments: TestSegments(inline: 2, spill: 4))
        let start = TestMemory.guestBase
        driver.writeTable([.readable(start, 16), .writable(start, 1), .writable(start, 1)], at: 0x400)
        _ = driver.addIndirect(tableAddress: start + 0x400, bytes: 48)
        #expect(fixture.pop(hasSpill: false) == .blocked)
        #expect(fixture.pop() == .chain)
        #expect(fixture.segments.buffer.hasSpilled)
    }
}
