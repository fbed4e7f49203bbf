import FoundationEssentials
import Glibc
import LinuxSystem

/// A folder of its own for a test, removed with everything in it when the test lets go of it. Its path is short enough for sockets.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = "/tmp/vhublk-\(UUID().uuidString.prefix(13))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        try Data(text.utf8).write(to: URL(filePath: "\(path)/\(name)"))
        return "\(path)/\(name)"
    }

    /// A sparse file of `size` bytes.
    func image(_ name: String, size: UInt64) throws -> String {
        let path = try write(name, "")
        try FileDescriptor.open(path, flags: O_RDWR).truncate(to: size)
        return path
    }

    func read(_ name: String) throws -> String { try String(contentsOf: URL(filePath: "\(path)/\(name)"), encoding: .utf8) }

    var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}
