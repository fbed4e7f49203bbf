import Testing
import Virtio

/// A way for a driver to spoil a packed chain.
struct HostilePackedChain: CustomTestStringConvertible, Sendable {
    var name: String
    var fault: ChainFault
    var hasStatus: Bool
    var slots: UInt16
    var features: VirtioFeatures
    var build: @Sendable (inout PackedDriver, _ address: UInt64, _ offset: Int) -> Void

    var testDescription: String { name }

    init(
        _ name: String, _ fault: ChainFault, slots: UInt16 = 1, hasStatus: Bool = false,
        features: VirtioFeatures = .ringIndirectDescriptors,
        build: @escaping @Sendable (inout PackedDriver, _ address: UInt64, _ offset: Int) -> Void
    ) {
        self.name = name
        self.fault = fault
        self.slots = slots
        self.hasStatus = hasStatus
        self.features = features
        self.build = build
    }

    private static func table(
        _ name: String, _ fault: ChainFault, bytes: UInt32, flags: UInt16 = Flags.indirect, address: UInt64? = nil, hasStatus: Bool = false,
        features: VirtioFeatures = .ringIndirectDescriptors
    ) -> HostilePackedChain {
        HostilePackedChain(name, fault, hasStatus: hasStatus, features: features) { driver, good, offset in
            driver.writeTable([.readable(good + 0x200, 16), .writable(good + 0x300, 1)], at: offset)
            driver.put([(address ?? good, bytes, flags)], id: 5)
        }
    }

    static let chains: [HostilePackedChain] = [
        table("indirect length 0", .indirectTableSize, bytes: 0),
        table("indirect length 8", .indirectTableSize, bytes: 8),
        table("an indirect table outside memory", .unmappedIndirectTable, bytes: 32, address: 0x7000_0000_0000),
        HostilePackedChain("INDIRECT without the feature", .indirectNotNegotiated, hasStatus: true, features: .version1) {
            driver, good, offset in
            // As plain as can be, so that the hot path sees it too.
            driver.writeTable([.readable(good + 0x200, 16), .writable(good + 0x200, 16), .writable(good + 0x300, 1)], at: offset)
            driver.put([(good, 48, Flags.indirect)], id: 5)
        },
        table("indirect and NEXT", .indirectWithNext, bytes: 32, flags: Flags.indirect | Flags.next, hasStatus: true),
        HostilePackedChain("an indirect table in an indirect table", .nestedIndirect) { driver, good, offset in
            driver.write(0, at: offset, address: good + 0x200, length: 16, id: 0, flags: Flags.indirect)
            driver.put([(good, 16, Flags.indirect)], id: 5)
        },
        HostilePackedChain("a readable buffer after a writable one in an indirect table", .readableAfterWritable, hasStatus: true) {
            driver, good, offset in
            driver.writeTable([.readable(good, 16), .writable(good, 1), .readable(good, 1)], at: offset)
            driver.put([(good, 48, Flags.indirect)], id: 5)
        },
        HostilePackedChain("an indirect table behind a writable descriptor holds a readable one", .readableAfterWritable, slots: 2) {
            driver, good, offset in
            driver.writeTable([.readable(good, 16)], at: offset)
            driver.put([(good, 1, Flags.next | Flags.write), (good, 16, Flags.indirect)], id: 5)
        },
        HostilePackedChain("a table with more segments than the spill block takes", .tooLong) { driver, good, offset in
            driver.writeTable((0..<65).map { _ in .readable(good, 1) }, at: offset)
            driver.put([(good, 65 * 16, Flags.indirect)], id: 5)
        },
        HostilePackedChain("a table of empty descriptors", .tooLong) { driver, good, _ in
            driver.put([(good + 0x1000, 0x4000, Flags.indirect)], id: 5)
        },
        HostilePackedChain("an unmapped buffer, and the id is found behind it", .unmappedBuffer, slots: 3, hasStatus: true) {
            driver, good, _ in
            driver.put([(good, 16, Flags.next), (0x7000_0000_0000, 512, Flags.next), (good, 1, Flags.write)], id: 5)
        },
        HostilePackedChain("a readable buffer after a writable one", .readableAfterWritable, slots: 2) { driver, good, _ in
            driver.put([(0x7000_0000_0000, 0, Flags.next | Flags.write), (good, 16, 0)], id: 5)
        },
    ]
}

@Suite("Packed ring, hostile driver")
struct PackedHostileTests {
    @Test("a spoilt chain ends alone and the ring goes on", arguments: HostilePackedChain.chains)
    func chain(_ hostile: HostilePackedChain) throws {
        var bench = try PackedBench(features: hostile.features)
        hostile.build(&bench.driver, bench.address, bench.offset)
        bench.driver.owned[5] = Int(hostile.slots)
        #expect(bench.fixture.pop() == .malformed(hostile.fault))
        let chain = bench.fixture.segments.chain
        #expect(chain.handle.id == 5)
        #expect(chain.handle.ringSlots == hostile.slots)
        #expect(chain.readableCount == 0)
        #expect(chain.writableCount == (hostile.hasStatus ? 1 : 0))
        if hostile.hasStatus {
            #expect(bench.fixture.pieces.map(\.length) == [1])
            #expect([bench.offset, bench.offset + 0x300].contains(bench.fixture.pieces[0].offset))
        }
        bench.fixture.ring.push(chain.handle, length: 0)
        bench.fixture.ring.publish()
        #expect(bench.takeUsed() == Used(5, 0))
        bench.driver.put([(bench.address, 1, Flags.write)], id: 6)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.segments.chain.handle.id == 6)
        #expect(bench.fixture.pieces == [Piece(bench.offset, 1)])
    }

    @Test("a chain without an end") func endless() throws {
        let bench = try PackedBench(size: 5)
        for index in 0..<5 {
            bench.driver.write(index, address: bench.address, length: 1, id: 1, flags: Flags.next | 0x80)
        }
        #expect(bench.fixture.pop() == .broken(.endlessChain))
        #expect(bench.fixture.ring.base == .packedStart)
    }

    @Test("descriptors made available again while in flight") func overcommitted() throws {
        var bench = try PackedBench(size: 4)
        bench.driver.put([(bench.address, 1, Flags.write)], id: 1)
        bench.driver.put([(bench.address, 1, Flags.write)], id: 2)
        #expect(bench.fixture.pop() == .chain)
        #expect(bench.fixture.pop() == .chain)
        // Three descriptors, though only two are the driver's.
        bench.driver.put([(bench.address, 1, Flags.next), (bench.address, 1, Flags.next), (bench.address, 1, 0)], id: 3)
        #expect(bench.fixture.pop() == .broken(.overcommitted))

        var full = try PackedBench(size: 2)
        full.driver.put([(full.address, 1, Flags.next), (full.address, 1, 0)], id: 1)
        #expect(full.fixture.pop() == .chain)
        full.driver.put([(full.address, 1, 0)], id: 2)
        #expect(full.fixture.pop() == .broken(.overcommitted))
    }

    @Test("staged descriptors count until they are published") func overcommittedStaged() throws {
        var bench = try PackedBench(size: 2)
        for id in 1...2 as ClosedRange<UInt16> {
            bench.driver.put([(bench.address, 1, 0)], id: id)
            #expect(bench.fixture.pop() == .chain)
            bench.fixture.ring.push(bench.fixture.segments.chain.handle, length: 0)
        }
        bench.driver.put([(bench.address, 1, 0)], id: 3)
        #expect(bench.fixture.pop() == .broken(.overcommitted))
    }

    @Test("a buffer id twice while in flight, and again after it was used", arguments: [0, 63, 64, 65535] as [UInt16])
    func duplicate(id: UInt16) throws {
        var bench = try PackedBench()
        bench.driver.put([(bench.address, 1, 0)], id: id)
        bench.driver.put([(bench.address, 1, 0)], id: id)
        #expect(bench.fixture.pop() == .chain)
        let handle = bench.fixture.segments.chain.handle
        #expect(bench.fixture.pop() == .broken(.duplicateBuffer))
        bench.fixture.ring.push(handle, length: 0)
        bench.fixture.ring.publish()
        #expect(bench.fixture.pop() == .chain)
    }

    @Test("ownership bits of another lap are not available", arguments: [0x0000, 0x8000, 0x8080] as [UInt16])
    func wrapFlipped(bits: UInt16) throws {
        let bench = try PackedBench()
        bench.driver.write(0, address: bench.address, length: 1, id: 1, flags: Flags.write | bits)
        #expect(bench.fixture.pop() == .empty)
        #expect(!bench.fixture.enableNotifications())
    }
}
