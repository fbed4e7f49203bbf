import Foundation
import Testing

/// What a disk's image lies on. Block devices and mounts need root; who is not root goes through sudo, as the set-up did.
enum Medium: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case tmpfs
    case ext4
    case loop = "loop device"
    case zram = "zram device"

    var testDescription: String { rawValue }

    /// Makes a medium of `mebibytes`, runs `body` with the path to serve, and takes everything away again.
    func with<Result: Sendable>(mebibytes: Int, _ body: @Sendable (String) async throws -> Result) async throws -> Result {
        switch self {
        case .tmpfs:
            return try await Places.withFolder(in: "/dev/shm") { folder in
                try await Image.make(folder + "/disk.raw", mebibytes: mebibytes)
                return try await body(folder + "/disk.raw")
            }
        case .ext4: return try await Self.withFileSystem(mebibytes: mebibytes, body)
        case .loop: return try await Self.withLoopDevice(mebibytes: mebibytes, body)
        case .zram: return try await Self.withZRAM(mebibytes: mebibytes, body)
        }
    }

    private static func withLoopDevice<Result: Sendable>(mebibytes: Int, _ body: (String) async throws -> Result) async throws -> Result {
        try await Places.withFolder { folder in
            let image = folder + "/loop.raw"
            try await Image.make(image, mebibytes: mebibytes)
            let device = try await Root.succeed("losetup", ["--find", "--show", "--direct-io=on", image]).trimmingCharacters(in: .newlines)
            return try await Root.undoing("losetup", ["--detach", device]) {
                try await Root.own(device)
                return try await body(device)
            }
        }
    }

    private static func withFileSystem<Result: Sendable>(mebibytes: Int, _ body: (String) async throws -> Result) async throws -> Result {
        // Twice the room: ext4's own structures, and blocks that a discard has not given back yet.
        try await withLoopDevice(mebibytes: 2 * mebibytes + 16) { device in
            try await Root.succeed("mkfs.ext4", ["-q", device])
            return try await Places.withFolder { folder in
                try await Root.succeed("mount", [device, folder])
                return try await Root.undoing("umount", [folder]) {
                    try await Root.own(folder)
                    try await Image.make(folder + "/disk.raw", mebibytes: mebibytes)
                    return try await body(folder + "/disk.raw")
                }
            }
        }
    }

    private static func withZRAM<Result: Sendable>(mebibytes: Int, _ body: (String) async throws -> Result) async throws -> Result {
        let number = try await Root.succeed("cat", ["/sys/class/zram-control/hot_add"]).trimmingCharacters(in: .newlines)
        return try await Root.undoing("sh", ["-c", "echo \(number) >/sys/class/zram-control/hot_remove"]) {
            try await Root.succeed("sh", ["-c", "echo \(mebibytes)M >/sys/block/zram\(number)/disksize"])
            let device = "/dev/zram\(number)"
            try await Root.own(device)
            return try await body(device)
        }
    }
}

/// Commands that need root's rights.
enum Root {
    @discardableResult
    static func succeed(_ program: String, _ arguments: [String]) async throws -> String {
        let path = ["-c", "PATH=$PATH:/usr/sbin:/sbin; exec \"$@\"", "sh", program] + arguments
        return getuid() == 0 ? try await Program.succeed("sh", path) : try await Program.succeed("sudo", ["-n", "sh"] + path)
    }

    /// Gives a device or folder to the user who runs the tests.
    static func own(_ path: String) async throws {
        if getuid() != 0 { try await succeed("chown", ["\(getuid())", path]) }
    }

    /// Runs `body` and then the command that takes back what was made for it, whether or not `body` succeeded.
    static func undoing<Result: Sendable>(_ program: String, _ arguments: [String], _ body: () async throws -> Result) async throws
        -> Result
    {
        let result: Swift.Result<Result, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        // A device may be busy for a moment after its last user has gone.
        try await eventually(.seconds(10), "\(program) \(arguments)") { (try? await succeed(program, arguments)) != nil }
        return try result.get()
    }
}
