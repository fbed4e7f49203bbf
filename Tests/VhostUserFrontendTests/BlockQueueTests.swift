import Testing
import VhostUserFrontend
import Virtio

/// Requests as they lie in guest memory; the test plays the device by hand.
@Suite struct BlockQueueTests {
    private func queue(_ adjust: (inout BlockQueueLayout) -> Void = { _ in }) throws -> BlockQueue<DriverSplitQueue> {
        var layout = BlockQueueLayout(ringSize: 16, slotCount: 4, slotBytes: 4096)
        adjust(&layout)
        let memory = try DriverMemory(anonymous: [.init(guestAddress: 0x4000_0000, size: layout.memoryBytes)])
        return try BlockQueue(layout: layout, memory: memory)
    }

    /// Address, length and flags of each descriptor of the only chain, direct or through its table.
    private func chain(_ queue: BlockQueue<DriverSplitQueue>) -> [(address: UInt64, length: UInt32, flags: UInt16)] {
        func descriptor(_ pointer: UnsafeMutableRawPointer) -> (address: UInt64, length: UInt32, flags: UInt16) {
            unsafe (
                pointer.load(as: UInt64.self), pointer.load(fromByteOffset: 8, as: UInt32.self),
                pointer.load(fromByteOffset: 12, as: UInt16.self)
            )
        }
        let area = queue.ring.area
        let head = unsafe descriptor(area.descriptors.pointer)
        let isTable = head.flags & RingFlag.indirect != 0
        let base = unsafe isTable ? area.tables.pointer : area.descriptors.pointer
        var chain: [(address: UInt64, length: UInt32, flags: UInt16)] = []
        repeat { chain.append(unsafe descriptor(base + 16 * chain.count)) } while chain[chain.count - 1].flags & RingFlag.next != 0
        return chain
    }

    private func bytes(_ queue: BlockQueue<DriverSplitQueue>, at address: UInt64, _ count: Int) throws -> [UInt8] {
        let guest = try queue.memory.deviceMemory()
        var view = guest.view
        let pointer = try unsafe #require(unsafe view.translate(address, UInt64(count)))
        return unsafe Array(UnsafeRawBufferPointer(start: pointer, count: count))
    }

    @Test(arguments: [true, false]) func readRequest(indirect: Bool) throws {
        var queue = try queue { $0.usesIndirect = indirect }
        let isAdded = queue.submit(.read, slot: 2, sector: 0x1122, length: 1024, toDevice: false)
        #expect(isAdded)
        let chain = chain(queue)
        #expect(chain.map(\.length) == [16, 1024, 1])
        #expect(chain.map { $0.flags & RingFlag.write } == [0, 2, 2])
        #expect(chain[1].address == queue.buffer(2).guestAddress)
        #expect(try bytes(queue, at: chain[0].address, 16) == [0, 0, 0, 0, 0, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0])
        #expect(try bytes(queue, at: chain[2].address, 1) == [0xff], "a status that no device writes")
        #expect(queue.ring.freeCount == (indirect ? 15 : 13))
    }

    @Test func dataIsCutIntoSegments() throws {
        var queue = try queue { $0.segmentBytes = 1500 }
        #expect(queue.layout.dataSegmentsMax == 3)
        let isAdded = queue.submit(.write, slot: 0, sector: 8, length: 4096, toDevice: true)
        #expect(isAdded)
        let chain = chain(queue)
        #expect(chain.map(\.length) == [16, 1500, 1500, 1096, 1])
        #expect(chain.map { $0.flags & RingFlag.write } == [0, 0, 0, 0, 2])
        #expect(chain[3].address == queue.buffer(0).guestAddress + 3000)
        #expect(try bytes(queue, at: chain[0].address, 8) == [1, 0, 0, 0, 0, 0, 0, 0])
    }

    @Test func flushHasNoData() throws {
        var queue = try queue()
        let isAdded = queue.submit(.flush, slot: 1, sector: 0, length: 0, toDevice: true)
        #expect(isAdded)
        #expect(chain(queue).map(\.length) == [16, 1])
    }

    @Test func rangesOfWriteZeroes() throws {
        var queue = try queue()
        let ranges = [
            SectorRange(sector: 0x10, sectorCount: 8, flags: SectorRange.unmap), SectorRange(sector: 0x1_0000_0000, sectorCount: 1),
        ]
        let isAdded = queue.submit(.writeZeroes, slot: 3, ranges: ranges)
        #expect(isAdded)
        let chain = chain(queue)
        #expect(chain.map(\.length) == [16, 32, 1])
        #expect(
            try bytes(queue, at: chain[1].address, 32) == [
                0x10, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
            ])
    }

    @Test func piecesAnywhere() throws {
        var queue = try queue { $0.segmentBytes = 1024 }
        let pieces = [DriverSegment(address: 0x4000_0100, length: 3), DriverSegment(address: 0x4000_0001, length: 509)]
        let isAdded = queue.submit(.read, slot: 0, sector: 1, pieces: pieces, toDevice: false)
        #expect(isAdded)
        #expect(chain(queue)[1...2].map { DriverSegment(address: $0.address, length: $0.length) } == pieces)
    }

    @Test func completionsNameSlotAndStatus() throws {
        var queue = try queue { $0.usesIndirect = false }
        let isAdded = queue.submit(.read, slot: 3, sector: 0, length: 512, toDevice: false)
        #expect(isAdded)
        queue.flushSubmissions()
        #expect(queue.kickCount == 1)
        let status = chain(queue)[2].address
        let offset = Int(status - 0x4000_0000)
        // The device: status, used element, index.
        unsafe queue.memory.buffer(region: 0, offset: offset, size: 1).pointer.storeBytes(of: 2, as: UInt8.self)
        unsafe queue.ring.area.device.pointer.storeBytes(of: 513, toByteOffset: 8, as: UInt32.self)
        unsafe queue.ring.area.device.pointer.storeBytes(of: 1, toByteOffset: 2, as: UInt16.self)
        var completion = BlockCompletion()
        let first = queue.poll(&completion)
        #expect(first == .completed)
        #expect(completion == BlockCompletion(slot: 3, status: .unsupported, length: 513))
        let second = queue.poll(&completion)
        #expect(second == .none)
    }

    @Test func tooSmallMemoryIsTold() throws {
        let memory = try DriverMemory(anonymous: [.init(guestAddress: 0, size: 4096)])
        let error = #expect(throws: FrontendError.self) { try BlockQueue<DriverPackedQueue>(layout: BlockQueueLayout(), memory: memory) }
        #expect(error?.kind == .memory)
    }
}

@Suite struct BlockConfigTests {
    @Test func fieldsOfTheSpecification() {
        // Each byte is its own offset: a field that is read from the wrong place shows.
        let config = BlockConfig((0..<72).map { UInt8($0) })
        #expect(config.capacity == 0x0706_0504_0302_0100)
        #expect((config.sizeMax, config.segmentMax, config.blockSize) == (0x0b0a_0908, 0x0f0e_0d0c, 0x1716_1514))
        #expect((config.physicalBlockExponent, config.alignmentOffset) == (24, 25))
        #expect((config.minimumIOSize, config.optimalIOSize) == (0x1b1a, 0x1f1e_1d1c))
        #expect((config.writeback, config.queueCount) == (32, 0x2322))
        #expect((config.discardSectorsMax, config.discardSegmentsMax, config.discardAlignment) == (0x2726_2524, 0x2b2a_2928, 0x2f2e_2d2c))
        #expect((config.writeZeroesSectorsMax, config.writeZeroesSegmentsMax) == (0x3332_3130, 0x3736_3534))
        #expect(config.writeZeroesMayUnmap == 56)
        #expect((config.secureEraseSectorsMax, config.secureEraseSegmentsMax) == (0x3f3e_3d3c, 0x4342_4140))
        #expect(config.secureEraseAlignment == 0x4746_4544)
    }

    @Test func whatIsNotThereIsNil() {
        let config = BlockConfig([UInt8](repeating: 1, count: 36))
        #expect(config.queueCount == 0x0101)
        #expect(config.discardSectorsMax == nil)
        #expect(config.fields([.blockMultiQueue, .blockDiscard]).map(\.name) == ["capacity", "num_queues"])
        #expect(BlockConfig([]).capacity == 0)
    }
}
