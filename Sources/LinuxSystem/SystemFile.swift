import CLinux
import Glibc

/// Small files of sysfs and procfs.
public enum SystemFile {
    /// The file's content without white space at its ends, `sizeMax` bytes of it at most or a little more; nil when it cannot be read.
    public static func text(_ path: String, sizeMax: Int = 65536) -> String? {
        guard let file = try? FileDescriptor.open(path, flags: O_RDONLY) else { return nil }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while bytes.count < sizeMax {
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe (try? file.read(into: $0)) ?? nil }
            guard let count else { return nil }
            if count == 0 { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0d).contains($0) }
        guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) }) else {
            return ""
        }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }

    /// The number a file holds; nil when it cannot be read or holds no number.
    public static func number(_ path: String) -> Int64? { text(path).flatMap { Int64($0) } }

    /// The path that a symbolic link leads to in the end; nil when there is nothing.
    public static func resolve(_ path: String) -> String? {
        guard let resolved = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }

    /// The names in a folder, in no order, without "." and ".."; nil when it cannot be read.
    public static func names(inFolder path: String) -> [String]? {
        guard let folder = unsafe opendir(path) else { return nil }
        defer { unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
