import CLinux
import Glibc
import LinuxSystem

/// Memory that reads as zeroes and takes no pages.
struct ZeroBuffer {
    static let size = 1 << 20
    /// nil only when not even address space is left; then nothing can be written from it.
    let memory = try? MemoryMapping(anonymous: ZeroBuffer.size)
}

/// Discards, writes of zeroes and secure erases, done by waiting for them.
enum SlowOperation {
    /// Note on an operation: the discard had no effect.
    static let ignoredDiscard: UInt16 = 1
    /// Note on an operation: the zeroes had to be written.
    static let wroteZeroes: UInt16 = 2

    /// Does the operation and returns 0 or a negated errno.
    static func perform(
        _ operation: UnsafeMutablePointer<IOOperation>, _ descriptor: FileDescriptor, isBlockDevice: Bool, mayUnmap: Bool,
        _ zeroes: ZeroBuffer
    ) -> Int64 {
        let fd = descriptor.rawValue
        let offset = unsafe operation.pointee.offset
        let length = unsafe operation.pointee.length
        guard length > 0 else { return 0 }
        guard offset <= UInt64(Int64.max), length <= UInt64(Int64.max) - offset else { return -Int64(EINVAL) }
        let status: Int32
        switch unsafe operation.pointee.kind {
        case .discard:
            status = isBlockDevice ? clinux_block_discard(fd, offset, length) : clinux_punch_hole(fd, Int64(offset), Int64(length))
            if isUnsupported(status) {
                // A discard is advice (virtio 1.2, 5.2.6): a backing that cannot follow it has not failed.
                unsafe operation.pointee.notes |= ignoredDiscard
                return 0
            }
        case .writeZeroes:
            let unmap = unsafe mayUnmap && operation.pointee.flags.contains(.unmap)
            let quick = writeZeroesQuickly(fd, offset, length, isBlockDevice: isBlockDevice, unmap: unmap)
            if isUnsupported(quick) {
                unsafe operation.pointee.notes |= wroteZeroes
                status = writeZeroes(fd, offset, length, zeroes)
            } else {
                status = quick
            }
        case .secureErase:
            status = isBlockDevice ? clinux_block_secure_erase(fd, offset, length) : -EOPNOTSUPP
        case .flush:
            status = clinux_fdatasync(fd)
        case .read, .write:
            status = -EINVAL
        }
        if status == 0, unsafe operation.pointee.flags.contains(.durable) { return Int64(clinux_fdatasync(fd)) }
        return Int64(status)
    }

    private static func isUnsupported(_ status: Int32) -> Bool {
        status == -EOPNOTSUPP || status == -ENOSYS || status == -ENOTTY
    }

    /// Zeroes a range without sending zeroes. Holes give the space back; the others keep it, as a write without UNMAP must (virtio 1.2,
    /// 5.2.6.2).
    private static func writeZeroesQuickly(
        _ fd: Int32, _ offset: UInt64, _ length: UInt64, isBlockDevice: Bool, unmap: Bool
    ) -> Int32 {
        if unmap {
            let status = clinux_punch_hole(fd, Int64(offset), Int64(length))
            if !isUnsupported(status) { return status }
        }
        let status = clinux_zero_range(fd, Int64(offset), Int64(length))
        if !isUnsupported(status) || !isBlockDevice { return status }
        return clinux_block_zero(fd, offset, length)
    }

    private static func writeZeroes(_ fd: Int32, _ offset: UInt64, _ length: UInt64, _ zeroes: ZeroBuffer) -> Int32 {
        guard let memory = zeroes.memory else { return -ENOMEM }
        var written: UInt64 = 0
        while written < length {
            let piece = Int(min(length - written, UInt64(ZeroBuffer.size)))
            let answer = unsafe clinux_pwrite(fd, memory.base, piece, Int64(offset + written))
            if answer == -Int64(EINTR) { continue }
            if answer <= 0 { return answer < 0 ? Int32(answer) : -EIO }
            written += UInt64(answer)
        }
        return 0
    }
}
