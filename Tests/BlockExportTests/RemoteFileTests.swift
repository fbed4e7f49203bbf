import Foundation
import LinuxSystem
import Testing
import VhostUser

/// Files whose file system may not answer. The one here is FUSE's without a server, on which even fstat(2) would wait or fail. Needs root, as
/// the disks of SlowDiskTests do.
@Suite struct RemoteFileTests {
    /// A FUSE mount on which nobody answers.
    private final class DeadMount {
        let folder: String

        init() throws {
            folder = NSTemporaryDirectory() + "vhublk-fuse-\(UUID().uuidString)"
            let options = "fd=5,rootmode=40000,user_id=0,group_id=0"
            try Self.run("mkdir \(folder); exec 5<>/dev/fuse; mount -i -t fuse -o \(options) none \(folder)")
        }

        deinit { try? Self.run("umount -l \(folder); rmdir \(folder)") }

        private static func run(_ script: String) throws {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = ["-c", script]
            try process.run()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0, "\(script)")
        }
    }

    @Test func ofFUSEIsRefused() throws {
        let mount = try DeadMount()
        // O_PATH, which glibc shows with _GNU_SOURCE only: opened without a word to the file system.
        let file = try FileDescriptor.open(mount.folder, flags: 0o1000_0000)
        #expect(file.nature == .path(fileSystem: "fuse"))
        let host = LinuxSessionHost()
        let refusal = #expect(throws: Refusal.self) { _ = try host.map(file, offset: 0, size: 4096) }
        #expect(refusal?.code == .descriptors)
        #expect(
            refusal?.description.hasPrefix("memory from a file on fuse, which may not answer") == true, "\(String(describing: refusal))")
        #expect(throws: Refusal.self) { try host.checkNotifier(file) }
        #expect(throws: Refusal.self) { try host.checkSocket(file) }
        #expect(throws: Refusal.self) { try host.checkChannel(file) }
    }
}
