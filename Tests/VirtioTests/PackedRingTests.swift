import Testing
import Virtio

/// A started packed ring and its driver over one block.
struct PackedBench {
    var driver: PackedDriver
    let fixture: RingFixture<PackedVirtqueue>
    let memory: TestMemory
    let address: UInt64
    let offset: Int

    init(size: Int = 8, features: VirtioFeatures = [.ringIndirectDescriptors], segments: TestSegments = TestSegments()) throws {
        memory = try TestMemory(size: 64 * size + 0x8000)
        driver = PackedDriver(memory: memory, size: size)
        offset = driver.end
        address = TestMemory.guestBase + UInt64(offset)
        fixture = try RingFixture(
            memory: memory, size: size, features: features.union([.version1, .ringPacked]), areas: driver.areas, segments: segments)
    }

    mutating func takeUsed() -> Used? {
        driver.takeUsed().map { Used(UInt32($0.id), $0.length) }
    }
}

@Suite("Packed ring")
struct PackedRingTests {
    @Test("an empty ring") func empty() throws {
        let bench = try PackedBench()
        #expect(bench.fixture.pop() == .empty)
        #expect(bench.fixture.ring.base == .packedStart)
    }

    @Test("a direct chain: the id is the last descriptor's; the used descriptor") func direct() throws {
        var bench = try PackedBench()
        let flags = [Flags.next, Flags.next, Flags.write]
        for (index, id) in [77, 78, 4321].enumerated() {
            bench.driver.write(
                index, address: bench.address + UInt64(index) * 64, length: UInt32(index + 1), id: UInt16(id),
                flags: flags[index] | 0x80)
        }
        bench.driver.owned[4321] = 3
        #expect(bench.fixture.pop() == .chain)
        let chain = bench.fixture.segments.chain
        #expect(chain.handle.id == 4321)
        #expect(chain.handle.ringSlots == 3)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 1), Piece(bench.offset + 64, 2), Piece(bench.offset + 128, 3)])
        #expect(chain.readableCount == 2)
        #expect(chain.writableLength == 3)
        #expect(bench.fixture.ring.inFlightCount == 1)
        #expect(bench.fixture.pop() == .empty)
        bench.fixture.ring.push(chain.handle, length: 9)
        let early = bench.driver.takeUsed()
        #expect(early == nil, "staged, not published")
        bench.fixture.ring.publish()
        let used = bench.driver.takeUsed()
        #expect(used?.id == 4321)
        #expect(used?.length == 9)
        #expect(used?.flags == 0x8080 | Flags.write)
        #expect(bench.driver.usedNext == 3)
        #expect(bench.fixture.ring.base == RingBase(packedAvail: 3, wrap: true, used: 3, wrap: true))
        #expect(bench.fixture.ring.inFlightCount == 0)
    }

    @Test("nothing written: no WRITE in the used descriptor") func usedWithoutWrite() throws {
        var bench = try PackedBench()
        _ = bench.driver.add([.readable(bench.address, 1)])
        #expect(bench.fixture.drain(length: 0).count == 1)
        let used = bench.driver.takeUsed()
        #expect(used?.flags == 0x8080)
    }

    @Test("an indirect table is read from first to last, NEXT or not (2.8.8)", arguments: [1, 3, 20], [0, Flags.next])
    func indirect(count: Int, extraFlags: UInt16) throws {
        var bench = try PackedBench()
        for index in 0..<count {
            bench.driver.write(
                index, at: bench.offset, address: bench.address + 0x1000 + UInt64(index) * 32, length: 32, id: 999,
                flags: extraFlags | (index + 1 == count ? Flags.write : 0))
        }
        _ = bench.driver.addIndirect(tableAddress: bench.address, bytes: UInt32(16 * count))
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == (0..<count).map { Piece(bench.offset + 0x1000 + $0 * 32, 32) })
        #expect(bench.fixture.segments.chain.handle.ringSlots == 1)
    }

    @Test("a misaligned indirect table") func misalignedTable() throws {
        var bench = try PackedBench()
        bench.driver.writeTable([.readable(bench.address + 0x200, 8), .writable(bench.address + 0x300, 4)], at: bench.offset + 5)
        _ = bench.driver.addIndirect(tableAddress: bench.address + 5, bytes: 32)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == [Piece(bench.offset + 0x200, 8), Piece(bench.offset + 0x300, 4)])
    }

    @Test("any queue size, many laps, chains of one to three, completed in batches out of order", arguments: [1, 2, 3, 5, 8, 31, 256])
    func laps(size: Int) throws {
        var bench = try PackedBench(size: size)
        var random = SeededRandom(seed: UInt64(size))
        var handles: [ChainHandle] = []
        var expected: [Used] = []
        var completed = 0
        for _ in 0..<(200 * size / 8 + 200) {
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let length = Int.random(in: 1...3, using: &random)
                _ = bench.driver.add((0..<length).map { .writable(bench.address + UInt64($0), 1) })
            }
            while bench.fixture.pop() == .chain {
                #expect(bench.fixture.pieces.count == Int(bench.fixture.segments.chain.handle.ringSlots))
                handles.append(bench.fixture.segments.chain.handle)
            }
            handles.shuffle(using: &random)
            for _ in 0..<Int.random(in: 0...handles.count, using: &random) {
                let handle = handles.removeLast()
                completed += 1
                bench.fixture.ring.push(handle, length: UInt32(completed))
                expected.append(Used(UInt32(handle.id), UInt32(completed)))
            }
            bench.fixture.ring.publish()
            #expect(bench.fixture.ring.inFlightCount == handles.count)
            if Bool.random(using: &random) {
                while let used = bench.takeUsed() {
                    guard !expected.isEmpty else { throw Unexpected() }
                    #expect(used == expected.removeFirst())
                }
                #expect(expected.isEmpty)
            }
        }
        #expect(completed > size)
    }

    struct Unexpected: Error {}

    @Test("the largest ring, full, twice round") func largest() throws {
        var bench = try PackedBench(size: 32768)
        for _ in 0..<2 {
            for _ in 0..<32768 { _ = bench.driver.add([.writable(bench.address, 1)]) }
            #expect(bench.fixture.drain().count == 32768)
            var taken = 0
            while bench.takeUsed() != nil { taken += 1 }
            #expect(taken == 32768)
        }
        #expect(bench.fixture.ring.base == .packedStart)
    }

    @Test("a chain without room stays in the ring until there is a spill block") func blocked() throws {
        var bench = try PackedBench(segments: TestSegments(inline: 2, spill: 3))
        _ = bench.driver.add([.readable(bench.address, 1), .readable(bench.address + 1, 1), .writable(bench.address + 2, 1)])
        #expect(bench.fixture.pop(hasSpill: false) == .blocked)
        #expect(bench.fixture.ring.base == .packedStart)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.segments.buffer.hasSpilled)
    }

    @Test(
        "start: bases",
        arguments: [
            // base, used index and wrap it starts from; nil: refused
            (RingBase(packedAvail: 3, wrap: true, used: 3, wrap: true), RingBase(packedAvail: 3, wrap: true, used: 3, wrap: true)),
            (RingBase(packedAvail: 3, wrap: false, used: 3, wrap: false), RingBase(packedAvail: 3, wrap: false, used: 3, wrap: false)),
            (RingBase(packedAvail: 1, wrap: false, used: 7, wrap: true), RingBase(packedAvail: 1, wrap: false, used: 7, wrap: true)),
            // A front-end that knows the lower half only.
            (RingBase(rawValue: 0x8000), .packedStart),
            (RingBase(rawValue: 0x8005), RingBase(packedAvail: 5, wrap: true, used: 5, wrap: true)),
            (RingBase(packedAvail: 8, wrap: true, used: 8, wrap: true), nil),
            (RingBase(packedAvail: 2, wrap: true, used: 3, wrap: true), nil),
            (RingBase(packedAvail: 4, wrap: false, used: 3, wrap: true), nil),
            (RingBase(rawValue: 0xffff_ffff), nil),
            // More than a lap away from each other, which no difference of theirs may be formed from.
            (RingBase(packedAvail: 0, wrap: true, used: 100, wrap: false), nil),
            (RingBase(packedAvail: 0, wrap: false, used: 0x7fff, wrap: true), nil),
        ] as [(RingBase, RingBase?)])
    func bases(base: RingBase, expected: RingBase?) throws {
        let memory = try TestMemory(size: 0x1000)
        let driver = PackedDriver(memory: memory, size: 8)
        func start() throws -> RingFixture<PackedVirtqueue> {
            try RingFixture(memory: memory, size: 8, features: [.version1, .ringPacked], areas: driver.areas, base: base)
        }
        if let expected {
            #expect(try start().ring.base == expected)
        } else {
            #expect(throws: VirtqueueError.invalidBase(base)) { try start() }
        }
    }

    @Test("a base outside the ring is refused before a fresh inflight region is set up with it")
    func baseOutsideFreshRegion() throws {
        let memory = try TestMemory(size: 0x2000)
        let driver = PackedDriver(memory: memory, size: 8)
        let layout = InflightLayout(queueCount: 1, queueSize: 8, isPacked: true)
        let part = unsafe layout.queue(0, in: memory.base + 0x1000)
        let base = RingBase(packedAvail: 0, wrap: true, used: 100, wrap: false)
        func start(_ base: RingBase) throws -> RingFixture<PackedVirtqueue> {
            try RingFixture(
                memory: memory, size: 8, features: [.version1, .ringPacked], areas: driver.areas, base: base, inflight: part)
        }
        #expect(throws: VirtqueueError.invalidBase(base)) { try start(base) }
        #expect(memory.image[0x1000..<0x1000 + layout.regionBytes].allSatisfy { $0 == 0 })
        #expect(try start(.packedStart).ring.base == .packedStart)
        // The region is in use now, and knows better than any base.
        #expect(try start(base).ring.base == .packedStart)
    }

    @Test("start and relocate: what is refused") func refusals() throws {
        let memory = try TestMemory(size: 0x1000)
        let driver = PackedDriver(memory: memory, size: 8)
        for (size, features) in [(0, .ringPacked), (32769, .ringPacked), (8, .version1)] as [(Int, VirtioFeatures)] {
            #expect(throws: VirtqueueError.invalidSize(size)) {
                _ = try RingFixture<PackedVirtqueue>(memory: memory, size: size, features: features, areas: driver.areas)
            }
        }
        let fixture = try RingFixture<PackedVirtqueue>(memory: memory, size: 8, features: .ringPacked, areas: driver.areas)
        for areas in [
            RingAreas(descriptors: 8, driver: 0x400, device: 0x800), RingAreas(descriptors: 0, driver: 0x402, device: 0x800),
            RingAreas(descriptors: 0, driver: 0x400, device: 0x802),
        ] {
            #expect(throws: VirtqueueError.misalignedArea) {
                _ = try RingFixture<PackedVirtqueue>(memory: memory, size: 8, features: .ringPacked, areas: areas)
            }
            #expect(throws: VirtqueueError.misalignedArea) { try fixture.ring.relocate(areas.addresses(in: memory)) }
        }
    }

    @Test("the ring goes on elsewhere after the memory table changed") func relocate() throws {
        var bench = try PackedBench()
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.pop() == .chain)
        let other = try TestMemory(size: bench.memory.size)
        other.image = bench.memory.image
        try bench.fixture.ring.relocate(bench.driver.areas.addresses(in: other))
        bench.fixture.ring.push(bench.fixture.segments.chain.handle, length: 1)
        bench.fixture.ring.publish()
        #expect(other.load(14, as: UInt16.self) == 0x8080 | Flags.write)
        #expect(bench.memory.load(14, as: UInt16.self) == 0x80 | Flags.write)
    }
}
