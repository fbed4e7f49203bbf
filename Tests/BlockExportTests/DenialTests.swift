import BlockIO
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

@testable import BlockExport

/// Accesses that an IOMMU does not permit, told to a queue in time and too late.
@Suite struct DenialTests {
    @Test func aLateDenialConcernsNobodyOnASplitRing() throws { try deny(DriverSplitQueue.self, SplitVirtqueue.self, .split) }

    @Test func aLateDenialConcernsNobodyOnAPackedRing() throws { try deny(DriverPackedQueue.self, PackedVirtqueue.self, .packed) }

    /// Reads of which each has its data in pages of its own choice, and header and status in a page that is always translated.
    private struct Reads<Driver: DriverQueue> {
        let memory: DriverMemory
        let control: SharedBuffer
        let pages: [SharedBuffer]
        let area: DriverRingArea
        var driver: Driver

        init(_ format: RingFormat) throws {
            memory = try DriverMemory(anonymous: [.init(guestAddress: 0x1000, size: 1 << 20)])
            let options = DriverRingOptions(eventIndex: false, indirect: false, indirectCapacity: 0)
            area = try #require(DriverRingArea(size: 16, format: format, options: options, memory: memory))
            control = try #require(memory.allocate(4096, alignment: 4096))
            pages = try (0..<2).map { [memory] _ in try #require(memory.allocate(4096, alignment: 4096)) }
            driver = Driver(area: area, options: options)
        }

        mutating func add(_ token: UInt32, _ chosen: [Int]) {
            // unsafe: the page is as long as it is used here.
            unsafe control.pointer.storeBytes(of: 0xff, toByteOffset: 64 + Int(token), as: UInt8.self)
            let isAdded = driver.add(
                token: token, readable: [DriverSegment(address: control.guestAddress, length: 16)],
                writable: chosen.map { DriverSegment(address: pages[$0].guestAddress, length: 512) } + [
                    DriverSegment(address: control.guestAddress + 64 + UInt64(token), length: 1)
                ], indirect: false)
            #expect(isAdded)
            driver.publish()
        }

        func status(_ token: UInt32) -> UInt8 { unsafe control.pointer.load(fromByteOffset: 64 + Int(token), as: UInt8.self) }

        /// What the device sees while these pages are translated.
        func translations(_ chosen: [Int]) throws -> GuestMemory {
            GuestMemory(
                table: try memory.deviceMemory(),
                translations: ([control] + chosen.sorted().map { pages[$0] }).map { page in
                    unsafe MemoryRegion(guestAddress: page.guestAddress, size: 4096, frontendAddress: 0, hostBase: page.pointer)
                })
        }

        func miss(_ page: Int) -> MemoryMiss { MemoryMiss(address: pages[page].guestAddress, access: .write) }
    }

    private func deny<Driver: DriverQueue, Ring: Virtqueue>(_ driver: Driver.Type, _ ring: Ring.Type, _ format: RingFormat) throws {
        var reads = try Reads<Driver>(format)
        var features: VirtioFeatures = [.version1, .accessPlatform]
        if format == .packed { features.insert(.ringPacked) }
        let areas = unsafe RingAddresses(
            descriptors: reads.area.descriptors.pointer, driver: reads.area.driver.pointer, device: reads.area.device.pointer)
        let configuration = RingConfiguration(
            size: 16, addresses: areas, memory: try reads.translations([]), base: format == .packed ? .packedStart : RingBase(split: 0),
            features: features, kick: nil, isPolled: true, call: nil, error: nil, log: nil, inflight: nil)
        let setup = QueueSetup(
            identity: QueueIdentity(export: "disk", index: 0), ring: configuration,
            disk: try Disk(opening: ExportConfiguration(name: "disk", backing: .null(size: 1 << 20), endpoint: .path("/nowhere"))),
            counters: try QueueCounters(), pollMode: .adaptive, onFailure: { _ in })
        let queue = try QueueRunner<Ring, NullChannel>(setup: setup, channel: NullChannel(), node: nil)
        defer { queue.close() }
        func take() -> MemoryMiss? {
            if case .missed(_, let miss) = queue.take() { return miss }
            _ = queue.complete()
            return nil
        }
        func take(translating chosen: [Int]) throws -> MemoryMiss? {
            #expect(queue.replaceMemory(try reads.translations(chosen), RingPlace(addresses: areas)) == nil)
            return take()
        }

        reads.add(1, [0])
        #expect(try take(translating: [])?.page == reads.miss(0).page)
        #expect(try take(translating: [0]) == nil)
        #expect(reads.status(1) == 0, "the first read got its translation")

        reads.add(2, [1, 0])
        #expect(try take(translating: [])?.page == reads.miss(1).page)
        // Two answers about the read that is done: as if data and status of the one that waits were denied.
        for _ in 0..<2 {
            queue.deny(reads.miss(0))
            #expect(take()?.page == reads.miss(1).page, "the second read still waits")
        }
        #expect(try take(translating: [1])?.page == reads.miss(0).page, "what was denied to the first read is asked for, for the second")
        #expect(try take(translating: [1, 0]) == nil)
        #expect(reads.status(2) == 0, "and it is served")

        reads.add(3, [0])
        #expect(try take(translating: [])?.page == reads.miss(0).page)
        queue.deny(reads.miss(0))
        #expect(take() == nil)
        #expect(reads.status(3) == 1, "a denial in time ends its request")
        #expect(try reads.driver.reapAll().map(\.token) == [1, 2, 3])
    }
}
