import Foundation

/// A disk image whose writes wait in the kernel for exactly as long as a test wants: a file on a small ext4 in memory, which can be frozen
/// (fsfreeze). Needs root, as loop mounts do.
public final class FreezableDisk: Sendable {
    private let folder: String
    /// The image, 16 MiB.
    public var file: String { folder + "/mount/disk.img" }

    private struct Failure: Error {
        var script: String
    }

    /// Makes and mounts the file system.
    public init() throws {
        folder = "/dev/shm/vhublk-slow-\(UUID().uuidString)"
        try Self.run("mkdir -p \(folder)/mount && truncate -s 64M \(folder)/image && mkfs.ext4 -q \(folder)/image")
        try Self.run(
            "mount -o loop \(folder)/image \(folder)/mount && dd if=/dev/zero of=\(folder)/mount/disk.img bs=1M count=16 status=none")
        try Self.run("sync -f \(folder)/mount")
    }

    /// From now on writes wait.
    public func freeze() throws { try Self.run("fsfreeze -f \(folder)/mount") }
    /// Writes go on.
    public func thaw() throws { try Self.run("fsfreeze -u \(folder)/mount") }

    deinit {
        // Lazily: the backing may be open for a moment longer.
        try? Self.run("umount -l \(folder)/mount; rm -rf \(folder)")
    }

    private static func run(_ script: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-ec", script]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(script: script) }
    }
}
