import Testing
import Virtio

/// Rings whose addresses go through an IOTLB.
@Suite struct TranslationTests {
    /// 64 KiB of guest memory, of which the page at offset `page` of the block is at I/O virtual address `iova`.
    private func snapshot(
        _ memory: TestMemory, _ pages: [(iova: UInt64, page: Int, access: MemoryAccess)]
    ) -> GuestMemory {
        let regions = pages.map { entry in
            var region = unsafe MemoryRegion(
                guestAddress: entry.iova, size: 4096, frontendAddress: 0, hostBase: memory.base + entry.page)
            region.access = entry.access
            return region
        }
        return GuestMemory(table: memory.guest, translations: regions)
    }

    @Test("Neighbours in both spaces with the same permissions are one region, others are not")
    func merging() throws {
        let memory = try TestMemory(size: 0x1_0000)
        let merged = snapshot(memory, [(0x7000, 0x1000, .readWrite), (0x8000, 0x2000, .readWrite)])
        #expect(merged.regionCount == 1)
        defer { withExtendedLifetime(merged) {} }
        var view = merged.view
        #expect(unsafe view.translate(0x7ff0, 32, for: .write) == memory.base + 0x1ff0)
        #expect(snapshot(memory, [(0x7000, 0x1000, .readWrite), (0x8000, 0x3000, .readWrite)]).regionCount == 2)
        #expect(snapshot(memory, [(0x7000, 0x1000, .readWrite), (0x8000, 0x2000, .read)]).regionCount == 2)
        // The way back is the memory table's.
        #expect(unsafe merged.guestAddress(of: memory.base + 0x1234) == TestMemory.guestBase + 0x1234)
        #expect(merged.end == memory.guest.end)
        #expect(merged.sharesTable(with: memory.guest) && merged.isTranslated)
    }

    @Test("What lies in two regions of the table that are mapped side by side is not one: its guest addresses are apart")
    func seam() throws {
        let memory = try TestMemory(size: 0x2000)
        let regions = [0, 1].map { index in
            unsafe MemoryRegion(
                guestAddress: index == 0 ? 0x10_0000 : 0x1_0000_0000, size: 4096, frontendAddress: UInt64(index) << 40,
                hostBase: memory.base + 4096 * index)
        }
        let translations = [0, 1].map { index in
            unsafe MemoryRegion(
                guestAddress: 0x7000 + UInt64(index) * 4096, size: 4096, frontendAddress: 0, hostBase: memory.base + 4096 * index)
        }
        let translated = GuestMemory(table: try GuestMemory(regions: regions, owners: []), translations: translations)
        var view = translated.view
        #expect(translated.regionCount == 2)
        #expect(unsafe view.prefix(0x7ff0, 32, for: .write).count == 16)
        #expect(unsafe view.prefix(0x8000, 16, for: .write).baseAddress.flatMap { unsafe translated.guestAddress(of: $0) } == 0x1_0000_0000)
        withExtendedLifetime(translated) {}
    }

    @Test("A look-up that finds nothing, or not the permission, is a miss; one that was denied is not any more")
    func misses() throws {
        let memory = try TestMemory(size: 0x1_0000)
        let table = snapshot(memory, [(0x7000, 0x1000, .read)])
        // A view keeps nothing alive.
        defer { withExtendedLifetime(table) {} }
        var view = table.view
        #expect(unsafe view.translate(0x7010, 16) != nil && view.miss == nil)
        #expect(unsafe view.translate(0x7010, 16, for: .write) == nil)
        #expect(view.miss == MemoryMiss(address: 0x7010, access: .write))
        #expect(unsafe view.translate(0x9000, 1) == nil)
        #expect(view.miss?.address == 0x7010, "the first one stays")
        view.miss = nil
        view.denied = MemoryMiss(address: 0x7000, access: .write)
        #expect(unsafe view.translate(0x7010, 16, for: .write) == nil && view.miss == nil)
        #expect(unsafe view.translate(0x9000, 1) == nil)
        #expect(view.miss == MemoryMiss(address: 0x9000, access: .read))
        view.miss = nil
        view.deniesAll = true
        #expect(unsafe view.translate(0x9000, 1) == nil && view.miss == nil)
        view.forgetDenied()
        #expect(unsafe view.translate(0x9000, 1) == nil && view.miss != nil)
        var plain = memory.guest.view
        #expect(unsafe plain.translate(0x9000, 1) == nil && plain.miss == nil, "without an IOTLB there are no misses")
    }

    @Test("A chain with a miss stays in the ring, and is popped when the translation is there")
    func chainStays() throws {
        let memory = try TestMemory(size: 0x1_0000)
        let areas = RingAreas(descriptors: 0x8000, driver: 0x9000, device: 0xa000)
        let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 4, features: [.version1], areas: areas)
        // A header the device reads, data and a status byte it writes: three pages.
        let buffers: [(UInt64, UInt32, UInt16)] = [
            (0x1000, 16, Flags.next), (0x2000, 512, Flags.next | Flags.write), (0x3000, 1, Flags.write),
        ]
        for (index, buffer) in buffers.enumerated() {
            memory.store(buffer.0, 0x8000 + 16 * index)
            memory.store(buffer.1, 0x8008 + 16 * index)
            memory.store(buffer.2, 0x800c + 16 * index)
            memory.store(UInt16(index + 1), 0x800e + 16 * index)
        }
        memory.store(UInt16(1), 0x9002)
        var pages: [(iova: UInt64, page: Int, access: MemoryAccess)] = []
        var missed: [MemoryMiss?] = []
        for (iova, access) in [(UInt64(0x1000), MemoryAccess.read), (0x2000, .read), (0x2000, .write), (0x3000, .write)] {
            let current = snapshot(memory, pages)
            defer { withExtendedLifetime(current) {} }
            fixture.view = current.view
            #expect(fixture.pop() == .missed)
            #expect(fixture.ring.base == RingBase(split: 0) && fixture.ring.inFlightCount == 0, "nothing was taken")
            missed.append(fixture.view.miss)
            pages.removeAll { $0.iova == iova }
            pages.append((iova, Int(iova) + 0x1000, access))
        }
        #expect(
            missed == [
                MemoryMiss(address: 0x1000, access: .read), MemoryMiss(address: 0x2000, access: .write),
                MemoryMiss(address: 0x2000, access: .write), MemoryMiss(address: 0x3000, access: .write),
            ])
        let complete = snapshot(memory, pages)
        defer { withExtendedLifetime(complete) {} }
        fixture.view = complete.view
        #expect(fixture.pop() == .chain)
        #expect(fixture.pieces == [Piece(0x2000, 16), Piece(0x3000, 512), Piece(0x4000, 1)])
    }

    @Test("A chain whose data is denied is malformed, with its status byte found, and asked for first")
    func deniedChain() throws {
        let memory = try TestMemory(size: 0x1_0000)
        let areas = RingAreas(descriptors: 0x8000, driver: 0x9000, device: 0xa000)
        let fixture = try RingFixture<SplitVirtqueue>(memory: memory, size: 4, features: [.version1], areas: areas)
        let buffers: [(UInt64, UInt32, UInt16)] = [
            (0x1000, 16, Flags.next), (0x2000, 512, Flags.next | Flags.write), (0x3000, 1, Flags.write),
        ]
        for (index, buffer) in buffers.enumerated() {
            memory.store(buffer.0, 0x8000 + 16 * index)
            memory.store(buffer.1, 0x8008 + 16 * index)
            memory.store(buffer.2, 0x800c + 16 * index)
            memory.store(UInt16(index + 1), 0x800e + 16 * index)
        }
        memory.store(UInt16(1), 0x9002)
        let partial = snapshot(memory, [(0x1000, 0x2000, .read), (0x2000, 0x3000, .read)])
        defer { withExtendedLifetime(partial) {} }
        fixture.view = partial.view
        fixture.view.denied = MemoryMiss(address: 0x2000, access: .write)
        #expect(fixture.pop() == .missed)
        #expect(fixture.view.miss == MemoryMiss(address: 0x3000, access: .write))
        let complete = snapshot(memory, [(0x1000, 0x2000, .read), (0x2000, 0x3000, .read), (0x3000, 0x4000, .write)])
        defer { withExtendedLifetime(complete) {} }
        fixture.view = complete.view
        fixture.view.denied = MemoryMiss(address: 0x2000, access: .write)
        #expect(fixture.pop() == .malformed(.unmappedBuffer))
        #expect(fixture.pieces == [Piece(0x4000, 1)])
    }
}
