import CLinux
import Glibc

/// Small files that are either there whole or not at all, whatever instant the power goes.
///
/// Everything here waits for the disk.
public enum DurableFile {
    /// Puts `bytes` at `path`: written beside it, made durable, renamed over it, and the rename made durable.
    ///
    /// A reader finds the old content or the new, never a mixture; the name of the temporary file starts with a full stop and ends in
    /// `.new`.
    public static func replace(_ path: String, with bytes: [UInt8], mode: UInt32 = 0o600) throws(SystemError) {
        let (folder, name) = split(path)
        let temporary = "\(folder)/.\(name).new"
        let file = try FileDescriptor.open(temporary, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: mode)
        do {
            try writeAll(bytes, to: file, path: temporary)
            try check(fsync(file.rawValue), "make \(temporary) durable")
            try check(unsafe rename(temporary, path), "rename \(temporary) to \(path)")
        } catch {
            _ = unsafe clinux_unlink(temporary)
            throw error
        }
        try makeDurable(folder: folder)
    }

    /// Removes `path` for good; a missing one is fine.
    public static func remove(_ path: String) throws(SystemError) {
        let status = unsafe clinux_unlink(path)
        if status == -ENOENT { return }
        try SystemError.check(status, "remove \(path)")
        try makeDurable(folder: split(path).folder)
    }

    /// The content of the regular file at `path`, at most `sizeMax` bytes; nil when nothing is there. A longer file fails with EFBIG, and
    /// one that is not regular
    /// with EINVAL, so that a pipe in its place cannot hold anybody up.
    public static func read(_ path: String, sizeMax: Int) throws(SystemError) -> [UInt8]? {
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(path, flags: O_RDONLY | O_NONBLOCK)
        } catch  where error.errno == ENOENT {
            return nil
        }
        let status = try file.status()
        guard status.kind == .regular else { throw SystemError("read \(path), which is a \(status.kind.rawValue)", errno: EINVAL) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let answer = unsafe chunk.withUnsafeMutableBytes { unsafe clinux_read(file.rawValue, $0.baseAddress, $0.count) }
            if answer == -Int64(EINTR) { continue }
            let count = Int(try SystemError.check(answer, "read \(path)"))
            if count == 0 { return content }
            guard content.count + count <= sizeMax else { throw SystemError("read \(path)", errno: EFBIG) }
            content.append(contentsOf: chunk[..<count])
        }
    }

    /// Makes the folder `path` unless it exists; its parent must.
    public static func createFolder(_ path: String, mode: UInt32) throws(SystemError) {
        let status = unsafe mkdir(path, mode) == 0 ? 0 : -errno
        if status != -EEXIST { try SystemError.check(status, "make the folder \(path)") }
    }

    /// The names in the folder `path`, sorted, `.` and `..` left out.
    public static func names(inFolder path: String) throws(SystemError) -> [String] {
        guard let stream = unsafe opendir(path) else { throw SystemError("list the folder \(path)", errno: errno) }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            // d_name is a zero-terminated array inside the entry, which lives until the next readdir.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Opens the file at `path`, made when missing, and locks it for this process alone; nil when another holds the lock. The lock ends
    /// with the descriptor.
    public static func lock(_ path: String) throws(SystemError) -> FileDescriptor? {
        let file = try FileDescriptor.open(path, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
        let status = clinux_try_lock(file.rawValue, 1)
        if status == -EAGAIN { return nil }
        try SystemError.check(status, "lock \(path)")
        return file
    }

    private static func makeDurable(folder: String) throws(SystemError) {
        let descriptor = try FileDescriptor.open(folder, flags: O_RDONLY | O_DIRECTORY)
        try check(fsync(descriptor.rawValue), "make the folder \(folder) durable")
    }

    private static func writeAll(_ bytes: [UInt8], to file: FileDescriptor, path: String) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let status = unsafe bytes[done...].withUnsafeBytes { unsafe clinux_write(file.rawValue, $0.baseAddress, $0.count) }
            if status == -Int64(EINTR) { continue }
            done += Int(try SystemError.check(status, "write \(path)"))
        }
    }

    private static func check(_ answer: Int32, _ call: String) throws(SystemError) {
        if answer != 0 { throw SystemError(call, errno: errno) }
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        return (slash == path.startIndex ? "/" : String(path[..<slash]), String(path[path.index(after: slash)...]))
    }
}
