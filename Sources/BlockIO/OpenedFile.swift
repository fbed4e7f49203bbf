import CLinux
import Glibc
import LinuxSystem

/// A file or block device as opening it showed it to be; what a `Backing` is made from.
struct OpenedFile {
    let path: String
    let descriptor: FileDescriptor
    let isBlockDevice: Bool
    let size: UInt64
    /// nil when the page cache is in between.
    let alignment: DirectAlignment?
    let bufferedReason: String
    let blockSize: UInt32
    let physicalBlockSize: UInt32
    /// nil for regular files.
    let geometry: clinux_geometry?
    /// Of the block device, or of the one the file's file system is on; nil when there is none.
    let attributes: BlockDeviceAttributes?
    private let fileSystem: Int64

    private static let tmpfsMagic: Int64 = 0x0102_1994
    private static let ramfsMagic: Int64 = 0x8584_58f6

    init(path: String, options: BackingOptions) throws(BackingError) {
        self.path = path
        let before = try Self.status(of: path)
        isBlockDevice = before.kind == .blockDevice
        let plain = try Self.open(path, options, direct: false)
        geometry = isBlockDevice ? try Self.geometry(of: plain, path) : nil
        let status = try Self.wrap(path) { () throws(SystemError) in try plain.status() }
        size = geometry?.size ?? status.size
        guard size >= 512 else {
            throw BackingError(
                .badSize, path: path, "\(path) has \(size) bytes, less than one block of 512",
                hint: isBlockDevice ? "" : "give it a size first, for example with truncate -s 10G")
        }
        let device = isBlockDevice ? status.representedNumbers : status.deviceNumbers
        attributes = BlockDeviceAttributes(major: device.major, minor: device.minor)
        fileSystem = isBlockDevice ? 0 : clinux_file_system_type(plain.rawValue)

        let logical = geometry?.logical_block ?? 512
        let direct = try Self.openDirect(path, options, size: size, geometry: geometry)
        descriptor = direct.descriptor ?? plain
        alignment = direct.alignment
        bufferedReason = direct.reason
        blockSize = options.blockSize ?? max(512, logical, direct.alignment?.offset ?? 1)
        physicalBlockSize = max(blockSize, geometry?.physical_block ?? 4096)
    }

    /// Whether the medium is memory.
    var isMemory: Bool {
        if isBlockDevice { return attributes?.isMemory == true }
        return fileSystem == Self.tmpfsMagic || fileSystem == Self.ramfsMagic
    }

    /// Whether a flush changes nothing: file systems in memory ignore it, and zram and ram disks have no cache below the page cache.
    var flushIsFree: Bool {
        guard isBlockDevice else { return isMemory }
        let isVolatile = attributes.map { $0.name.hasPrefix("zram") || $0.name.hasPrefix("ram") } ?? false
        return isVolatile && alignment != nil
    }

    /// Whether a read that must not wait is understood; what it would have answered does not matter.
    func supportsNowait() -> Bool {
        let unit = Int(max(alignment?.offset ?? 512, alignment?.memory ?? 512))
        guard let buffer = try? MemoryMapping(anonymous: unit) else { return false }
        let answer = unsafe clinux_pread_nowait(descriptor.rawValue, buffer.base, unit, 0)
        return answer >= 0 || answer == -Int64(EAGAIN)
    }

    /// What the device, or the file system, can do besides reading and writing.
    func limits() -> BackingLimits {
        // A command may not occupy the device without end: 1 GiB where it only changes maps, less where zeroes may have to be written.
        let mapsOnlyMax: UInt64 = 1 << 30
        let writtenMax: UInt64 = 1 << 27
        guard isBlockDevice else {
            let canPunch = canPunchHoles()
            return BackingLimits(
                canDiscard: canPunch, discardBytesMax: canPunch ? mapsOnlyMax : 0,
                discardGranularity: max(blockSize, fileSystemBlock()), canWriteZeroes: true, writeZeroesBytesMax: writtenMax,
                writeZeroesMayUnmap: canPunch, canSecureErase: false, secureEraseBytesMax: 0)
        }
        let canDiscard = (attributes?.discardBytesMax ?? 0) > 0
        let hasZeroCommand = (attributes?.writeZeroesBytesMax ?? 0) > 0
        let canErase = canSecureErase()
        return BackingLimits(
            canDiscard: canDiscard, discardBytesMax: canDiscard ? mapsOnlyMax : 0,
            discardGranularity: max(blockSize, UInt32(clamping: attributes?.discardGranularity ?? 0)), canWriteZeroes: true,
            writeZeroesBytesMax: hasZeroCommand ? mapsOnlyMax : writtenMax, writeZeroesMayUnmap: hasZeroCommand,
            canSecureErase: canErase, secureEraseBytesMax: canErase ? mapsOnlyMax : 0)
    }

    /// The unit in which the file system allocates.
    private func fileSystemBlock() -> UInt32 {
        let block = clinux_file_system_block(descriptor.rawValue)
        return block >= 512 && block <= 1 << 20 && block & (block - 1) == 0 ? UInt32(block) : 4096
    }

    /// Tries a hole far past the file's end, where there is nothing to lose; every answer but "not supported" means yes.
    private func canPunchHoles() -> Bool {
        let past = (size + (1 << 20)) / 4096 * 4096
        let status = clinux_punch_hole(descriptor.rawValue, Int64(clamping: past), 4096)
        return status != -EOPNOTSUPP && status != -ENOSYS
    }

    /// Tries a secure erase past the device's end: the kernel checks whether the device can do it before it checks the range (Linux 5.19;
    /// before that it did not, and the answer tells nothing).
    private func canSecureErase() -> Bool {
        guard clinux_kernel_version() >= 5019 else { return false }
        let past = (size + 4095) / 4096 * 4096
        return clinux_block_secure_erase(descriptor.rawValue, past, 4096) == -EINVAL
    }
}

extension OpenedFile {
    private static func status(of path: String) throws(BackingError) -> FileStatus {
        // Asked before opening, since opening a pipe waits for its other end and opening a tape moves it.
        let status = try wrap(path) { () throws(SystemError) in
            guard let status = try FileStatus.atPath(path, followsLinks: true) else { throw SystemError("open \(path)", errno: ENOENT) }
            return status
        }
        guard status.kind == .regular || status.kind == .blockDevice else {
            throw BackingError(
                .wrongType, path: path, "\(path) is a \(status.kind.rawValue), neither a regular file nor a block device",
                hint: "give the path of an image file or of a device such as /dev/nvme0n1")
        }
        return status
    }

    private static func open(_ path: String, _ options: BackingOptions, direct: Bool) throws(BackingError) -> FileDescriptor {
        let access = options.isReadOnly ? O_RDONLY : O_RDWR
        return try wrap(path, isWriting: !options.isReadOnly) { () throws(SystemError) in
            try FileDescriptor.open(path, flags: access | (direct ? clinux_o_direct() : 0))
        }
    }

    /// Opens the file for direct I/O if the options and the file allow it; else says why not, or refuses if it was demanded.
    private static func openDirect(
        _ path: String, _ options: BackingOptions, size: UInt64, geometry: clinux_geometry?
    ) throws(BackingError) -> (descriptor: FileDescriptor?, alignment: DirectAlignment?, reason: String) {
        if options.direct == .off { return (nil, nil, "asked for") }
        let reason: String
        do {
            let descriptor = try open(path, options, direct: true)
            if let alignment = DirectAlignment.probe(descriptor, size: size, geometry: geometry) {
                let blockSize = options.blockSize ?? alignment.offset
                if blockSize >= alignment.offset { return (descriptor, alignment, "") }
                reason = "the block size \(blockSize) is smaller than the \(alignment.offset) bytes that direct I/O needs"
            } else {
                reason = "the file system cannot bypass the page cache for this file"
            }
        } catch {
            guard error.cause?.errno == EINVAL else { throw error }
            reason = "the file system has no direct I/O"
        }
        if options.direct == .on {
            throw BackingError(
                .directUnavailable, path: path, "direct I/O on \(path) is not possible: \(reason)",
                hint: "leave direct I/O to the daemon (auto), or choose a larger block size")
        }
        return (nil, nil, reason)
    }

    private static func geometry(of descriptor: FileDescriptor, _ path: String) throws(BackingError) -> clinux_geometry {
        var geometry = clinux_geometry()
        try wrap(path) { () throws(SystemError) in
            _ = try SystemError.check(unsafe clinux_block_geometry(descriptor.rawValue, &geometry), "ask for the size of \(path)")
        }
        return geometry
    }

    /// Gives a failed call the words that a person needs.
    private static func wrap<Result>(
        _ path: String, isWriting: Bool = false, _ body: () throws(SystemError) -> Result
    ) throws(BackingError) -> Result {
        do {
            return try body()
        } catch {
            let message = "cannot open \(path)\(isWriting ? " for writing" : ""): \(error.reason)"
            switch error.errno {
            case ENOENT, ENOTDIR: throw BackingError(.notFound, path: path, message, hint: "check the path", cause: error)
            case EACCES, EPERM:
                let hint = "the daemon runs as user \(geteuid()); give that user the right to it, by a group (disk) or a udev rule"
                throw BackingError(.permissionDenied, path: path, message, hint: hint, cause: error)
            case EROFS: throw BackingError(.permissionDenied, path: path, message, hint: "export it read-only", cause: error)
            case EBUSY, ETXTBSY: throw BackingError(.busy, path: path, message, hint: "release its other user first", cause: error)
            default: throw BackingError(.system, path: path, message, cause: error)
            }
        }
    }
}
