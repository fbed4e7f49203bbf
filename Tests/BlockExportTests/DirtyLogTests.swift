import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Synchronization
import Testing
import TestSupport
import VhostUserFrontend
import Virtio

/// The dirty log of an export that serves a file.
@Suite struct DirtyLogTests {
    /// Two rings of a file in memory whose blocks all differ, reads of which change every page they go to.
    static func with(
        isPacked: Bool, engine: EngineKind = .automatic, _ body: (ServedExport, BlockDriver, DirtyBitmap) async throws -> Void
    ) async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = folder.path + "/disk"
        var random = SystemRandomNumberGenerator()
        let words = (0..<(4 << 20) / 8).map { _ in random.next() }
        // The array lives for the call.
        try unsafe words.withUnsafeBytes { try unsafe Data($0).write(to: URL(fileURLWithPath: path)) }
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = engine
        }
        let driver = try BlockDriver(
            path: served.path,
            options: BlockDriver.options(isPacked: isPacked) {
                $0.queueCount = 2
                $0.tracksInflight = true
            })
        // The rings run once the backing is locked, which their start is not answered later for.
        for queue in 0..<2 { #expect(try #require(driver.request(.flush, queue: queue)).status == .ok) }
        try await body(served, driver, try DirtyBitmap(covering: driver.memory))
        driver.close()
        try await served.stop()
    }

    /// The page of the first queue's headers and status bytes, which lies before its data.
    private static func statusPage(_ driver: BlockDriver) -> SharedBuffer {
        let offset = driver.queues[0].buffer(0).guestAddress - driver.memory.regions[0].guestAddress
        return driver.memory.buffer(region: 0, offset: Int(offset) - 4096, size: 4096)
    }

    /// Page addresses of a range.
    private static func pages(_ address: UInt64, _ length: Int) -> [UInt64] {
        Array(stride(from: address & ~4095, through: (address + UInt64(length) - 1) & ~4095, by: 4096))
    }

    @Test("Each write to guest memory is in the log, and no other page; a second migration logs again", arguments: [false, true])
    func exact(isPacked: Bool) async throws {
        try await Self.with(isPacked: isPacked) { _, driver, log in
            for _ in 0..<2 {
                try driver.startLogging(into: log)
                let area = driver.queues[0].endpoint.area
                let ring = Set(
                    Self.pages(area.device.guestAddress, area.device.size)
                        + (isPacked ? Self.pages(area.descriptors.guestAddress, 1024) : []))
                #expect(ring.isSubset(of: log.takePages()), "what an earlier daemon may have written is marked at the start")
                let data = driver.queues[0].buffer(0).guestAddress
                let status = Self.statusPage(driver).guestAddress
                for (command, length, written) in [
                    (.read, 20_480, 20_480), (.write, 8192, 0), (.flush, 0, 0), (.getID, 20, 20), (.read, 512, 512),
                    (BlockCommand(rawValue: 99), 512, 0),
                ] as [(BlockCommand, Int, Int)] {
                    _ = try #require(driver.request(command, length: length))
                    // The ring is armed once it is quiet, which is a write too.
                    pause(milliseconds: 5)
                    let seen = log.takePages()
                    let buffers = Set(seen).subtracting(ring)
                    #expect(buffers == Set((written > 0 ? Self.pages(data, written) : []) + [status]), "request \(command.rawValue)")
                    #expect(!Set(seen).isDisjoint(with: ring))
                }
                try driver.stopLogging()
                _ = log.takePages()
                #expect(try #require(driver.request(.read, length: 4096)).status == .ok)
                pause(milliseconds: 5)
                #expect(log.takePages().isEmpty, "nothing after the end")
            }
        }
    }

    @Test("The eventfd of SET_LOG_FD is signalled, and a log that is too short for the ring's log address harms nobody")
    func notifier() async throws {
        try await Self.with(isPacked: false) { _, driver, log in
            let event = try EventFD()
            try driver.connection.setLogNotifier(event.descriptor)
            #expect(event.drain() == 0)
            try driver.startLogging(into: log)
            _ = event.drain()
            #expect(try #require(driver.request(.read, length: 512)).status == .ok)
            // What the ring wrote is told after the request is shown as used.
            var signals: UInt64 = 0
            for _ in 0..<500 where signals == 0 {
                signals = event.drain()
                pause(milliseconds: 1)
            }
            #expect(signals > 0)
            // "this value might be outside the legal guest physical address range", and beyond the log too.
            var area = driver.queues[0].endpoint.area
            for address in [UInt64.max, UInt64.max - 4, 1 << 62, log.byteCount * 8 * 4096] {
                let device = unsafe SharedBuffer(
                    pointer: area.device.pointer, guestAddress: address, frontendAddress: area.device.frontendAddress,
                    size: area.device.size)
                area = DriverRingArea(
                    size: area.size, format: area.format, descriptors: area.descriptors, driver: area.driver, device: device,
                    tables: area.tables, tableCapacity: area.tableCapacity)
                try driver.connection.setRingAddress(0, area, isLogged: true)
                #expect(try #require(driver.request(.read, length: 512)).status == .ok)
            }
        }
    }

    /// A copy of guest memory that follows the log while requests run, as a migration's does.
    final class Copy: Sendable {
        private let memory: DriverMemory
        private let target: MemoryMapping
        private let log: DirtyBitmap
        private let isEnding = Atomic<Bool>(false)
        private let hasEnded = Atomic<Bool>(false)

        init(_ memory: DriverMemory, _ log: DirtyBitmap) throws {
            (self.memory, self.log) = (memory, log)
            target = try MemoryMapping(anonymous: Int(memory.regions[0].size))
        }

        /// Copies everything, then what is dirty, from a thread of its own.
        func start() {
            unsafe target.base.copyMemory(from: memory.regions[0].hostBase, byteCount: Int(memory.regions[0].size))
            Thread.detachNewThread { [self] in
                while !isEnding.load(ordering: .acquiring) {
                    copyDirty()
                    pause(milliseconds: 1)
                }
                copyDirty()
                hasEnded.store(true, ordering: .releasing)
            }
        }

        /// The device has stopped: takes the rest.
        func finish() {
            isEnding.store(true, ordering: .releasing)
            while !hasEnded.load(ordering: .acquiring) { pause(milliseconds: 1) }
        }

        private func copyDirty() {
            let region = memory.regions[0]
            for page in log.takePages() {
                let offset = Int(page - region.guestAddress)
                unsafe (target.base + offset).copyMemory(from: region.hostBase + offset, byteCount: 4096)
            }
        }

        /// Whether a part of guest memory is the same in the copy.
        func isSame(_ part: SharedBuffer) -> Bool {
            let offset = Int(part.guestAddress - memory.regions[0].guestAddress)
            let bytes = unsafe UnsafeRawBufferPointer(start: part.pointer, count: part.size)
            return unsafe bytes.elementsEqual(UnsafeRawBufferPointer(start: target.base + offset, count: part.size))
        }
    }

    /// The control: without logging the same comparison fails.
    @Test(
        "A copy that follows the log while reads run is the same at the end; without the log it is not",
        arguments: [
            (false, true, .libaio), (true, true, .libaio), (false, true, .ioURing), (true, true, .ioURing), (false, false, .libaio),
        ]
            as [(Bool, Bool, EngineKind)])
    func follows(isPacked: Bool, isLogged: Bool, engine: EngineKind) async throws {
        try await Self.with(isPacked: isPacked, engine: engine) { _, driver, log in
            // Requests are in flight when logging is switched on.
            var random = SystemRandomNumberGenerator()
            for slot in 0..<16 { Self.submit(driver, slot, &random) }
            driver.queues[0].flushSubmissions()
            if isLogged { try driver.startLogging(into: log) }
            let copy = try Copy(driver.memory, log)
            copy.start()
            var count = 0
            while count < 3000 {
                let done = try #require(driver.next())
                #expect(done.status == .ok)
                count += 1
                if count <= 3000 - 16 {
                    Self.submit(driver, done.slot, &random)
                    driver.queues[0].flushSubmissions()
                }
            }
            try driver.stop()
            copy.finish()
            let area = driver.queues[0].endpoint.area
            let slots = (0..<16).map { copy.isSame(driver.queues[0].buffer($0)) }
            #expect(slots.allSatisfy { $0 } == isLogged, "data")
            guard isLogged else { return }
            #expect(copy.isSame(Self.statusPage(driver)), "status bytes")
            #expect(copy.isSame(area.device), "used ring, or device event suppression")
            if isPacked { #expect(copy.isSame(area.descriptors), "used descriptors") }
        }
    }

    private static func submit(_ driver: BlockDriver, _ slot: Int, _ random: inout SystemRandomNumberGenerator) {
        let length = Int.random(in: 1...16, using: &random) * 4096
        let sector = UInt64.random(in: 0..<UInt64((4 << 20) - length) / 512 / 8, using: &random) * 8
        precondition(driver.queues[0].submit(.read, slot: slot, sector: sector, length: length, toDevice: false))
    }

    @Test("Requests in flight over a change of memory are logged where they are")
    func memoryChanges() async throws {
        try await Self.with(isPacked: false) { _, driver, log in
            try driver.startLogging(into: log)
            _ = log.takePages()
            var random = SystemRandomNumberGenerator()
            for round in 0..<40 {
                for slot in 0..<8 { Self.submit(driver, slot, &random) }
                driver.queues[0].flushSubmissions()
                try driver.connection.setMemory(driver.memory)
                for _ in 0..<8 { #expect(try #require(driver.next()).status == .ok) }
                let seen = Set(log.takePages())
                for slot in 0..<8 { #expect(seen.contains(driver.queues[0].buffer(slot).guestAddress), "round \(round), slot \(slot)") }
            }
        }
    }

    @Test("Memory that is added during a migration is logged, in the longer log that comes before it", arguments: [false, true])
    func memoryIsAdded(isPacked: Bool) async throws {
        try await Self.with(isPacked: isPacked) { _, driver, log in
            try driver.startLogging(into: log)
            let added = try DriverMemory(shared: [DriverMemory.Range(guestAddress: 1 << 32, size: 1 << 20)])
            let longer = try DirtyBitmap(covering: added)
            // As QEMU does it: the longer log first, the last look at the shorter one, then the region.
            try driver.connection.setLog(longer)
            _ = log.takePages()
            try driver.connection.addRegion(0, of: added)
            _ = longer.takePages()
            let piece = added.buffer(region: 0, offset: 5 * 4096, size: 3 * 4096)
            let segment = DriverSegment(address: piece.guestAddress, length: UInt32(piece.size))
            let isTaken = driver.queues[0].submit(.read, slot: 0, sector: 0, pieces: [segment], toDevice: false)
            #expect(isTaken)
            driver.queues[0].flushSubmissions()
            #expect(try driver.awaitCompletion().status == .ok)
            #expect(Set(longer.takePages()).isSuperset(of: Self.pages(piece.guestAddress, piece.size)))
            #expect(log.takePages().isEmpty, "the shorter log is not used any more")
        }
    }
}
