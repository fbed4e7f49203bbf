import Testing
import Virtio

/// A value a front-end writes into a region that is in use.
struct RegionDamage: CustomTestStringConvertible, Sendable {
    var name: String
    var offset: Int
    var bytes: [UInt8]
    /// Part of the refusal's text.
    var reason: String

    var testDescription: String { name }

    init<Value: FixedWidthInteger>(_ name: String, _ offset: Int, _ value: Value, _ reason: String) {
        self.name = name
        self.offset = offset
        bytes = (0..<Value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> Value(8 * $0)) }
        self.reason = reason
    }
}

extension RegionDamage {
    /// A split entry's place. Of the chains with heads 0, 2, 4 and 6 the first is done.
    static func entry(_ head: Int) -> Int { 16 + 16 * head }

    /// A packed entry's place. In flight: 0-1 (again), 2-3, 4-5; free: 6, 7, 8.
    static func packedEntry(_ entry: Int) -> Int { 32 + 32 * entry }

    static let split: [RegionDamage] = [
        RegionDamage("version 2", 8, 2 as UInt16, "version 2"),
        RegionDamage("version 65535", 8, 65535 as UInt16, "version 65535"),
        RegionDamage("desc_num 8", 10, 8 as UInt16, "desc_num 8"),
        RegionDamage("desc_num 0", 10, 0 as UInt16, "desc_num 0"),
        RegionDamage("a mark of 2", entry(1), 2 as UInt8, "entry 1 is marked 2"),
        RegionDamage("a mark past the ring", entry(8), 1 as UInt8, "entry 8 is marked 1"),
        RegionDamage("used_idx ahead of the ring", 14, 65535 as UInt16, "used_idx is 65535 behind the ring"),
        RegionDamage("used_idx more than a ring behind", 14, 65525 as UInt16, "used_idx is 9 behind the ring"),
    ]

    /// Spoilt lists of the last batch.
    static let splitBatch: [[RegionDamage]] = [
        [RegionDamage("", 12, 8 as UInt16, "the last batch names descriptor 8")],
        [RegionDamage("", 12, 2 as UInt16, ""), RegionDamage("", entry(2) + 6, 65535 as UInt16, "the last batch names descriptor 65535")],
        [RegionDamage("", 12, 2 as UInt16, ""), RegionDamage("", entry(2) + 6, 2 as UInt16, "the last batch loops at descriptor 2")],
    ]

    static let packed: [RegionDamage] = [
        RegionDamage("version 2", 8, 2 as UInt16, "version 2"),
        RegionDamage("desc_num 10", 10, 10 as UInt16, "desc_num 10"),
        RegionDamage("free list begins outside", 12, 0x000a_000a as UInt32, "the free list names entry 10"),
        RegionDamage("free list leads outside", packedEntry(6) + 2, 65535 as UInt16, "the free list names entry 65535"),
        RegionDamage("free list loops", packedEntry(7) + 2, 6 as UInt16, "the free list loops at entry 6"),
        RegionDamage("free list too short", packedEntry(6) + 2, 9 as UInt16, "entry 7 is neither free nor in flight"),
        RegionDamage("free list is empty", 12, 0x0009_0009 as UInt32, "entry 6 is neither free nor in flight"),
        RegionDamage("free list leads into a chain", packedEntry(7) + 2, 4 as UInt16, "the free list"),
        RegionDamage("a mark of 2", packedEntry(2), 2 as UInt8, "entry 2 is marked 2"),
        RegionDamage("a mark taken off", packedEntry(2), 0 as UInt8, "neither free nor in flight"),
        RegionDamage("a mark inside a chain", packedEntry(3), 1 as UInt8, "entry 3"),
        RegionDamage("num 0", packedEntry(2) + 6, 0 as UInt16, "entry 2 is marked 1 with 0 descriptors"),
        RegionDamage("num 9", packedEntry(2) + 6, 9 as UInt16, "entry 2 is marked 1 with 9 descriptors"),
        RegionDamage("num 1", packedEntry(2) + 6, 1 as UInt16, "entry 3 is neither free nor in flight"),
        RegionDamage("num 3", packedEntry(2) + 6, 3 as UInt16, "the chain of entry 4 leads to entry 4"),
        RegionDamage("a chain that loops", packedEntry(2) + 2, 2 as UInt16, "the chain of entry 2 leads to entry 2"),
        RegionDamage("a chain that leads outside", packedEntry(2) + 2, 9 as UInt16, "the chain of entry 2 leads to entry 9"),
        RegionDamage("a buffer id twice", packedEntry(3) + 16, 1 as UInt16, "in flight twice"),
        RegionDamage("used_idx outside", 16, 8 as UInt16, "used position 8"),
        RegionDamage("old_used_idx outside", 18, 65535 as UInt16, "used position 65535"),
        RegionDamage("used_wrap_counter 2", 20, 2 as UInt8, "wrap counter 2"),
        RegionDamage("old_used_wrap_counter 255", 21, 255 as UInt8, "wrap counter 255"),
    ]
}

@Suite("Inflight region, hostile front-end")
struct InflightHostileTests {
    /// Starts a ring, has three chains in flight and one completed, damages the region and starts another.
    private func refuse<Driver: CrashDriver>(_ type: Driver.Type, _ damage: [RegionDamage]) throws -> String {
        var bench = try InflightBench<Driver>(entryCount: 9)
        let base: RingBase? = Driver.features.contains(.ringPacked) ? nil : RingBase(split: 65533)
        let first = try bench.start(base: base)
        for _ in 0..<4 { _ = bench.driver.add([.writable(bench.dataAddress, 1), .writable(bench.dataAddress, 1)]) }
        #expect(first.pop() == .chain)
        first.ring.push(first.segments.chain.handle, length: 1)
        first.ring.publish()
        for _ in 0..<3 { #expect(first.pop() == .chain) }
        for damage in damage {
            for (index, byte) in damage.bytes.enumerated() { bench.setField(damage.offset + index, byte) }
        }
        do {
            _ = try bench.start(base: base)
            return "accepted"
        } catch let error as VirtqueueError {
            return error.description
        }
    }

    @Test(
        "split: refused with a reason",
        arguments: RegionDamage.split)
    func split(damage: RegionDamage) throws {
        #expect(try refuse(SplitDriver.self, [damage]).contains(damage.reason))
    }

    @Test(
        "split: a spoilt list of the last batch",
        arguments: RegionDamage.splitBatch)
    func splitBatch(damage: [RegionDamage]) throws {
        // The ring's used index is 65534: a region two behind it.
        let behind = RegionDamage("", 14, 65532 as UInt16, "")
        #expect(try refuse(SplitDriver.self, damage + [behind]).contains(damage.last?.reason ?? "?"))
    }

    @Test("split: marks that are not in the avail ring are resubmitted, within the ring's bounds") func splitExtraMarks() throws {
        #expect(try refuse(SplitDriver.self, [RegionDamage("", RegionDamage.entry(1), 1 as UInt8, "")]) == "accepted")
        let all = (0..<8).map { RegionDamage("", RegionDamage.entry($0), 1 as UInt8, "") }
        #expect(try refuse(SplitDriver.self, all) == "accepted")
    }

    @Test(
        "packed: refused with a reason",
        arguments: RegionDamage.packed)
    func packed(damage: RegionDamage) throws {
        let reason = try refuse(PackedDriver.self, [damage])
        #expect(reason.contains(damage.reason), "\(reason)")
    }

    @Test("packed: more in flight than the ring has, though the region has room") func packedOvercommitted() throws {
        // A fourth chain of three entries that were free: 6 + 3 descriptors on a ring of 8.
        let damage = [
            RegionDamage("", 12, 0x0009_0009 as UInt32, ""), RegionDamage("", RegionDamage.packedEntry(6), 1 as UInt8, ""),
            RegionDamage("", RegionDamage.packedEntry(6) + 6, 3 as UInt16, ""),
        ]
        #expect(try refuse(PackedDriver.self, damage).contains("9 descriptors in flight on a queue of 8"))
    }

    @Test("a part that is misaligned or has fewer entries than the ring") func shape() throws {
        let bench = try InflightBench<SplitDriver>()
        let misaligned = unsafe InflightQueue(base: bench.memory.base + 0x1004, entryCount: 8)
        #expect(throws: VirtqueueError.damagedInflightRegion("misaligned")) {
            _ = try bench.start(base: RingBase(split: 65533), region: misaligned)
        }
        for entryCount in [7, 65536] {
            let short = unsafe InflightQueue(base: bench.memory.base + 0x1000, entryCount: entryCount)
            #expect(throws: VirtqueueError.damagedInflightRegion("\(entryCount) entries for a queue of 8")) {
                _ = try bench.start(base: RingBase(split: 65533), region: short)
            }
        }
    }

    @Test(
        "a region that is overwritten with random bytes under a running ring, or before it starts",
        arguments: 1...200 as ClosedRange<UInt64>)
    func scribble(seed: UInt64) throws {
        try scribble(SplitDriver.self, seed: seed)
        try scribble(PackedDriver.self, seed: seed)
    }

    /// Nothing is asked of the outcome but that the ring stays within its memory and hands out no more than the driver made available.
    private func scribble<Driver: CrashDriver>(_ type: Driver.Type, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let world = try CrashWorld<Driver>(size: 8, entryCount: 8)
        for _ in 0..<100 {
            world.live(&random)
            let offset = world.regionOffset + Int.random(in: 0..<world.layout.regionBytes, using: &random)
            world.memory.store(UInt8.random(in: 0...255, using: &random), offset)
        }
        #expect(world.popped.count <= world.outstanding.count)
        let again = try InflightBench<Driver>()
        again.memory.image = world.memory.image + [UInt8](repeating: 0, count: 0x2000 - world.memory.size)
        guard let fixture = try? again.start() else { return }
        var count = 0
        while case .chain = fixture.pop() { count += 1 }
        #expect(count <= 16)
    }
}
