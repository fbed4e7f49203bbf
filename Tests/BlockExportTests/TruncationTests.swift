import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

/// Front-ends that take memory away which they share. Their own mapping of it is not guarded: after the cut these tests do not touch it.
@Suite struct TruncationTests {
    /// Another export with its front-end, to see that it notices nothing.
    private func bystander(of served: ServedExport) async throws -> (ServedExport, BlockDriver) {
        let other = try await ServedExport.start(beside: served)
        return (other, try BlockDriver(path: other.path, options: BlockDriver.options(isPacked: false)))
    }

    private func expectEnd(of served: ServedExport, losses: UInt64 = 1) async throws {
        let reason = try #require(served.reasonOfDisconnection())
        #expect(reason.hasPrefix("memory that the front-end shares was taken away"), "\(reason)")
        #expect(await served.export.statistics.memoryLosses == losses)
        // The export is there for the next front-end.
        let next = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(try #require(next.request(.read, length: 512)).status == .ok)
        next.close()
    }

    @Test(arguments: [false, true], PollMode.allCases)
    func ofGuestMemoryEndsItsSessionOnly(isPacked: Bool, mode: PollMode) async throws {
        let served = try await ServedExport.start { $0.pollMode = mode }
        let (other, neighbour) = try await bystander(of: served)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        try driver.memory.files[0].truncate(to: 0)
        driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        #expect(try #require(neighbour.request(.read, length: 512)).status == .ok)
        try await expectEnd(of: served)
        #expect(try #require(neighbour.request(.read, length: 512)).status == .ok)
        neighbour.close()
        try await other.stopExport()
        try await served.stop()
    }

    /// An inflight region of the front-end's own, which nobody sealed.
    private func region(of driver: BlockDriver) throws -> InflightHandover {
        let description = InflightDescription(size: 1 << 20, offset: 0, queueCount: 1, queueSize: 64)
        return InflightHandover(description: description, file: try MemoryFile.create(name: "inflight", size: 1 << 20))
    }

    @Test(arguments: [false, true])
    func ofTheInflightRegionEndsItsSessionOnThePoller(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let (other, neighbour) = try await bystander(of: served)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        let region = try region(of: driver)
        try driver.stop()
        try driver.connection.setInflightRegion(region)
        try driver.resume()
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        try region.file.truncate(to: 0)
        let isSubmitted = driver.submitRead(slot: 0, length: 512)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        try await expectEnd(of: served)
        #expect(try #require(neighbour.request(.read, length: 512)).status == .ok)
        neighbour.close()
        try await other.stopExport()
        try await served.stop()
    }

    @Test func ofTheInflightRegionDoesNotHarmTheControlThread() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let region = try region(of: driver)
        try driver.connection.setInflightRegion(region)
        try region.file.truncate(to: 0)
        // RESET_DEVICE makes the region a fresh one, which the control thread writes to, and lets go of it: nothing of it is left to end for.
        try driver.connection.resetDevice()
        driver.close()
        let next = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(try #require(next.request(.read, length: 512)).status == .ok)
        next.close()
        try await served.stop()
    }

    @Test func ofHugePagesEndsItsSessionOnly() async throws {
        let pages = try HugePages()
        let file = try FileDescriptor.open(pages.folder + "/memory", flags: O_RDWR | O_CREAT)
        try file.truncate(to: 2 * UInt64(pages.size))
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        // The ring stays where it is; a region of huge pages is added, and an inflight region lies in the second of two.
        let description = InflightDescription(size: 1 << 20, offset: UInt64(pages.size), queueCount: 1, queueSize: 64)
        try driver.stop()
        try driver.connection.setInflightRegion(InflightHandover(description: description, file: file))
        try driver.resume()
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        try file.truncate(to: UInt64(pages.size))
        let isSubmitted = driver.submitRead(slot: 0, length: 512)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        try await expectEnd(of: served)
        try await served.stop()
    }

    @Test(arguments: [EngineKind.ioURing, .libaio], [DirectIO.automatic, .off])
    func ofABufferFailsTheRequestThatIsInIt(engine: EngineKind, direct: DirectIO) async throws {
        let path = NSTemporaryDirectory() + "vhublk-truncation-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(FileManager.default.createFile(atPath: path, contents: Data(repeating: 7, count: 1 << 20)))
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = engine
            $0.directIO = direct
        }
        let options = BlockDriver.options(isPacked: false) {
            $0.memory = [
                DriverMemory.Range(guestAddress: 0x4000_0000, size: 16 << 20), DriverMemory.Range(guestAddress: 0x8000_0000, size: 1 << 20),
            ]
        }
        let driver = try BlockDriver(path: served.path, options: options)
        let piece = DriverSegment(address: driver.memory.buffer(region: 1, offset: 4096, size: 4096).guestAddress, length: 4096)
        #expect(driver.submitRead(into: piece))
        driver.queues[0].flushSubmissions()
        #expect(try #require(driver.next()).status == .ok)
        try driver.memory.files[1].truncate(to: 0)
        #expect(driver.submitRead(into: piece))
        driver.queues[0].flushSubmissions()
        #expect(try #require(driver.next()).status == .ioError)
        #expect(try #require(driver.request(.read, length: 4096)).status == .ok, "the session goes on: only the kernel looked there")
        #expect(await served.export.statistics.memoryLosses == 0)
        driver.close()
        try await served.stop()
    }

    @Test func aFileThatGrowsChangesNothing() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let size = driver.memory.regions[0].size
        try driver.memory.files[0].truncate(to: 2 * size)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        // What was added is in the file and not in the region.
        let beyond = DriverSegment(address: driver.memory.regions[0].guestAddress + size, length: 4096)
        #expect(driver.submitRead(into: beyond))
        driver.queues[0].flushSubmissions()
        #expect(try #require(driver.next()).status == .ioError)
        #expect(await served.export.statistics.total.malformed == 1)
        driver.close()
        try await served.stop()
    }
}

/// A hugetlbfs of its own with two pages of the default size. Needs root, as the disks of SlowDiskTests do.
private final class HugePages {
    let folder: String
    let size: Int
    private static let count = "/proc/sys/vm/nr_hugepages"
    private let before: String

    init() throws {
        folder = NSTemporaryDirectory() + "vhublk-huge-\(UUID().uuidString)"
        before = try #require(SystemFile.text(Self.count))
        let line = try #require(SystemFile.text("/proc/meminfo")?.split(separator: "\n").first { $0.hasPrefix("Hugepagesize:") })
        size = try #require(line.split(separator: " ").compactMap { Int($0) }.first) * 1024
        try Self.run("echo $((\(before) + 2)) > \(Self.count); mkdir \(folder) && mount -t hugetlbfs none \(folder)")
    }

    deinit { try? Self.run("umount -l \(folder); rmdir \(folder); echo \(before) > \(Self.count)") }

    private static func run(_ script: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(script)")
    }
}
