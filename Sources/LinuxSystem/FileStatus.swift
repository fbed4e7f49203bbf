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

    /// What is at `path`, which is not opened for that; a symbolic link is followed only if asked. nil when nothing is there.
    public static func atPath(_ path: String, followsLinks: Bool = false) throws(SystemError) -> FileStatus? {
        var answer = clinux_file_status()
        let status = unsafe clinux_stat(path, followsLinks ? 1 : 0, &answer)
        if status == -ENOENT { return nil }
        try SystemError.check(status, "stat \(path)")
        return FileStatus(answer)
    }
}

extension FileStatus {
    /// The major and minor number of `representedDevice`.
    public var representedNumbers: (major: UInt32, minor: UInt32) { Self.split(representedDevice) }
    /// The major and minor number of `device`; a major of 0 means that no block device is behind the file system.
    public var deviceNumbers: (major: UInt32, minor: UInt32) { Self.split(device) }

    /// Linux's dev_t: 12 bits of the major number at bit 8, the rest at 32; 8 bits of the minor number at bit 0, the rest at 12.
    private static func split(_ number: UInt64) -> (major: UInt32, minor: UInt32) {
        (
            UInt32(truncatingIfNeeded: (number >> 8 & 0xfff) | (number >> 32 & 0xffff_f000)),
            UInt32(truncatingIfNeeded: (number & 0xff) | (number >> 12 & 0xffff_ff00))
        )
    }
}
