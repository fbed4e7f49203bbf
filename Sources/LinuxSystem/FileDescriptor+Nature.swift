import CLinux
import Glibc

/// What a descriptor is, without asking the file system behind it: a peer's descriptor may lead to a file system that the peer itself serves
/// (FUSE) or to a server that does not answer, and there even fstat(2) waits.
extension FileDescriptor {
    /// What an open file can be, as far as the kernel itself knows it.
    public enum Nature: Equatable, Sendable {
        case eventFD, pipe, socket
        /// A file in memory: memfd, shm_open, tmpfs, hugetlbfs.
        case memoryFile
        /// Anything with a path, on a file system of this type; nil when the mount cannot be seen from here.
        case path(fileSystem: String?)
        /// A file of the kernel's own, by its name.
        case other(String)
        /// Without /proc there is no telling.
        case unknown
    }

    /// What the descriptor is.
    public var nature: Nature {
        if clinux_get_seals(rawValue) >= 0 { return .memoryFile }
        guard let name = kernelName else { return .unknown }
        if name == "anon_inode:[eventfd]" { return .eventFD }
        if name.hasPrefix("pipe:[") { return .pipe }
        if name.hasPrefix("socket:[") { return .socket }
        return name.hasPrefix("/") ? .path(fileSystem: fileSystemType) : .other(name)
    }

    /// What /proc says that the descriptor leads to.
    private var kernelName: String? {
        let capacity = Int(PATH_MAX)
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { bytes in
            let length = unsafe clinux_read_link("/proc/self/fd/\(rawValue)", bytes.baseAddress, capacity)
            guard length > 0 else { return nil }
            return unsafe String(decoding: UnsafeRawBufferPointer(bytes).prefix(Int(length)), as: UTF8.self)
        }
    }

    /// The type of the mount that the file was opened on: `mnt_id` of its fdinfo, looked up in mountinfo (proc(5)).
    private var fileSystemType: String? {
        guard
            let mount = SystemFile.text("/proc/self/fdinfo/\(rawValue)")?.split(separator: "\n").first(where: { $0.hasPrefix("mnt_id:") }),
            let number = mount.split(whereSeparator: \.isWhitespace).last,
            let table = SystemFile.text("/proc/self/mountinfo", sizeMax: 4 << 20)
        else { return nil }
        for line in table.split(separator: "\n") where line.hasPrefix("\(number) ") {
            let fields = line.split(separator: " ")
            // Optional fields end with a single hyphen; the type is behind it.
            guard let hyphen = fields.firstIndex(of: "-"), hyphen + 1 < fields.count else { return nil }
            return String(fields[hyphen + 1])
        }
        return nil
    }
}
