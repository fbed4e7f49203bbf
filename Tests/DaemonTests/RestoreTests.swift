import ControlAPI
import Foundation
import LinuxSystem
import Testing
import VhostUserFrontend

@testable import Daemon

/// Sockets come back first, whatever the disks do; a disk that is missing, slow or locked holds up its own export only.
struct RestoreTests {
    /// A lock on a file that belongs to no process: its open file is in a socket's queue, as that of a killed daemon is in the kernel while
    /// its last requests are carried out.
    private final class OrphanLock {
        private var ends: (FileDescriptor, FileDescriptor)?

        init(_ path: String) throws {
            let pair = try UnixSocket.pair()
            let file = try FileDescriptor.open(path, flags: O_RDWR)
            var lock = flock(l_type: Int16(F_WRLCK), l_whence: Int16(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0)
            // F_OFD_SETLK
            try #require(unsafe fcntl(file.rawValue, 37, &lock) == 0)
            _ = try unsafe [UInt8(1)].withUnsafeBytes { try unsafe UnixSocket.send(pair.0, $0, descriptors: [file.rawValue]) }
            ends = (pair.0, pair.1)
        }

        func release() { ends = nil }
    }

    @Test func lockedBackingsHoldUpNobodyElse() throws {
        let daemon = try RunningDaemon()
        var locks: [OrphanLock] = []
        for number in 0..<8 {
            let image = try daemon.folder.image("locked\(number).raw", size: 1 << 20)
            _ = try daemon.call(ExportCreate.self, ExportParameters(name: "locked\(number)", backing: image))
        }
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "zfree", backing: try daemon.folder.image("free.raw", size: 1 << 20)))
        daemon.kill()
        for number in 0..<8 { locks.append(try OrphanLock(daemon.folder.path + "/locked\(number).raw")) }
        let start = MonotonicClock.now()
        try daemon.restart()
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "zfree")).state) == .ready })
        // The wait for a lock without a holder is five seconds.
        #expect(MonotonicClock.now() - start < 4_000_000_000)
        // The lock is its rings' matter: the export is there, and can be deleted.
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "locked0")).state) == .ready })
        #expect(try daemon.call(ExportDelete.self, .init(name: "locked1")).name == "locked1")
        #expect(try !daemon.folder.names.contains("locked1.sock"))
        for lock in locks { lock.release() }
        let states = try daemon.settledExports()
        #expect(states.count == 8 && states.allSatisfy { $0.state == .ready }, "\(states.map(\.state))")
    }

    @Test func missingBackingIsTriedAgainByItself() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "lost", backing: image))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "there", backing: "null:1G"))
        daemon.kill()
        try FileManager.default.moveItem(atPath: image, toPath: image + ".away")
        try daemon.restart()
        let exports = try daemon.settledExports()
        #expect(exports.map(\.state) == [.failed, .ready])
        #expect(exports[0].error?.message.contains(image) == true && exports[0].retryNS != nil && exports[1].retryNS == nil)
        let shown = try daemon.control(["export", "show", "lost"])
        #expect(shown.output.contains("failed") && shown.output.contains(image) && shown.output.contains("next try"), "\(shown.output)")
        // Who connects is hung up on: a virtual machine that waits for an answer stands still.
        let frontend = try UnixSocket.connect(path: daemon.folder.path + "/lost.sock")
        #expect(try frontend.wait(for: .readable, nanoseconds: 10_000_000_000))
        #expect(waits { daemon.log.contains("a front-end was turned away") })
        #expect(daemon.log.components(separatedBy: "export lost cannot be restored").count == 2, "said once: \(daemon.log)")
        try FileManager.default.moveItem(atPath: image + ".away", toPath: image)
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "lost")).state) == .ready })
        let driver = try BlockDriver(path: daemon.folder.path + "/lost.sock", options: BlockDriverOptions())
        driver.close()
    }

    @Test func exportThatNeverComesBackCanBeDeleted() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "lost", backing: image))
        daemon.kill()
        try FileManager.default.removeItem(atPath: image)
        try daemon.restart()
        #expect(try daemon.settledExports().map(\.state) == [.failed])
        #expect(try !daemon.call(ExportDelete.self, .init(name: "lost")).returnsAtStart)
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(try !daemon.folder.names.contains("lost.sock"))
        // Its name is free, and it does not come back.
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "lost", backing: "null:1M"))
        ProcessSelf.sleep(nanoseconds: 600_000_000)
        #expect(try daemon.call(ExportShow.self, .init(name: "lost")).state == .ready)
    }

    @Test func socketThatCannotBeMadeIsTriedAgain() throws {
        let daemon = try RunningDaemon()
        let path = daemon.folder.path + "/sub/a.sock"
        try FileManager.default.createDirectory(atPath: daemon.folder.path + "/sub", withIntermediateDirectories: false)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: "null:1M", socket: path))
        daemon.kill()
        try FileManager.default.removeItem(atPath: daemon.folder.path + "/sub")
        try daemon.restart()
        let failed = try #require(try daemon.settledExports().first)
        #expect(failed.state == .failed && failed.error?.kind == "socket")
        try FileManager.default.createDirectory(atPath: daemon.folder.path + "/sub", withIntermediateDirectories: false)
        #expect(waits { (try? UnixSocket.connect(path: path)) != nil })
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "a")).state) == .ready })
        // And a stop takes the sockets of all away, those that wait included.
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: daemon.folder.path + "/sub").isEmpty)
    }

    @Test func waitsGrow() {
        let waits = (0..<10).map { RetryPlan.waitNanoseconds(after: $0) / 1_000_000 }
        #expect(waits == [250, 500, 1000, 2000, 4000, 8000, 10000, 10000, 10000, 10000])
    }

    /// A loose bound, since machines that test are busy: docs/specification.md has the figures of a release build.
    @Test func aHundredSocketsComeBackTogether() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        for number in 0..<100 {
            let image = try daemon.folder.image("\(number).raw", size: 1 << 20)
            _ = try client.call(ExportCreate.self, ExportParameters(name: "e\(number)", backing: image))
        }
        daemon.kill()
        let start = MonotonicClock.now()
        try daemon.restart()
        for number in 0..<100 { _ = try UnixSocket.connect(path: daemon.folder.path + "/e\(number).sock") }
        #expect(MonotonicClock.now() - start < 5_000_000_000)
        #expect(try daemon.settledExports().filter { $0.state == .ready }.count == 100)
    }
}
