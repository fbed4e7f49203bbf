import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import TestSupport
import Testing
import VhostUser
import VhostUserFrontend

/// Guest memory that is registered with io_uring.
@Suite(.serialized) struct RegistrationTests {
    /// A file of 1 MiB, served with registered memory by the engine.
    private final class Served {
        let path: String
        let served: ServedExport

        init(_ engine: EngineKind = .ioURing, pollMode: PollMode = .adaptive) async throws {
            let path = NSTemporaryDirectory() + "vhublk-registration-\(UUID().uuidString)"
            self.path = path
            #expect(FileManager.default.createFile(atPath: path, contents: Data(count: 1 << 20)))
            served = try await ServedExport.start {
                $0.backing = .file(path: path)
                $0.engine = engine
                $0.registersMemory = true
                $0.pollMode = pollMode
            }
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        /// Waits, five seconds at most, until as many bytes are registered for queue 0.
        func expectRegistered(_ bytes: UInt64) async {
            for _ in 0..<500 {
                if await served.export.status.queues[0].registeredBytes == bytes { return }
                pause(milliseconds: 10)
            }
            #expect(await served.export.status.queues[0].registeredBytes == bytes)
        }
    }

    /// Kibibytes that the kernel has pinned for this process.
    private static func pinned() throws -> Int {
        let line = try #require(SystemFile.text("/proc/self/status")?.split(separator: "\n").first { $0.hasPrefix("VmPin:") })
        return try #require(line.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }.first)
    }

    /// Waits, ten seconds at most, until less is pinned than the smallest region of ours; other tests pin a little for a moment.
    private static func expectUnpinned() throws {
        for _ in 0..<1000 {
            if try pinned() < 24 << 10 { return }
            pause(milliseconds: 10)
        }
        #expect(try pinned() < 24 << 10)
    }

    private static func writeAndReadBack(_ driver: BlockDriver, _ value: UInt64) throws {
        for slot in 0..<8 {
            unsafe driver.queues[0].buffer(slot).pointer.storeBytes(of: value &+ UInt64(slot), as: UInt64.self)
            let isSubmitted = driver.queues[0].submit(.write, slot: slot, sector: UInt64(slot * 8), length: 4096, toDevice: true)
            #expect(isSubmitted)
        }
        driver.queues[0].flushSubmissions()
        for _ in 0..<8 { #expect(try #require(driver.next()).status == .ok) }
        for slot in 8..<16 {
            let isSubmitted = driver.queues[0].submit(.read, slot: slot, sector: UInt64((slot - 8) * 8), length: 4096, toDevice: false)
            #expect(isSubmitted)
        }
        driver.queues[0].flushSubmissions()
        for _ in 0..<8 { #expect(try #require(driver.next()).status == .ok) }
        for slot in 8..<16 { #expect(unsafe driver.queues[0].buffer(slot).pointer.load(as: UInt64.self) == value &+ UInt64(slot - 8)) }
    }

    private static let ranges = [
        DriverMemory.Range(guestAddress: 0x4000_0000, size: 40 << 20), DriverMemory.Range(guestAddress: 0x8000_0000, size: 24 << 20),
    ]

    private static func driver(_ served: ServedExport, isPacked: Bool) throws -> BlockDriver {
        try BlockDriver(
            path: served.path,
            options: BlockDriver.options(isPacked: isPacked) {
                $0.memory = ranges
                $0.addsRegionsOneByOne = true
            })
    }

    @Test(arguments: [false, true])
    func memoryIsPinnedAsLongAsARingUsesIt(isPacked: Bool) async throws {
        let disk = try await Served()
        let driver = try Self.driver(disk.served, isPacked: isPacked)
        // From the first request on, pinned or not.
        try Self.writeAndReadBack(driver, 100)
        await disk.expectRegistered(64 << 20)
        #expect(try Self.pinned() >= 64 << 10)
        try Self.writeAndReadBack(driver, 200)
        driver.close()
        try Self.expectUnpinned()
        // And for the next front-end.
        let next = try Self.driver(disk.served, isPacked: isPacked)
        await disk.expectRegistered(64 << 20)
        try Self.writeAndReadBack(next, 300)
        next.close()
        try await disk.served.stop()
        try Self.expectUnpinned()
    }

    @Test func regionsComeAndGoWhileRequestsRun() async throws {
        let disk = try await Served()
        let driver = try Self.driver(disk.served, isPacked: false)
        await disk.expectRegistered(64 << 20)
        for round in 1...5 as ClosedRange<UInt64> {
            try driver.connection.removeRegion(1, of: driver.memory)
            await disk.expectRegistered(40 << 20)
            try Self.writeAndReadBack(driver, round * 100)
            try driver.connection.addRegion(1, of: driver.memory)
            try Self.writeAndReadBack(driver, round * 200)
            await disk.expectRegistered(64 << 20)
        }
        // Mapped anew, while the old mapping is pinned.
        try driver.connection.setMemory(driver.memory)
        try Self.writeAndReadBack(driver, 7)
        await disk.expectRegistered(64 << 20)
        driver.close()
        try await disk.served.stop()
        try Self.expectUnpinned()
    }

    /// A poller that does nothing but pin looks at the kicks of its queues between two pieces.
    @Test func kicksAreReadWhileMemoryIsPinned() async throws {
        let disk = try await Served(pollMode: .interrupt)
        let driver = try BlockDriver(
            path: disk.served.path, options: BlockDriver.options(isPacked: false) { $0.memory = [Self.ranges[0]] })
        await disk.expectRegistered(40 << 20)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        pause(milliseconds: 20)
        let more = try DriverMemory(shared: [.init(guestAddress: 1 << 32, size: 1 << 30)])
        try driver.connection.addRegion(0, of: more)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        #expect(await disk.served.export.status.queues[0].registeredBytes == 40 << 20, "the request did not wait for the gigabyte")
        driver.close()
        try await disk.served.stop()
        try Self.expectUnpinned()
    }

    @Test func theNextPollerRegistersItToo() async throws {
        let disk = try await Served()
        let driver = try Self.driver(disk.served, isPacked: true)
        await disk.expectRegistered(64 << 20)
        for cpu in Topology().cpus.numbers {
            try await disk.served.export.move(queue: 0, to: cpu)
            try Self.writeAndReadBack(driver, UInt64(cpu))
            await disk.expectRegistered(64 << 20)
        }
        driver.close()
        try await disk.served.stop()
    }

    @Test func whatCannotBePinnedIsToldAndServedAllTheSame() async throws {
        let disk = try await Served()
        let driver = try BlockDriver(
            path: disk.served.path, options: BlockDriver.options(isPacked: false) { $0.memory = [Self.ranges[0]] })
        await disk.expectRegistered(40 << 20)
        // Linux pins no file of a disk's file system for long and for writing.
        let path = "/var/tmp/vhublk-registration-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let file = try FileDescriptor.open(path, flags: O_RDWR | O_CREAT)
        try file.truncate(to: 24 << 20)
        let region = MemoryRegionDescription(guestAddress: 0x8000_0000, size: 24 << 20, frontendAddress: 1 << 46, mapOffset: 0)
        try driver.connection.tell(.addMemoryRegion, .memoryRegion(region), descriptors: [file])
        var reason: String?
        for _ in 0..<500 where reason == nil {
            reason = await disk.served.export.status.queues[0].unregisteredReason
            pause(milliseconds: 10)
        }
        #expect(reason == "the kernel registers no such memory: it is older than 5.19, or the memory is a file on a disk")
        #expect(await disk.served.export.status.queues[0].registeredBytes == 40 << 20)
        try Self.writeAndReadBack(driver, 5)
        driver.close()
        try await disk.served.stop()
    }

    @Test func otherEnginesSaySo() async throws {
        let disk = try await Served(.libaio)
        let driver = try Self.driver(disk.served, isPacked: false)
        try Self.writeAndReadBack(driver, 9)
        let queue = await disk.served.export.status.queues[0]
        #expect(queue.unregisteredReason == "only io_uring registers memory, and the engine is libaio")
        #expect(queue.registeredBytes == 0)
        driver.close()
        try await disk.served.stop()
    }
}
