import Testing
import Virtio

/// What rings say they wrote, for the dirty log, against what changed in memory.
@Suite struct RingWritesTests {
    /// Bytes of the memory's block that changed, by offset.
    private func changes(_ before: [UInt8], _ after: [UInt8]) -> Set<Int> {
        Set(before.indices.filter { before[$0] != after[$0] })
    }

    private func bytes(_ writes: RingWrites, _ areas: RingAreas) -> Set<Int> {
        let start = writes.area == .device ? areas.device : areas.descriptors
        return Set(writes.first.map { start + $0 }).union(writes.second.map { start + $0 })
    }

    @Test("Split: the elements and idx, and nothing else", arguments: [1, 4, 64])
    func split(size: Int) throws {
        var random = SeededRandom(seed: UInt64(size))
        var bench = try SplitBench(size: size, index: 65_500)
        for _ in 0..<300 {
            let count = Int.random(in: 1...size, using: &random)
            for _ in 0..<count { _ = bench.driver.add([.writable(bench.address, 1)]) }
            let cursor = bench.fixture.ring.usedCursor
            let before = bench.memory.image
            _ = bench.fixture.drain(length: UInt32.random(in: 1...UInt32.max, using: &random))
            let told = bytes(bench.fixture.ring.usedWrites(since: cursor), bench.driver.areas)
            #expect(told.isSuperset(of: changes(before, bench.memory.image)))
            #expect(told.count == 4 + 8 * count)
            while bench.driver.takeUsed() != nil {}
        }
        let cursor = bench.fixture.ring.usedCursor
        #expect(bench.fixture.ring.usedWrites(since: cursor).first.isEmpty, "nothing published, nothing written")
    }

    @Test("Packed: the descriptors of the chains, around the ring's end too", arguments: [1, 5, 64])
    func packed(size: Int) throws {
        var random = SeededRandom(seed: UInt64(size))
        var bench = try PackedBench(size: size)
        for _ in 0..<300 {
            var left = size
            var slots = 0
            while left > 0, slots == 0 || Bool.random(using: &random) {
                let length = Int.random(in: 1...left, using: &random)
                guard bench.driver.add((0..<length).map { _ in TestBuffer.writable(bench.address, 1) }) != nil else { break }
                left -= length
                slots += length
            }
            let cursor = bench.fixture.ring.usedCursor
            let before = bench.memory.image
            _ = bench.fixture.drain(length: UInt32.random(in: 1...UInt32.max, using: &random))
            let told = bytes(bench.fixture.ring.usedWrites(since: cursor), bench.driver.areas)
            #expect(told.isSuperset(of: changes(before, bench.memory.image)))
            #expect(told.count == 16 * slots)
            while bench.driver.takeUsed() != nil {}
        }
    }

    @Test("Asking for notifications and taking it back", arguments: [[], VirtioFeatures.ringEventIndex])
    func notifications(features: VirtioFeatures) throws {
        let split = try SplitBench(size: 8, index: 3, features: features.union(.version1))
        let packed = try PackedBench(size: 8, features: features)
        func check<Ring: Virtqueue>(_ fixture: RingFixture<Ring>, _ areas: RingAreas, _ memory: TestMemory) {
            let told = Set(fixture.ring.notificationWrite.map { areas.device + $0 })
            for _ in 0..<2 {
                var before = memory.image
                fixture.ring.disableNotifications()
                let first = changes(before, memory.image)
                before = memory.image
                _ = fixture.enableNotifications()
                let second = changes(before, memory.image)
                #expect(!first.union(second).isEmpty)
                #expect(told.isSuperset(of: first.union(second)))
            }
        }
        check(split.fixture, split.driver.areas, split.memory)
        check(packed.fixture, packed.driver.areas, packed.memory)
    }
}
