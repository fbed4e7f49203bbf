import Foundation

/// A file whose reads and writes take a while: nbdkit's delay filter behind nbdfuse.
enum SlowFile {
    /// Makes such a file below `folder` for as long as `body` runs.
    static func with<Result: Sendable>(
        in folder: String, mebibytes: Int, milliseconds: Int, _ body: @Sendable (String) async throws -> Result
    ) async throws -> Result {
        try await Places.withFolder(in: folder) { place in
            let file = place + "/slow"
            try Data().write(to: URL(filePath: file))
            let delays = ["rdelay=\(milliseconds)ms", "wdelay=\(milliseconds)ms"]
            let arguments = [file, "--command", "nbdkit", "-s", "--filter=delay", "memory", "\(mebibytes)M"] + delays
            return try await Program.with("nbdfuse", arguments) { _ in
                try await eventually(.seconds(20), "nbdfuse: nothing is mounted at \(file)") {
                    (try? FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) == mebibytes << 20
                }
                return try await Root.undoing("sh", ["-c", "umount \"$1\" 2>/dev/null || ! grep -q \" $1 \" /proc/mounts", "sh", file]) {
                    try await body(file)
                }
            }
        }
    }
}
