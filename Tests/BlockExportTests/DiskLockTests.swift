import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Testing
import TestSupport
import VhostUser
import VhostUserFrontend

/// Two exports of one backing: whose rings run has the lock, and a virtual machine moves from one to the other.
@Suite(.serialized) struct DiskLockTests {
    private static func image(_ folder: TemporaryFolder) throws -> String { try folder.sparseFile("disk", size: 8 << 20) }

    /// A ring waits for the backing without an end that a test would meet, unless told otherwise.
    private static func serve(
        _ path: String, engine: EngineKind = .automatic, lockTimeoutNanoseconds: UInt64 = 600_000_000_000
    ) async throws -> ServedExport {
        try await ServedExport.start {
            $0.backing = .file(path: path)
            $0.engine = engine
            $0.drainTimeoutNanoseconds = 200_000_000
            $0.lockTimeoutNanoseconds = lockTimeoutNanoseconds
        }
    }

    @Test("The lock is there while a ring runs, and the next one's ring waits for it")
    func waits() async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = try Self.image(folder)
        let first = try await Self.serve(path)
        #expect(await !first.export.status.isLocked)
        let driver = try BlockDriver(path: first.path, options: BlockDriver.options(isPacked: false))
        #expect(try #require(driver.request(.write, length: 4096)).status == .ok)
        #expect(await first.export.status.isLocked)

        let second = try await Self.serve(path)
        let conflict = "\(path) is in use by process \(getpid())"
        #expect(await second.export.status.backingConflict?.hasPrefix(conflict) == true, "told at once")
        let late = try BlockDriver(path: second.path, options: BlockDriver.options(isPacked: true))
        #expect(late.submitRead(slot: 0, length: 4096))
        late.queues[0].flushSubmissions()
        #expect(second.waitFor { if case .notice(let text) = $0 { text.contains(conflict) } else { false } })
        #expect(await second.export.status.queues[0].state == "waiting for the backing")
        // What it changes meanwhile takes the place of what it changed before.
        let before = try openDescriptorCount()
        for _ in 0..<600 { try late.connection.setCall(0, try EventFD().descriptor) }
        #expect(try openDescriptorCount() < before + 300)

        try driver.stop()
        #expect(await !first.export.status.isLocked, "given back before GET_VRING_BASE is answered")
        #expect(try #require(late.next()).status == .ok)
        #expect(await second.export.status.isLocked)
        #expect(await second.export.status.backingConflict == nil)
        driver.close()
        late.close()
        try await first.stop()
        try await second.stop()
    }

    @Test("A ring whose backing stays in use fails by the holder's name, and starts when the front-end tries again")
    func fails() async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = try Self.image(folder)
        let holder = try Backing.open(.file(path: path))
        let served = try await Self.serve(path, lockTimeoutNanoseconds: 300_000_000)
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let error = try EventFD()
        try driver.connection.setError(0, error.descriptor)
        let reason = "\(path) is in use by process \(getpid())"
        #expect(served.waitFor { if case .ringFailed(queue: 0, let text) = $0 { text.hasPrefix(reason) } else { false } })
        #expect(await served.export.status.queues[0].state.hasPrefix("failed: \(reason)"))
        // A poller signals it, after the failure was told.
        var signals: UInt64 = 0
        for _ in 0..<3000 where signals == 0 {
            signals = error.drain()
            if signals == 0 { pause(milliseconds: 10) }
        }
        #expect(signals == 1)
        holder.unlock()
        try driver.stop()
        try driver.resume()
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        driver.close()
        try await served.stop()
    }

    @Test("A driver moves to and fro, and finds what it wrote", arguments: [false, true])
    func moves(isPacked: Bool) async throws {
        let folder = TemporaryFolder(under: "/dev/shm")
        let path = try Self.image(folder)
        let exports = [try await Self.serve(path), try await Self.serve(path)]
        let driver = try BlockDriver(
            path: exports[0].path, options: BlockDriver.options(isPacked: isPacked) { $0.tracksInflight = true })
        for round in 0..<10 {
            try driver.write(sector: UInt64(round) * 8, [UInt8](repeating: UInt8(round + 1), count: 4096))
            // A migration that is given up goes on where it was.
            try driver.stop()
            try driver.resume()
            #expect(try driver.read(sector: 0, count: 512) == [UInt8](repeating: 1, count: 512))
            try driver.stop()
            try driver.move(to: exports[(round + 1) % 2].path, timeoutNanoseconds: 5_000_000_000)
            for written in 0...round {
                let bytes = try driver.read(sector: UInt64(written) * 8, count: 4096)
                #expect(bytes == [UInt8](repeating: UInt8(written + 1), count: 4096), "round \(round), block \(written)")
            }
        }
        driver.close()
        for export in exports { try await export.stop() }
    }

    @Test("Requests that the kernel still has keep the lock: the destination waits for them")
    func abandoned() async throws {
        let disk = try FreezableDisk()
        let first = try await Self.serve(disk.file, engine: .ioURing)
        let second = try await Self.serve(disk.file, engine: .ioURing)
        let driver = try BlockDriver(path: first.path, options: BlockDriver.options(isPacked: true) { $0.tracksInflight = true })
        try disk.freeze()
        let isSubmitted = driver.queues[0].submit(.write, slot: 0, sector: 0, length: 4096, toDevice: true)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 50)
        try driver.stop()
        #expect(await first.export.status.isLocked)
        try driver.move(to: second.path, leavesRequests: true, timeoutNanoseconds: 5_000_000_000)
        pause(milliseconds: 100)
        #expect(await second.export.status.queues[0].state == "waiting for the backing")
        try disk.thaw()
        #expect(try #require(driver.next()).status == .ok, "done again from the region")
        #expect(await !first.export.status.isLocked)
        driver.close()
        try await first.stop()
        try await second.stop()
    }

    @Test("GET_VRING_BASE_INFLIGHT leaves what the disk has not got to the destination", arguments: [false, true])
    func leaves(isPacked: Bool) async throws {
        let disk = try FreezableDisk()
        let exports = [
            try await ServedExport.start { [path = disk.file] in
                $0.backing = .file(path: path)
                $0.engine = .ioURing
            }, try await Self.serve(disk.file, engine: .ioURing),
        ]
        let options = BlockDriver.options(isPacked: isPacked, ringSize: 256) {
            $0.tracksInflight = true
            $0.layout.slotCount = 60
            $0.protocolFeatures.insert(.getVringBaseInflight)
        }
        let driver = try BlockDriver(path: exports[0].path, options: options)
        try disk.freeze()
        for slot in 0..<60 {
            // Misaligned memory goes through one of 32 bounce buffers: the other requests wait for one.
            let buffer = driver.queues[0].buffer(slot)
            unsafe buffer.pointer.initializeMemory(as: UInt8.self, repeating: UInt8(slot + 1), count: 8192)
            let piece = DriverSegment(address: buffer.guestAddress + 1, length: 4096)
            let isSubmitted = driver.queues[0].submit(.write, slot: slot, sector: UInt64(slot * 8), pieces: [piece], toDevice: true)
            #expect(isSubmitted)
        }
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 100)
        Thread.detachNewThread {
            pause(milliseconds: 300)
            try? disk.thaw()
        }
        try driver.stop()
        var completion = BlockCompletion()
        var done: [Int] = []
        while driver.queues[0].poll(&completion) == .completed { done.append(completion.slot) }
        #expect(done.count == 32, "those that the kernel had were waited for")
        try driver.move(to: exports[1].path, leavesRequests: true, timeoutNanoseconds: 5_000_000_000)
        while done.count < 60 {
            let next = try #require(driver.next())
            #expect(next.status == .ok)
            done.append(next.slot)
        }
        #expect(done.sorted() == Array(0..<60), "each once")
        for slot in 0..<60 {
            #expect(try driver.read(sector: UInt64(slot * 8), count: 4096) == [UInt8](repeating: UInt8(slot + 1), count: 4096))
        }
        driver.close()
        for export in exports { try await export.stop() }
    }
}
