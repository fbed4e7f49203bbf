import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import VhostUserFrontend

/// Requests that the disk does not finish: stops are bounded, nothing is lost, nothing is done twice. The disk is a file on a file system
/// that is frozen (fsfreeze), so that writes wait in the kernel for exactly as long as the test wants. Needs root, as loop mounts do.
@Suite(.serialized) struct SlowDiskTests {
    /// A small ext4 in memory, mounted.
    final class FreezableDisk {
        let folder: String
        var file: String { folder + "/mount/disk.img" }

        init() throws {
            folder = "/dev/shm/vhublk-slow-\(UUID().uuidString)"
            try Shell.run("mkdir -p \(folder)/mount && truncate -s 64M \(folder)/image && mkfs.ext4 -q \(folder)/image")
            try Shell.run(
                "mount -o loop \(folder)/image \(folder)/mount && dd if=/dev/zero of=\(folder)/mount/disk.img bs=1M count=16 status=none")
            try Shell.run("sync -f \(folder)/mount")
        }

        func freeze() throws { try Shell.run("fsfreeze -f \(folder)/mount") }
        func thaw() throws { try Shell.run("fsfreeze -u \(folder)/mount") }

        deinit {
            // Lazily: the export's backing may have the file open for a moment longer.
            try? Shell.run("umount -l \(folder)/mount; rm -rf \(folder)")
        }
    }

    @Test(arguments: [false, true])
    func aStopDoesNotWaitForAStuckDisk(isPacked: Bool) async throws {
        let disk = try FreezableDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = .ioURing
            $0.drainTimeoutNanoseconds = 200_000_000
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked) { $0.tracksInflight = true })
        #expect(try #require(driver.request(.write, sector: 0, length: 4096)).status == .ok)

        try disk.freeze()
        for slot in 0..<4 {
            unsafe driver.queues[0].buffer(slot).pointer.storeBytes(of: UInt64(slot + 1), as: UInt64.self)
            let isSubmitted = driver.queues[0].submit(.write, slot: slot, sector: UInt64(slot * 8), length: 4096, toDevice: true)
            #expect(isSubmitted)
        }
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 50)
        let before = MonotonicClock.now()
        try driver.stop()
        #expect(MonotonicClock.now() - before < 3_000_000_000, "GET_VRING_BASE is bounded")
        #expect(await served.export.status.queues[0].state == "stopped, requests abandoned")

        // Started again, the ring waits for what the kernel still has: a write of before must not land after one of now.
        try driver.resume()
        #expect(await served.export.status.queues[0].state == "waiting for abandoned requests")
        try disk.thaw()
        var seen: [Int] = []
        for _ in 0..<4 {
            let done = try #require(driver.next())
            #expect(done.status == .ok)
            seen.append(done.slot)
        }
        #expect(seen.sorted() == [0, 1, 2, 3], "each once")
        for slot in 0..<4 {
            let read = try #require(driver.request(.read, sector: UInt64(slot * 8), length: 4096))
            #expect(read.status == .ok)
            #expect(unsafe driver.queues[0].buffer(0).pointer.load(as: UInt64.self) == UInt64(slot + 1))
        }
        driver.close()
        try await served.stop()
    }

    @Test func aDisconnectAndADeleteAreBoundedToo() async throws {
        let disk = try FreezableDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = .ioURing
            $0.drainTimeoutNanoseconds = 200_000_000
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        try disk.freeze()
        let isSubmitted = driver.queues[0].submit(.write, slot: 0, sector: 0, length: 4096, toDevice: true)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 50)
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        let before = MonotonicClock.now()
        try await served.export.shutdown(force: true)
        #expect(MonotonicClock.now() - before < 3_000_000_000)
        // The kernel has a request: the backing stays locked until it ended.
        #expect(throws: BackingError.self) { _ = try Backing.open(.file(path: path), BackingOptions(isReadOnly: true)) }
        try disk.thaw()
        #expect(served.waitFor { if case .notice(let text) = $0 { text.hasSuffix("have ended") } else { false } })
        await served.endPollers()
    }
}
