import Testing
import Virtio

/// Asks a view and answers in numbers.
final class ViewProbe {
    private let memory: GuestMemory
    private var view: GuestMemoryView

    init(_ memory: GuestMemory) {
        self.memory = memory
        view = memory.view
    }

    func translate(_ address: UInt64, _ length: UInt64) -> UInt? {
        unsafe view.translate(address, length).map { UInt(bitPattern: $0) }
    }

    func translateFrontend(_ address: UInt64, _ length: UInt64) -> UInt? {
        unsafe view.translateFrontend(address, length: length).map { UInt(bitPattern: $0) }
    }

    /// Host address and number of bytes.
    func prefix(_ address: UInt64, _ length: UInt64) -> [UInt] {
        let bytes = unsafe view.prefix(address, length)
        return [UInt(bitPattern: bytes.baseAddress), UInt(bytes.count)]
    }
}

@Suite("Guest memory")
struct GuestMemoryTests {
    static let base: UInt64 = 0x1000

    private func region(_ guest: UInt64, _ size: UInt64, frontend: UInt64 = 0x7000_0000, host: Int = 0x10_0000) throws -> MemoryRegion {
        let pointer = unsafe try #require(UnsafeMutableRawPointer(bitPattern: host))
        return unsafe MemoryRegion(guestAddress: guest, size: size, frontendAddress: frontend, hostBase: pointer)
    }

    @Test(
        "a table is refused",
        arguments: [
            ([(0x1000, 0x1000, 0), (0x1fff, 0x10, 0)], GuestMemoryError.overlap(0x1fff)),
            ([(0x1000, 0x1000, 0), (0x1000, 0x1000, 0)], .overlap(0x1000)),
            ([(0x1000, 0, 0)], .emptyRegion(0)),
            ([(0, 16, 0), (UInt64.max - 0xfff, 0x1000, 0)], .addressOverflow(1)),
            ([(0, 0x1000, UInt64.max - 1)], .addressOverflow(0)),
            ([(1, UInt64.max, 0)], .addressOverflow(0)),
            ([(0, 1 << 61 + 1, 0)], .addressOverflow(0)),
        ] as [([(UInt64, UInt64, UInt64)], GuestMemoryError)])
    func refusal(table: [(UInt64, UInt64, UInt64)], error: GuestMemoryError) throws {
        let regions = try table.map { try region($0.0, $0.1, frontend: $0.2) }
        #expect(throws: error) { try GuestMemory(regions: regions, owners: []) }
        #expect(!error.description.isEmpty)
    }

    @Test("regions are sorted, and each address finds its own", arguments: 1...9)
    func lookup(regionCount: Int) throws {
        // Regions of 0x100 bytes with gaps of 0x100, given in a scrambled order.
        let order = (0..<regionCount).map { ($0 * 7 + 3) % regionCount }
        var seen = Set<Int>()
        let unique = (order + Array(0..<regionCount)).filter { seen.insert($0).inserted }
        let memory = try GuestMemory(
            regions: unique.map { try region(0x1000 + UInt64($0) * 0x200, 0x100, host: 0x10_0000 + $0 * 0x1_0000) }, owners: [])
        #expect(memory.regionCount == regionCount)
        #expect(memory.regions.map(\.guestAddress) == memory.regions.map(\.guestAddress).sorted())
        let view = ViewProbe(memory)
        for index in unique {
            let start = 0x1000 + UInt64(index) * 0x200
            let host = 0x10_0000 + index * 0x1_0000
            for (address, length, expected) in [
                (start, 0x100, host), (start + 0xff, 1, host + 0xff), (start, 0x101, nil), (start + 0xff, 2, nil), (start - 1, 1, nil),
                (start + 0x100, 1, nil), (start, UInt64.max, nil), (start + 0x80, UInt64.max - 0x10, nil),
            ] as [(UInt64, UInt64, Int?)] {
                #expect(view.translate(address, length) == expected.map { UInt($0) }, "\(address) + \(length)")
            }
        }
    }

    @Test("an address above 2^63 and the last legal byte")
    func extremes() throws {
        let memory = try GuestMemory(regions: [region(UInt64.max - 0x1000, 0x1000)], owners: [])
        let view = ViewProbe(memory)
        #expect(view.translate(UInt64.max - 1, 1) == 0x10_0fff)
        #expect(view.translate(UInt64.max - 1, 2) == nil)
        #expect(view.translate(UInt64.max, 1) == nil)
        #expect(view.translate(0, 1) == nil)
    }

    @Test("no regions: nothing is mapped")
    func empty() throws {
        let view = try ViewProbe(GuestMemory(regions: [], owners: []))
        #expect(view.translate(0, 0) == nil)
        #expect(view.translate(0, 1) == nil)
        #expect(view.prefix(0, 1) == [0, 0])
        #expect(view.translateFrontend(0, 1) == nil)
    }

    @Test("a prefix ends with its region")
    func prefix() throws {
        let memory = try GuestMemory(regions: [region(0x1000, 0x100), region(0x1100, 0x100, host: 0x90_0000)], owners: [])
        let view = ViewProbe(memory)
        #expect(view.prefix(0x10f0, 0x40) == [0x10_00f0, 0x10])
        #expect(view.prefix(0x1100, 0x30) == [0x90_0000, 0x30])
        #expect(view.prefix(0x1200, 1) == [0, 0])
    }

    @Test(
        "front-end addresses",
        arguments: [
            (0x7000_0000, 0x100, 0x10_0000), (0x7000_00ff, 1, 0x10_00ff), (0x7000_00ff, 2, nil), (0x6fff_ffff, 1, nil),
            (0x8000_0000, 0x10, 0x20_0000), (0x8000_0000, UInt64.max, nil),
        ] as [(UInt64, UInt64, UInt?)])
    func frontend(address: UInt64, length: UInt64, expected: UInt?) throws {
        let memory = try GuestMemory(
            regions: [region(0x1000, 0x100), region(0x5000, 0x100, frontend: 0x8000_0000, host: 0x20_0000)], owners: [])
        #expect(ViewProbe(memory).translateFrontend(address, length) == expected)
    }

    @Test("the owners live as long as the snapshot")
    func owners() throws {
        final class Owner: Sendable {}
        weak var watched: Owner?
        var memory: GuestMemory?
        do {
            let owner = Owner()
            watched = owner
            memory = try GuestMemory(regions: [region(0, 1)], owners: [owner])
        }
        #expect(watched != nil)
        #expect(memory?.regionCount == 1)
        memory = nil
        #expect(watched == nil)
    }
}
