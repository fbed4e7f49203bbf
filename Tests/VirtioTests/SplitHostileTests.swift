import Testing
import Virtio

/// A way for a driver to spoil a chain: writes descriptors and returns the head to make available.
struct HostileChain: CustomTestStringConvertible, Sendable {
    var name: String
    var fault: ChainFault
    /// Whether the status byte can still be found.
    var hasStatus: Bool
    var features: VirtioFeatures = [.version1, .ringIndirectDescriptors]
    var build: @Sendable (SplitDriver, _ address: UInt64, _ offset: Int) -> UInt16

    var testDescription: String { name }

    init(
        _ name: String, _ fault: ChainFault, hasStatus: Bool = false, features: VirtioFeatures = [.version1, .ringIndirectDescriptors],
        build: @escaping @Sendable (SplitDriver, _ address: UInt64, _ offset: Int) -> UInt16
    ) {
        self.name = name
        self.fault = fault
        self.hasStatus = hasStatus
        self.features = features
        self.build = build
    }

    /// Two direct descriptors: a broken one, and the status byte.
    private static func before(_ name: String, _ fault: ChainFault, address: UInt64, length: UInt32, flags: UInt16 = Flags.next)
        -> HostileChain
    {
        HostileChain(name, fault, hasStatus: true) { driver, good, _ in
            driver.write(0, address: address, length: length, flags: flags | Flags.next, next: 1)
            driver.write(1, address: good, length: 1, flags: Flags.write)
            return 0
        }
    }

    /// An indirect descriptor of `bytes` at `shift` from a good table of two descriptors.
    private static func table(
        _ name: String, _ fault: ChainFault, bytes: UInt32, flags: UInt16 = Flags.indirect, address: UInt64? = nil, hasStatus: Bool = false
    ) -> HostileChain {
        HostileChain(name, fault, hasStatus: hasStatus) { driver, good, offset in
            driver.writeTable([.readable(good + 0x200, 16), .writable(good + 0x300, 1)], at: offset)
            driver.write(2, address: address ?? good, length: bytes, flags: flags, next: 3)
            driver.write(3, address: good + 0x300, length: 1, flags: Flags.write)
            return 2
        }
    }

    static let chains: [HostileChain] = [
        HostileChain("a descriptor that is its own next", .tooLong) { driver, address, _ in
            driver.write(0, address: address, length: 1, flags: Flags.next, next: 0)
            return 0
        },
        HostileChain("a loop of two", .tooLong) { driver, address, _ in
            driver.write(0, address: address, length: 1, flags: Flags.next, next: 1)
            driver.write(1, address: address, length: 1, flags: Flags.next, next: 0)
            return 0
        },
        HostileChain("a loop of empty descriptors", .tooLong) { driver, address, _ in
            driver.write(0, address: address, length: 0, flags: Flags.next, next: 0)
            return 0
        },
        HostileChain("next is one past the table", .nextOutOfRange) { driver, address, _ in
            driver.write(0, address: address, length: 1, flags: Flags.next, next: 8)
            return 0
        },
        HostileChain("next is 65535", .nextOutOfRange) { driver, address, _ in
            driver.write(0, address: address, length: 1, flags: Flags.next, next: 65535)
            return 0
        },
        HostileChain("a loop in an indirect table", .tooLong) { driver, address, offset in
            driver.write(0, at: offset, address: address + 0x200, length: 1, flags: Flags.next, next: 1)
            driver.write(1, at: offset, address: address + 0x200, length: 1, flags: Flags.next, next: 0)
            driver.write(0, address: address, length: 32, flags: Flags.indirect)
            return 0
        },
        HostileChain("a loop in a huge indirect table", .tooLong) { driver, address, offset in
            driver.write(0, at: offset, address: address + 0x200, length: 0, flags: Flags.next, next: 0)
            driver.write(0, address: address, length: 0x4000, flags: Flags.indirect)
            return 0
        },
        HostileChain("next leaves the indirect table", .nextOutOfRange) { driver, address, offset in
            driver.write(0, at: offset, address: address + 0x200, length: 1, flags: Flags.next, next: 2)
            driver.write(2, at: offset, address: address + 0x200, length: 1, flags: Flags.write)
            driver.write(0, address: address, length: 32, flags: Flags.indirect)
            return 0
        },
        HostileChain("an indirect table in an indirect table", .nestedIndirect) { driver, address, offset in
            driver.write(0, at: offset, address: address + 0x200, length: 16, flags: Flags.indirect)
            driver.write(0, address: address, length: 16, flags: Flags.indirect)
            return 0
        },
        table("indirect length 0", .indirectTableSize, bytes: 0),
        table("indirect length 17", .indirectTableSize, bytes: 17),
        table("indirect length 2^32-1", .indirectTableSize, bytes: UInt32.max, hasStatus: true),
        table("indirect and NEXT", .indirectWithNext, bytes: 32, flags: Flags.indirect | Flags.next, hasStatus: true),
        table("an indirect table outside memory", .unmappedIndirectTable, bytes: 32, address: 0x7000_0000_0000),
        table("an indirect table at the end of the address space", .unmappedIndirectTable, bytes: 32, address: UInt64.max - 7),
        HostileChain("INDIRECT without the feature", .indirectNotNegotiated, hasStatus: true, features: .version1) {
            driver, address, offset in
            // As plain as can be, so that the hot path sees it too.
            driver.writeTable(
                [.readable(address + 0x200, 16), .writable(address + 0x200, 16), .writable(address + 0x300, 1)], at: offset)
            driver.write(0, address: address, length: 48, flags: Flags.indirect)
            return 0
        },
        HostileChain("next leaves the table behind a writable descriptor: no status byte is guessed", .nextOutOfRange) {
            driver, address, _ in
            driver.write(0, address: address, length: 16, flags: Flags.next, next: 1)
            driver.write(1, address: address, length: 16, flags: Flags.write | Flags.next, next: 8)
            return 0
        },
        before("an unmapped buffer", .unmappedBuffer, address: 0x7000_0000_0000, length: 1),
        before("a buffer just below memory", .unmappedBuffer, address: TestMemory.guestBase - 1, length: 2),
        before("a buffer past the end of memory", .unmappedBuffer, address: TestMemory.guestBase + 0x8000, length: 0x8000),
        before("a buffer that wraps at 2^64", .unmappedBuffer, address: UInt64.max - 3, length: 8),
        before("a length of 2^32-1", .unmappedBuffer, address: TestMemory.guestBase, length: UInt32.max),
        HostileChain("a readable buffer after a writable one", .readableAfterWritable, hasStatus: true) { driver, address, _ in
            driver.write(0, address: address, length: 16, flags: Flags.write | Flags.next, next: 1)
            driver.write(1, address: address, length: 16, flags: Flags.next, next: 2)
            driver.write(2, address: address, length: 1, flags: Flags.write)
            return 0
        },
        HostileChain("more segments than the spill block takes", .tooLong) { driver, address, offset in
            let count = 65
            driver.writeTable((0..<count).map { _ in .readable(address, 1) }, at: offset)
            driver.write(0, address: address, length: UInt32(16 * count), flags: Flags.indirect)
            return 0
        },
        HostileChain("an unmapped buffer and no writable byte", .unmappedBuffer) { driver, _, _ in
            driver.write(0, address: 1, length: 1, flags: 0)
            return 0
        },
        HostileChain("a status byte outside memory", .unmappedBuffer) { driver, address, _ in
            driver.write(0, address: address, length: 16, flags: Flags.next, next: 1)
            driver.write(1, address: 0x7000_0000_0000, length: 1, flags: Flags.write)
            return 0
        },
        HostileChain("a status byte past 2^64", .unmappedBuffer) { driver, address, _ in
            driver.write(0, address: address, length: 16, flags: Flags.next, next: 1)
            driver.write(1, address: UInt64.max, length: 2, flags: Flags.write)
            return 0
        },
    ]
}

@Suite("Split ring, hostile driver")
struct SplitHostileTests {
    @Test("a spoilt chain ends alone and the ring goes on", arguments: HostileChain.chains)
    func chain(_ hostile: HostileChain) throws {
        var bench = try SplitBench(features: hostile.features)
        let head = hostile.build(bench.driver, bench.address, bench.offset)
        bench.driver.stage(head)
        bench.driver.kick()
        #expect(bench.fixture.pop() == .malformed(hostile.fault))
        let chain = bench.fixture.segments.chain
        #expect(chain.handle.id == head)
        #expect(chain.readableCount == 0)
        #expect(chain.writableCount == (hostile.hasStatus ? 1 : 0))
        #expect(chain.writableLength == (hostile.hasStatus ? 1 : 0))
        if hostile.hasStatus {
            #expect(bench.fixture.pieces.map(\.length) == [1])
            #expect([bench.offset, bench.offset + 0x300].contains(bench.fixture.pieces[0].offset))
        }
        bench.fixture.ring.push(chain.handle, length: 0)
        bench.fixture.ring.publish()
        #expect(bench.takeUsed() == Used(UInt32(head), 0))

        // A good chain right after it.
        bench.driver.write(7, address: bench.address, length: 1, flags: Flags.write)
        bench.driver.stage(7)
        bench.driver.kick()
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 1)])
    }

    @Test("a buffer over a hole (CVE-2018-1059), and one over two adjacent regions") func hole() throws {
        let memory = try TestMemory(size: 0x4000, regions: [(0x1_0000, 0, 0x1000), (0x1_1000, 0x1000, 0x1000), (0x1_3000, 0x3000, 0x1000)])
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 8, features: .version1, areas: driver.areas)
        _ = driver.add([.readable(0x1_0f00, 0x200), .writable(0x1_3000, 1)])
        #expect(fixture.pop() == .chain)
        #expect(fixture.segments.chain.readableCount == 2)
        _ = driver.add([.readable(0x1_1f00, 0x1200), .writable(0x1_3000, 1)])
        #expect(fixture.pop() == .malformed(.unmappedBuffer))
        #expect(fixture.pieces == [Piece(0x3000, 1)])
    }

    @Test("an indirect table over a hole") func tableOverHole() throws {
        let memory = try TestMemory(size: 0x4000, regions: [(0x1_0000, 0, 0x2000), (0x1_3000, 0x3000, 0x1000)])
        var driver = SplitDriver(memory: memory, size: 8)
        let fixture = try RingFixture<SplitVirtqueue>(
            memory: memory, size: 8, features: [.version1, .ringIndirectDescriptors], areas: driver.areas)
        driver.write(0, at: 0x1ff0, address: 0x1_0800, length: 16, flags: Flags.next, next: 1)
        _ = driver.addIndirect(tableAddress: 0x1_1ff0, bytes: 32)
        #expect(fixture.pop() == .malformed(.unmappedIndirectTable))
        #expect(fixture.segments.chain.writableCount == 0)
    }

    @Test("more than 2^32 bytes in a chain") func tooManyBytes() throws {
        // One region of 4 GiB of reserved, never touched address space; the ring lies in a small one.
        let huge = 1 << 32
        let memory = try TestMemory(size: 0x1000)
        let regions = unsafe [
            MemoryRegion(guestAddress: 0x1_0000, size: 0x1000, frontendAddress: 0, hostBase: memory.base),
            // Translated, but never read or written by the ring.
            MemoryRegion(guestAddress: 1 << 40, size: UInt64(huge), frontendAddress: 1 << 40, hostBase: memory.base),
        ]
        let guest = try GuestMemory(regions: regions, owners: [])
        for (extra, expected) in [(1, PopResult.chain), (2, .malformed(.tooManyBytes))] as [(UInt32, PopResult)] {
            var driver = SplitDriver(memory: memory, size: 8)
            let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 8, features: .version1, areas: driver.areas)
            fixture.view = guest.view
            _ = driver.add([.readable(1 << 40, UInt32.max), .writable(1 << 40, extra)])
            #expect(fixture.pop() == expected)
            #expect(fixture.segments.chain.writableCount == 1)
        }
    }

    @Test("avail.idx ahead by more than the queue size, or moved back", arguments: [9, 100, 32768, 65535] as [UInt16])
    func availJump(distance: UInt16) throws {
        let bench = try SplitBench(index: 7)
        bench.memory.store(7 &+ distance, bench.driver.areas.driver + 2)
        #expect(bench.fixture.pop() == .broken(.availIndexJump))
        #expect(bench.fixture.pop() == .broken(.availIndexJump))
        #expect(bench.fixture.ring.base == RingBase(split: 7))
    }

    @Test("what is in flight counts against the queue size") func overcommit() throws {
        var bench = try SplitBench()
        for _ in 0..<8 { _ = bench.driver.add([.writable(bench.address, 1)]) }
        for _ in 0..<3 { #expect(bench.fixture.pop() == .chain) }
        // Five more are visible. The driver claims one beyond the eight.
        bench.driver.stage(0)
        bench.driver.kick()
        for _ in 0..<5 { #expect(bench.fixture.pop() == .chain) }
        #expect(bench.fixture.pop() == .broken(.availIndexJump))
    }

    @Test("the whole ring in flight and avail.idx a lap back, at the largest size") func lapBack() throws {
        var bench = try SplitBench(size: 32768)
        for _ in 0..<32768 { _ = bench.driver.add([.writable(bench.address, 1)]) }
        for _ in 0..<32768 { guard bench.fixture.pop() == .chain else { break } }
        #expect(bench.fixture.ring.inFlightCount == 32768)
        bench.memory.store(UInt16(0), bench.driver.areas.driver + 2)
        #expect(bench.fixture.pop() == .broken(.availIndexJump))
    }

    @Test("a head twice while in flight (CVE-2016-5403), and again after it was used") func duplicate() throws {
        var bench = try SplitBench()
        bench.driver.write(2, address: bench.address, length: 1, flags: Flags.write)
        bench.driver.stage(2)
        bench.driver.stage(2)
        bench.driver.kick()
        #expect(bench.fixture.pop() == .chain)
        let handle = bench.fixture.segments.chain.handle
        #expect(bench.fixture.pop() == .broken(.duplicateBuffer))
        bench.fixture.ring.push(handle, length: 1)
        bench.fixture.ring.publish()
        #expect(bench.fixture.pop() == .chain)
    }

    @Test("a head outside the table", arguments: [8, 9, 65535] as [UInt16])
    func headRange(head: UInt16) throws {
        var bench = try SplitBench()
        bench.driver.stage(head)
        bench.driver.kick()
        #expect(bench.fixture.pop() == .broken(.headOutOfRange))
    }

    @Test("a descriptor changed after pop changes nothing") func rewritten() throws {
        var bench = try SplitBench()
        let added = bench.driver.add([.readable(bench.address, 16), .writable(bench.address + 32, 1)])
        let head = try #require(added)
        #expect(bench.fixture.pop() == .chain)
        bench.driver.write(Int(head), address: 0xdead_0000, length: 0xffff, flags: Flags.next | Flags.write, next: head)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 16), Piece(bench.offset + 32, 1)])
    }
}
