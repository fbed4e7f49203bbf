import Foundation

/// Images of disks on this machine.
enum Image {
    /// An empty, sparse image.
    static func make(_ path: String, mebibytes: Int) async throws {
        try await Program.succeed("truncate", ["--size", "\(mebibytes)M", path])
    }

    static func fillWithRandomData(_ path: String, mebibytes: Int) async throws {
        try await Program.succeed(
            "dd", ["if=/dev/urandom", "of=\(path)", "bs=1M", "count=\(mebibytes)", "conv=notrunc,fsync", "status=none"])
    }

    /// The image's SHA-256, in hexadecimal.
    static func checksum(_ path: String) async throws -> String {
        String(try await Program.succeed("sha256sum", [path]).prefix(64))
    }

    /// How much room the image takes on its file system, in KiB.
    static func allocated(_ path: String) async throws -> Int {
        let output = try await Program.succeed("du", ["--block-size=1K", path])
        guard let size = Int(output.prefix { $0.isNumber }) else { throw TestbedError("du \(path): \(output)") }
        return size
    }
}
