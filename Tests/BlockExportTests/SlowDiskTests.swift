import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import TestSupport
import Testing
import VhostUserFrontend

/// Requests that the disk does not finish: stops are bounded, nothing is lost, nothing is done twice.
@Suite(.serialized) struct SlowDiskTests {
    private static func serve(_ disk: FreezableDisk, drainMilliseconds: UInt64 = 200, queueCount: Int = 1) async throws -> ServedExport {
        let path = disk.file
        return try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = .ioURing
            $0.queueCount = queueCount
            $0.drainTimeoutNanoseconds = drainMilliseconds * 1_000_000
        }
    }

    /// Writes a number, from 1 up, to each of the first so many blocks of 4 KiB, and gives the daemon time to hand them to the kernel.
    private static func submitWrites(_ count: Int, to queue: inout any BlockRequestQueue) {
        for slot in 0..<count {
            unsafe queue.buffer(slot).pointer.storeBytes(of: UInt64(slot + 1), as: UInt64.self)
            let isSubmitted = queue.submit(.write, slot: slot, sector: UInt64(slot * 8), length: 4096, toDevice: true)
            #expect(isSubmitted)
        }
        queue.flushSubmissions()
        pause(milliseconds: 50)
    }

    @Test(arguments: [false, true])
    func aStopDoesNotWaitForAStuckDisk(isPacked: Bool) async throws {
        let disk = try FreezableDisk()
        let served = try await Self.serve(disk)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked) { $0.tracksInflight = true })
        #expect(try #require(driver.request(.write, sector: 0, length: 4096)).status == .ok)

        try disk.freeze()
        Self.submitWrites(4, to: &driver.queues[0])
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

    /// A guest that was reset knows nothing of a write that another queue's kernel still has: none of its rings may read what that overwrites.
    @Test func noRingOfTheExportStartsBeforeThat() async throws {
        let disk = try FreezableDisk()
        let served = try await Self.serve(disk, queueCount: 2)
        let options = BlockDriver.options(isPacked: false) { $0.queueCount = 2 }
        let driver = try BlockDriver(path: served.path, options: options)
        try disk.freeze()
        Self.submitWrites(1, to: &driver.queues[1])
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        let next = try BlockDriver(path: served.path, options: options)
        for queue in await served.export.status.queues { #expect(queue.state == "waiting for abandoned requests") }
        try disk.thaw()
        #expect(try #require(next.request(.read, sector: 0, length: 4096)).status == .ok)
        #expect(unsafe next.queues[0].buffer(0).pointer.load(as: UInt64.self) == 1)
        next.close()
        try await served.stop()
    }

    /// A ring that waits for the end of its abandoned requests owes them to the driver, also when it is stopped again: the machine may move
    /// without the inflight region.
    @Test func aStopBeforeThatDoesThemFirst() async throws {
        let disk = try FreezableDisk()
        let served = try await Self.serve(disk, drainMilliseconds: 1000)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false) { $0.tracksInflight = true })
        try disk.freeze()
        Self.submitWrites(4, to: &driver.queues[0])
        try driver.stop()
        try driver.resume()
        #expect(await served.export.status.queues[0].state == "waiting for abandoned requests")
        let thawing = Thread {
            pause(milliseconds: 200)
            try? disk.thaw()
        }
        thawing.start()
        try driver.stop()
        #expect(await served.export.status.queues[0].state == "stopped")
        var seen: [Int] = []
        for _ in 0..<4 { seen.append(try #require(driver.next()).slot) }
        #expect(seen.sorted() == [0, 1, 2, 3], "each once, before the ring was given back")
        driver.close()
        try await served.stop()
    }

    @Test func aDisconnectAndADeleteAreBoundedToo() async throws {
        let disk = try FreezableDisk()
        let served = try await Self.serve(disk)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        try disk.freeze()
        Self.submitWrites(1, to: &driver.queues[0])
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        let before = MonotonicClock.now()
        try await served.export.shutdown(force: true)
        #expect(MonotonicClock.now() - before < 3_000_000_000)
        // The kernel has a request: the backing stays locked until it ended.
        #expect(throws: BackingError.self) { _ = try Backing.open(.file(path: disk.file), BackingOptions(isReadOnly: true)) }
        try disk.thaw()
        #expect(served.waitFor { if case .notice(let text) = $0 { text.hasSuffix("have ended") } else { false } })
        await served.endPollers()
    }
}
