import Glibc
public import LinuxSystem

/// A folder of its own for one test, removed with everything in it when the test lets go of it.
public final class TemporaryFolder: Sendable {
    /// Where the folder is, absolute.
    public let path: String

    /// Makes a folder below `parent`.
    public init(under parent: String = "/tmp") {
        var template = Array("\(parent)/vhublk-test-XXXXXX".utf8CString)
        // mkdtemp writes the name it chose into the template.
        let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) != nil }
        precondition(made, "cannot make a temporary folder under \(parent)")
        let name = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        path = SystemFile.resolve(name) ?? name
    }

    deinit { Self.remove(path) }

    /// Writes a file, and makes the folders above it.
    public func write(_ name: String, _ text: String) {
        var folder = path
        for part in name.split(separator: "/").dropLast() {
            folder += "/" + part
            unsafe mkdir(folder, 0o755)
        }
        guard let file = unsafe fopen(path + "/" + name, "w") else { preconditionFailure("cannot write \(path)/\(name)") }
        unsafe fputs(text, file)
        unsafe fclose(file)
    }

    /// Makes a symbolic link to another name in this folder; the folders above it must be there.
    public func link(_ name: String, to target: String) {
        guard unsafe symlink(path + "/" + target, path + "/" + name) == 0 else { preconditionFailure("cannot make the link \(name)") }
    }

    /// Removes a file.
    public func remove(_ name: String) { Self.remove(path + "/" + name) }

    /// Makes a sparse file of `size` bytes and returns its path.
    public func sparseFile(_ name: String, size: UInt64) throws(SystemError) -> String {
        let file = try FileDescriptor.open(path + "/" + name, flags: O_RDWR | O_CREAT | O_TRUNC)
        try file.truncate(to: size)
        return path + "/" + name
    }

    private static func remove(_ path: String) {
        let status = try? FileStatus.atPath(path)
        guard status?.kind == .directory else {
            unsafe unlink(path)
            return
        }
        for name in SystemFile.names(inFolder: path) ?? [] { remove(path + "/" + name) }
        unsafe rmdir(path)
    }
}
