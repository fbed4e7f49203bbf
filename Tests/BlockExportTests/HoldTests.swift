import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import VhostUserFrontend

/// Requests that the backing fails: held until it is back, or reported. The disk is a sparse file on a file system in memory that has no
/// room for it. Needs root, as mounts do.
@Suite(.serialized) struct HoldTests {
    static let requestBytes = 64 << 10
    static let requestCount = 32

    /// A disk of 16 MiB on 1 MiB of room.
    final class FullDisk {
        let folder = "/tmp/vhublk-full-\(UUID().uuidString)"
        var file: String { folder + "/disk.img" }

        init() throws {
            try Shell.run("mkdir \(folder) && mount -t tmpfs -o size=1m tmpfs \(folder) && truncate -s 16M \(file)")
        }

        func grow() throws { try Shell.run("mount -o remount,size=32m \(folder)") }

        deinit { try? Shell.run("umount -l \(folder); rmdir \(folder)") }
    }

    /// Writes of all slots at once, more than the disk has room for: each with its own content.
    static func submitAll(_ driver: BlockDriver) {
        for slot in 0..<requestCount {
            for word in 0..<(requestBytes / 8) {
                let value = UInt64(slot) << 32 | UInt64(word)
                unsafe driver.queues[0].buffer(slot).pointer.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
            }
            let sector = UInt64(slot * requestBytes / 512)
            let isSubmitted = driver.queues[0].submit(.write, slot: slot, sector: sector, length: requestBytes, toDevice: true)
            #expect(isSubmitted)
        }
        driver.queues[0].flushSubmissions()
    }

    /// Collects completions until as many requests as are not complete are held.
    static func waitUntilTheRestIsHeld(_ served: ServedExport, _ driver: BlockDriver, _ done: inout [Int]) async throws {
        var completion = BlockCompletion()
        for _ in 0..<1000 {
            while driver.queues[0].poll(&completion) == .completed {
                #expect(completion.status == .ok)
                done.append(completion.slot)
            }
            let held = await served.export.status.hold?.requests ?? 0
            if Int(held) + done.count == requestCount, held > 0 { return }
            pause(milliseconds: 5)
        }
        Issue.record("\(done.count) requests are complete, and the others not held: \(await served.export.status)")
    }

    static func finish(_ driver: BlockDriver, _ done: inout [Int]) throws {
        while done.count < requestCount {
            let completion = try #require(driver.next())
            #expect(completion.status == .ok)
            done.append(completion.slot)
        }
        #expect(done.sorted() == Array(0..<requestCount), "each once")
    }

    static func verifyAll(_ driver: BlockDriver) throws {
        for slot in 0..<requestCount {
            let read = try #require(driver.request(.read, sector: UInt64(slot * requestBytes / 512), length: requestBytes))
            #expect(read.status == .ok)
            let wrong = (0..<(requestBytes / 8)).count { word in
                unsafe driver.queues[0].buffer(0).pointer.load(fromByteOffset: word * 8, as: UInt64.self) != UInt64(slot) << 32
                    | UInt64(word)
            }
            #expect(wrong == 0, "words of request \(slot)")
        }
    }

    @Test(arguments: [EngineKind.ioURing, .libaio], [false, true])
    func aFullDiskIsAPause(engine: EngineKind, isPacked: Bool) async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = engine
            // A poller that never sleeps looks at the time as well.
            $0.pollMode = isPacked ? .busy : .adaptive
            $0.errorPolicy = .hold(timeoutNanoseconds: 0)
        }
        let other = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        let bystander = try BlockDriver(path: other.path, options: BlockDriver.options(isPacked: isPacked))
        let begin = MonotonicClock.now()
        Self.submitAll(driver)
        var done: [Int] = []
        try await Self.waitUntilTheRestIsHeld(served, driver, &done)
        let heldCount = Self.requestCount - done.count
        #expect(try #require(bystander.request(.read, length: 4096)).status == .ok, "others do not notice")
        let status = await served.export.status
        #expect(status.hold?.error == "No space left on device")
        #expect(status.queues[0].held == heldCount && status.queues[0].inFlight == heldCount)
        // Tried in vain, and not with every turn of the poller: each wait is twice as long as the one before, 100 ms the first and 5 s the longest.
        while await served.export.status.hold?.tries == 0 { pause(milliseconds: 20) }
        pause(milliseconds: 400)
        let tries = try #require(await served.export.status.hold).tries
        let waits = (MonotonicClock.now() - begin) / 100_000_000
        #expect(
            tries <= UInt64(min(UInt64.bitWidth - waits.leadingZeroBitCount, 6)) + (waits - min(waits, 63)) / 50 + 3,
            "in \(waits) times the first wait")

        try disk.grow()
        // One of the two is left to find out by itself.
        if isPacked { await served.export.retryHeld() }
        try Self.finish(driver, &done)
        try Self.verifyAll(driver)
        let after = await served.export.statistics.total
        #expect(after.held == 0 && after.heldTotal == UInt64(heldCount) && after.holdTimeouts == 0 && after.ioErrors == 0)
        #expect(after.channel.errors >= UInt64(2 * heldCount), "the first try and one more at least: \(after.channel)")
        #expect(after.write.requests == UInt64(Self.requestCount), "each is counted once")
        #expect(await served.export.status.hold == nil)
        #expect(served.waitFor { $0.isHoldEnd(requests: UInt64(heldCount), timeouts: 0) }, "\(served.told)")
        #expect(served.told.count { if case .held = $0 { true } else { false } } == 1, "told once")
        driver.close()
        bystander.close()
        try await served.stop()
        try await other.stop()
    }

    /// The page cache of a loop device takes writes that its file has no room for, and says so at the next flush, once.
    @Test(arguments: [ErrorPolicy.report, .hold(timeoutNanoseconds: 0)])
    func afterALostFlushNoFlushSucceeds(policy: ErrorPolicy) async throws {
        let disk = try FullDisk()
        try Shell.run("losetup --find --show \(disk.file) >\(disk.folder)/device")
        let device = try String(contentsOfFile: disk.folder + "/device", encoding: .utf8).trimmingCharacters(in: .newlines)
        defer { try? Shell.run("losetup --detach \(device)") }
        let served = try await ServedExport.start {
            $0.backing = .file(path: device)
            $0.directIO = .off
            $0.errorPolicy = policy
        }
        let driver = try BlockDriver(path: served.path)
        #expect(try #require(driver.request(.flush)).status == .ok)
        for index in 0..<64 {
            #expect(try #require(driver.request(.write, sector: UInt64(index * 128), length: 64 << 10)).status == .ok)
        }
        for _ in 0..<3 { #expect(try #require(driver.request(.flush)).status == .ioError) }
        // Room does not bring back what is lost, nor does a front-end that comes anew.
        try disk.grow()
        driver.close()
        let next = try BlockDriver(path: served.path)
        #expect(try #require(next.request(.write, length: 4096)).status == .ok, "all else goes on")
        #expect(try #require(next.request(.flush)).status == .ioError)
        next.close()
        try await served.stop()
    }

    @Test(arguments: [nil, 300_000_000] as [UInt64?])
    func theGuestGetsTheErrorInTheEnd(timeout: UInt64?) async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.errorPolicy = timeout.map { .hold(timeoutNanoseconds: $0) } ?? .report
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: true))
        let before = MonotonicClock.now()
        Self.submitAll(driver)
        var failed = 0
        for _ in 0..<Self.requestCount where try #require(driver.next()).status == .ioError { failed += 1 }
        let elapsed = MonotonicClock.now() - before
        #expect(failed > 0 && failed < Self.requestCount)
        #expect(elapsed >= timeout ?? 0 && elapsed < (timeout ?? 0) + 2_000_000_000)
        let statistics = await served.export.statistics.total
        #expect(statistics.ioErrors == UInt64(failed) && statistics.held == 0)
        #expect(statistics.holdTimeouts == (timeout == nil ? 0 : UInt64(failed)))
        #expect(statistics.heldTotal == (timeout == nil ? 0 : UInt64(failed)))
        if timeout != nil {
            #expect(served.waitFor { $0.isHoldEnd(requests: UInt64(failed), timeouts: UInt64(failed)) }, "\(served.told)")
        }
        // What failed can be asked for again, and the disk goes on.
        #expect(try #require(driver.request(.read, length: 4096)).status == .ok)
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func aStopLeavesHeldRequestsToTheNextStart(isPacked: Bool) async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.errorPolicy = .hold(timeoutNanoseconds: 0)
            $0.drainTimeoutNanoseconds = 200_000_000
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked) { $0.tracksInflight = true })
        Self.submitAll(driver)
        var done: [Int] = []
        try await Self.waitUntilTheRestIsHeld(served, driver, &done)
        let before = MonotonicClock.now()
        try driver.stop()
        #expect(MonotonicClock.now() - before < 3_000_000_000, "GET_VRING_BASE is bounded")
        #expect(await served.export.status.hold == nil)
        try driver.resume()
        try await Self.waitUntilTheRestIsHeld(served, driver, &done)
        try disk.grow()
        try Self.finish(driver, &done)
        try Self.verifyAll(driver)
        driver.close()
        try await served.stop()
    }

    @Test func aDisconnectAndADeleteDoNotWaitForTheDisk() async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.errorPolicy = .hold(timeoutNanoseconds: 0)
            $0.drainTimeoutNanoseconds = 200_000_000
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        Self.submitAll(driver)
        var done: [Int] = []
        try await Self.waitUntilTheRestIsHeld(served, driver, &done)
        let before = MonotonicClock.now()
        driver.close()
        try await served.export.shutdown(force: true)
        #expect(MonotonicClock.now() - before < 3_000_000_000)
        // Nothing of it is with the kernel: the backing is free at once.
        _ = try Backing.open(.file(path: path))
        await served.endPollers()
    }

    @Test func aRangeListGoesOnWhereItWasHeld() async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.errorPolicy = .hold(timeoutNanoseconds: 0)
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        try Shell.run("dd if=/dev/zero of=\(disk.folder)/filler bs=4k status=none 2>/dev/null || true")
        let ranges = [0, 4096, 8192].map { SectorRange(sector: $0, sectorCount: 256) }
        let isSubmitted = driver.queues[0].submit(.writeZeroes, slot: 0, ranges: ranges)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        for _ in 0..<500 where await served.export.status.hold == nil { pause(milliseconds: 10) }
        #expect(await served.export.status.hold?.requests == 1)
        try Shell.run("rm \(disk.folder)/filler")
        #expect(try #require(driver.next()).status == .ok)
        // What happened on the channel is told when the poller goes to sleep.
        for _ in 0..<500 where await served.export.statistics.total.channel.writtenZeroes < 3 { pause(milliseconds: 10) }
        let statistics = await served.export.statistics.total
        #expect(statistics.writeZeroes.requests == 1 && statistics.writeZeroes.bytes == 3 * 256 * 512)
        #expect(statistics.heldTotal == 1 && statistics.held == 0 && statistics.channel.writtenZeroes >= 3)
        driver.close()
        try await served.stop()
    }

    @Test func theGuestsOwnFaultsAreNeverHeld() async throws {
        let disk = try FullDisk()
        let path = disk.file
        let served = try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.errorPolicy = .hold(timeoutNanoseconds: 0)
        }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(try #require(driver.request(.read, sector: 32768, length: 512)).status == .ioError, "past the end")
        #expect(try #require(driver.request(.secureErase, ranges: [SectorRange(sector: 0, sectorCount: 8)])).status == .unsupported)
        #expect(await served.export.statistics.total.heldTotal == 0)
        driver.close()
        try await served.stop()
    }
}

extension ExportEvent {
    fileprivate func isHoldEnd(requests: UInt64, timeouts: UInt64) -> Bool {
        if case .holdEnded(requests, timeouts, _) = self { true } else { false }
    }
}
