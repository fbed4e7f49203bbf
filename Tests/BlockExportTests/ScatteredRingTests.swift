import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import TestSupport
import VhostUserFrontend
import Virtio

/// Rings, and buffers, of which no two pages follow each other in guest memory, as a Linux guest behind an IOMMU makes them.
@Suite struct ScatteredRingTests {
    static let diskBytes = 1 << 20

    private static func options(
        isPacked: Bool, ringSize: Int = 1024, adjust: (inout BlockDriverOptions) -> Void = { _ in }
    ) -> BlockDriverOptions {
        BlockDriver.options(isPacked: isPacked, ringSize: ringSize) { options in
            options.usesIOMMU = true
            options.scattersPages = true
            options.layout.slotBytes = 16 << 10
            adjust(&options)
        }
    }

    /// An export of a file in memory.
    private static func with(
        _ body: (_ served: ServedExport, _ disk: String) async throws -> Void
    ) async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = folder.path + "/disk"
        try Data(count: diskBytes).write(to: URL(fileURLWithPath: path))
        let served = try await ServedExport.start { $0.backing = .file(path: path) }
        try await body(served, path)
        try await served.stop()
    }

    /// The ring's areas, and where each of their pages begins by I/O virtual address.
    private static func ringPages(_ driver: BlockDriver, _ queue: Int = 0) -> [UInt64] {
        let area = driver.queues[queue].endpoint.area
        let pages = [area.descriptors, area.driver, area.device].flatMap { part in
            stride(from: part.guestAddress & ~4095, through: part.guestAddress + UInt64(part.size) - 1, by: 4096)
        }
        return Array(Set(pages)).sorted()
    }

    /// Each block of 512 bytes is of one value, which its neighbours are not of.
    private static func fill(_ buffer: SharedBuffer, _ length: Int, _ seed: Int) {
        for block in 0..<length / 512 {
            // In the buffer, which is as long as a slot.
            unsafe (buffer.pointer + 512 * block).initializeMemory(
                as: UInt8.self, repeating: UInt8(truncatingIfNeeded: seed &* 37 &+ block), count: 512)
        }
    }

    private static func bytes(_ buffer: SharedBuffer, _ length: Int) -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: buffer.pointer, count: length))
    }

    /// Keeps eight requests under way on a queue until `count` have been done.
    private static func run(_ driver: BlockDriver, queue: Int = 0, count: Int, each: (Int) throws -> Void = { _ in }) throws {
        for slot in 0..<8 { #expect(driver.submitRead(slot: slot, length: 4096, queue: queue)) }
        driver.queues[queue].flushSubmissions()
        for number in 0..<count {
            try each(number)
            let completion = try #require(driver.next(queue), "request \(number)")
            #expect(completion.status == .ok)
            guard number + 8 < count else { continue }
            #expect(driver.submitRead(slot: completion.slot, length: 4096, queue: queue))
            driver.queues[queue].flushSubmissions()
        }
    }

    @Test(
        "What is written is read, through every page of the ring, and is in the image at the end", arguments: [false, true],
        [256, 1024, 4096])
    func data(isPacked: Bool, ringSize: Int) async throws {
        for queueCount in [1, 2] {
            try await Self.with { served, disk in
                let driver = try BlockDriver(
                    path: served.path, options: Self.options(isPacked: isPacked, ringSize: ringSize) { $0.queueCount = queueCount })
                let pages = Self.ringPages(driver)
                #expect(pages.count > 16 * ringSize / 4096)
                for (page, next) in zip(pages, pages.dropFirst()) {
                    let (here, there) = (try #require(driver.memory.tableAddress(page)), try #require(driver.memory.tableAddress(next)))
                    #expect(here + 4096 != there, "the pages lie apart")
                }
                let length = 16 << 10
                var written: [UInt8] = []
                // Each request takes one element: the ring is gone through more than once.
                let rounds = max(Self.diskBytes / length / 8, ringSize / 16 + 8)
                for round in 0..<rounds {
                    let queue = round % queueCount
                    let sector = UInt64(round % (Self.diskBytes / length / 8)) * 8 * UInt64(length / 512)
                    if sector == 0 { written = [] }
                    for slot in 0..<8 {
                        Self.fill(driver.queues[queue].buffer(slot), length, round * 8 + slot)
                        written += Self.bytes(driver.queues[queue].buffer(slot), length)
                        let isSubmitted = driver.queues[queue].submit(
                            .write, slot: slot, sector: sector + UInt64(slot * length / 512), length: length, toDevice: true)
                        #expect(isSubmitted)
                    }
                    driver.queues[queue].flushSubmissions()
                    for _ in 0..<8 { #expect(try #require(driver.next(queue)).status == .ok) }
                    for slot in 0..<8 {
                        let isSubmitted = driver.queues[queue].submit(
                            .read, slot: slot + 8, sector: sector + UInt64(slot * length / 512), length: length, toDevice: false)
                        #expect(isSubmitted)
                    }
                    driver.queues[queue].flushSubmissions()
                    for _ in 0..<8 { #expect(try #require(driver.next(queue)).status == .ok) }
                    let seen = (8..<16).flatMap { Self.bytes(driver.queues[queue].buffer($0), length) }
                    let isSame = seen.elementsEqual(written.suffix(8 * length))
                    #expect(isSame, "round \(round)")
                }
                let image = try Data(contentsOf: URL(fileURLWithPath: disk))
                #expect(written.elementsEqual(image.prefix(written.count)))
                driver.close()
            }
        }
    }

    @Test("Each page of the ring is invalidated, alone, under load", arguments: [false, true])
    func invalidation(isPacked: Bool) async throws {
        try await Self.with { served, _ in
            let driver = try BlockDriver(path: served.path, options: Self.options(isPacked: isPacked) { $0.queueCount = 2 })
            let server = try #require(driver.translations)
            let pages = Self.ringPages(driver)
            #expect(pages.count >= (isPacked ? 5 : 7))
            try Self.run(driver, count: 2000) { number in
                if number % 10 == 0 { try server.invalidate(iova: pages[number / 10 % pages.count], size: 4096) }
                // The other ring's too, which is quiet.
                if number % 50 == 0 { try server.invalidate(iova: Self.ringPages(driver, 1)[number / 50 % pages.count], size: 4096) }
            }
            #expect(try #require(driver.request(.read, length: 4096, queue: 1)).status == .ok)
            #expect(server.denialCount == 0 && server.missCount >= 200)
            driver.close()
        }
    }

    @Test(
        "A page that may not be written, and one that is not where a page begins, stop the ring until they are mended",
        arguments: [false, true])
    func unusablePages(isPacked: Bool) async throws {
        try await Self.with { served, _ in
            let driver = try BlockDriver(path: served.path, options: Self.options(isPacked: isPacked))
            let server = try #require(driver.translations)
            let area = driver.queues[0].endpoint.area
            let part = isPacked ? area.descriptors : area.device
            // The second page of what the device writes.
            let page = (part.guestAddress & ~4095) + 4096
            let number = Int((page - driver.memory.regions[0].guestAddress) / 4096)
            let right = driver.memory.frontendPage(number, of: 0)
            try Self.run(driver, count: 100)
            for (place, access) in [(right, MemoryAccess.read), (right - 512, .readWrite), (right + 8, .readWrite)] {
                server.change { $0.map(iova: page, size: 4096, frontendAddress: place, access: access) }
                try server.invalidate(iova: page, size: 4096)
                #expect(driver.submitRead(slot: 0, length: 4096))
                driver.queues[0].flushSubmissions()
                pause(milliseconds: 50)
                var completion = BlockCompletion()
                #expect(driver.queues[0].poll(&completion) == .none, "the ring stands still")
                server.change { $0.map(iova: page, size: 4096, frontendAddress: right) }
                try server.invalidate(iova: page, size: 4096)
                #expect(try #require(driver.next()).status == .ok)
                try Self.run(driver, count: 100)
            }
            let reasons = served.told.compactMap { if case .notice(let text) = $0 { text } else { nil } }
            #expect(reasons.contains { $0.contains("have to meet at page boundaries") }, "\(reasons)")
            driver.close()
        }
    }

    @Test("A memory file that is cut short ends the session, whichever mapping is touched", arguments: [false, true], PollMode.allCases)
    func truncated(isPacked: Bool, mode: PollMode) async throws {
        let served = try await ServedExport.start { $0.pollMode = mode }
        let other = try await ServedExport.start(beside: served)
        let neighbour = try BlockDriver(path: other.path, options: Self.options(isPacked: isPacked))
        let driver = try BlockDriver(path: served.path, options: Self.options(isPacked: isPacked))
        #expect(try #require(driver.request(.read, length: 4096)).status == .ok)
        // From here on this driver's memory is not touched: its own mapping is not guarded.
        try driver.memory.files[0].truncate(to: 0)
        driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        #expect(try #require(neighbour.request(.read, length: 4096)).status == .ok)
        let reason = try #require(served.reasonOfDisconnection())
        #expect(reason.hasPrefix("memory that the front-end shares was taken away"), "\(reason)")
        let next = try BlockDriver(path: served.path, options: Self.options(isPacked: isPacked))
        #expect(try #require(next.request(.read, length: 4096)).status == .ok)
        #expect(try #require(neighbour.request(.read, length: 4096)).status == .ok)
        for driver in [next, neighbour] { driver.close() }
        try await other.stopExport()
        try await served.stop()
    }

    @Test("Each write to guest memory is in the dirty log at its guest-physical page, and no other page", arguments: [false, true])
    func dirtyLog(isPacked: Bool) async throws {
        try await Self.with { served, _ in
            let driver = try BlockDriver(path: served.path, options: Self.options(isPacked: isPacked))
            let buffer = driver.queues[0].buffer(0)
            func pages(_ part: SharedBuffer, _ length: Int? = nil) throws -> [UInt64] {
                try stride(from: part.guestAddress & ~4095, through: part.guestAddress + UInt64(length ?? part.size) - 1, by: 4096).map {
                    try #require(driver.memory.tableAddress($0))
                }
            }
            let area = driver.queues[0].endpoint.area
            let ring = Set(try pages(area.device) + (isPacked ? pages(area.descriptors) : []))
            #expect(ring.count >= 3)
            let server = try #require(driver.translations)
            // Everything is known: nothing is asked for while the log is switched.
            try Self.run(driver, count: 2100)
            #expect(try #require(driver.request(.read, length: 16 << 10)).status == .ok)
            // It is locked until the last answer has been read.
            _ = server.iommu
            let end = driver.memory.regions[0].guestAddress + driver.memory.tableOffset + driver.memory.regions[0].size
            let log = try DirtyBitmap(byteCount: end / (8 * 4096))
            try driver.startLogging(into: log)
            #expect(Set(log.takePages()) == ring, "what an earlier daemon may have written is marked at the start")
            let control = driver.memory.buffer(
                region: 0, offset: Int(buffer.guestAddress - driver.memory.regions[0].guestAddress) - 4096, size: 4096)
            #expect(try #require(driver.request(.read, length: 12 << 10)).status == .ok)
            pause(milliseconds: 5)
            let seen = Set(log.takePages())
            #expect(seen.subtracting(ring) == Set(try pages(buffer, 12 << 10) + pages(control)))
            // All elements of the ring.
            try Self.run(driver, count: 1100)
            pause(milliseconds: 5)
            #expect(Set(log.takePages()).intersection(ring) == ring)
            // Another translation of the same pages logs as before.
            try server.invalidate(iova: 0, size: 0)
            try Self.run(driver, count: 1100)
            pause(milliseconds: 5)
            #expect(Set(log.takePages()).intersection(ring) == ring)
            driver.close()
        }
    }

    @Test("Front-ends that go with requests in flight and come again with their inflight region, over and over", arguments: [false, true])
    func reconnections(isPacked: Bool) async throws {
        try await Self.with { served, _ in
            let driver = try BlockDriver(
                path: served.path,
                options: Self.options(isPacked: isPacked) {
                    $0.queueCount = 2
                    $0.tracksInflight = true
                })
            for _ in 0..<10 {
                for queue in 0..<2 {
                    for slot in 0..<32 { #expect(driver.submitRead(slot: slot, length: 4096, queue: queue)) }
                    driver.queues[queue].flushSubmissions()
                }
                try driver.reconnect(timeoutNanoseconds: 10_000_000_000)
                for queue in 0..<2 {
                    for _ in 0..<32 { #expect(try #require(driver.next(queue)).status == .ok) }
                }
            }
            driver.close()
        }
    }
}
