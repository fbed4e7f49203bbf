import CLinux
import Glibc

/// What stat(2) says of a file, in the parts this project uses.
public struct FileStatus: Equatable, Sendable {
    /// What a path or descriptor stands for.
    public enum Kind: String, Sendable {
        case regular, directory, blockDevice, characterDevice, pipe, socket, symbolicLink, other
    }

    /// The device number of the file system that holds the file.
    public var device: UInt64
    /// The file's number within its file system.
    public var inode: UInt64
    /// For a block or character device, the device number it stands for.
    public var representedDevice: UInt64
    /// The file's type.
    public var kind: Kind
    /// Permission bits.
    public var permissions: UInt32
    /// Size in bytes; 0 for devices.
    public var size: UInt64
    /// User and group that own the file.
    public var owner: UInt32
    /// Group that owns the file.
    public var group: UInt32

    init(_ answer: clinux_file_status) {
        device = answer.device
        inode = answer.inode
        representedDevice = answer.represented
        kind =
            switch mode_t(answer.mode) & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFBLK: .blockDevice
            case S_IFCHR: .characterDevice
            case S_IFIFO: .pipe
            case S_IFSOCK: .socket
            case S_IFLNK: .symbolicLink
            default: .other
            }
        permissions = UInt32(answer.mode & 0o7777)
        size = answer.size
        owner = UInt32(answer.owner)
        group = UInt32(answer.group)
    }

    /// What is at `path`; a symbolic link is not followed. nil when nothing is there.
    public static func atPath(_ path: String) throws(SystemError) -> FileStatus? {
        var answer = clinux_file_status()
        let status = unsafe clinux_lstat(path, &answer)
        if status == -ENOENT { return nil }
        try SystemError.check(status, "stat \(path)")
        return FileStatus(answer)
    }
}

extension FileStatus {
    /// The major number of `representedDevice` (Linux: 12 bits at 8, 20 bits at 32).
    public var representedMajor: UInt32 { UInt32((representedDevice >> 8 & 0xfff) | (representedDevice >> 32 & 0xffff_f000)) }
    /// The minor number of `representedDevice`.
    public var representedMinor: UInt32 { UInt32((representedDevice & 0xff) | (representedDevice >> 12 & 0xffff_ff00)) }
}
