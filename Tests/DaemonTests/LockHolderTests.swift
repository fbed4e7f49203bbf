import CLinux
import ControlAPI
import Foundation
import LinuxSystem
import Testing

/// Who has a backing that an export wants: what the daemon may know of it in its sandbox, and what `vhublkctl` tells with the rights of the
/// person who asks.
struct LockHolderTests {
    private static let hasLandlock = (try? Landlock.version()) != nil
    private static let holder = "process \(getpid()) ("

    /// An export of an image that this process has locked: what the daemon says of it, and what `vhublkctl export show`.
    private static func conflict(sandbox: String, take: (FileDescriptor) -> Bool) throws -> (
        told: String, shown: String, daemon: RunningDaemon
    ) {
        let folder = try TemporaryFolder()
        let image = try folder.image("disk.raw", size: 1 << 20)
        let file = try FileDescriptor.open(image, flags: O_RDWR)
        try #require(take(file))
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: ["--sandbox", sandbox, "--control", folder.path + "/control.sock", "--state-dir", folder.path + "/state"])
        let made = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: image))
        let shown = try daemon.control(["export", "show", "a"])
        withExtendedLifetime(file) {}
        return (made.backingConflict ?? "", shown.output, daemon)
    }

    /// A lock that belongs to the open file, as QEMU's does.
    private static func openFileLock(_ file: FileDescriptor) -> Bool { clinux_lock_whole(file.rawValue, 1) == 0 }

    /// A lock that belongs to the process.
    private static func processLock(_ file: FileDescriptor) -> Bool {
        var lock = flock(l_type: Int16(F_WRLCK), l_whence: Int16(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0)
        // The struct lives for the call.
        return unsafe fcntl(file.rawValue, F_SETLK, &lock) == 0
    }

    @Test("The kernel names the process of a lock of that kind, in any sandbox", arguments: ["off", "on", "strict"])
    func ofAProcess(_ sandbox: String) throws {
        guard Self.hasLandlock || sandbox != "strict" else { return #expect(!Self.hasLandlock) }
        let (told, shown, _) = try Self.conflict(sandbox: sandbox, take: Self.processLock)
        #expect(told.contains("disk.raw is in use by \(Self.holder)"), "\(told)")
        #expect(shown.contains(Self.holder), "\(shown)")
    }

    @Test("A daemon without a sandbox finds the process of an open file's lock")
    func outsideOfASandbox() throws {
        let (told, shown, _) = try Self.conflict(sandbox: "off", take: Self.openFileLock)
        #expect(told.contains("disk.raw is in use by \(Self.holder)"), "\(told)")
        #expect(shown.contains("lock now:") && shown.contains(Self.holder), "\(shown)")
    }

    @Test("A daemon in its sandbox says that it may not look, and vhublkctl looks", arguments: ["on", "strict"])
    func inASandbox(_ sandbox: String) throws {
        guard Self.hasLandlock else { return #expect(!Self.hasLandlock) }
        let (told, shown, daemon) = try Self.conflict(sandbox: sandbox, take: Self.openFileLock)
        #expect(told.hasSuffix("disk.raw is in use; the kernel does not let process \(daemon.pid) see by whom"), "\(told)")
        let row = shown.split(separator: "\n").first { $0.hasPrefix("lock now:") }
        #expect(row?.contains(Self.holder) == true, "\(shown)")
    }

    @Test("Locks of flock(2) and leases are no hindrance, and name nobody; a reader is in the way of a writer only")
    func lines() throws {
        let folder = try TemporaryFolder()
        let file = try FileDescriptor.open(try folder.image("disk.raw", size: 4096), flags: O_RDWR)
        let status = try file.status()
        #expect(clinux_try_lock(file.rawValue, 1) == 0)
        #expect(!LockHolder.find(status, forWriting: true).isProcess)
        #expect(clinux_lock_whole(file.rawValue, 0) == 0)
        #expect(!LockHolder.find(status, forWriting: false).isProcess)
        guard case .process(getpid(), let command) = LockHolder.find(status, forWriting: true) else {
            Issue.record("the reader is not found")
            return
        }
        #expect(!command.isEmpty)
        #expect(clinux_lock_whole(file.rawValue, 1) == 0)
        #expect(LockHolder.find(status, forWriting: false).isProcess)
        // Another file has another number, or lies on another device.
        let other = try FileDescriptor.open(try folder.image("other.raw", size: 4096), flags: O_RDWR)
        #expect(!LockHolder.find(try other.status(), forWriting: true).isProcess)
    }
}
