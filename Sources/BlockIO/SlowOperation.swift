import CLinux
import Glibc
import LinuxSystem

/// Memory that reads as zeroes and takes no pages.
struct ZeroBuffer: Sendable {
    static let size = 1 << 20
    /// nil only when not even address space is left; then nothing can be written from it.
    let memory = try? MemoryMapping(anonymous: ZeroBuffer.size)
}

/// What slow operations are done to.
struct SlowTarget: Sendable {
    let descriptor: FileDescriptor
    /// The logical block size of a block device, 0 for a regular file.
    let deviceBlock: UInt64
    /// Whether zeroes may be holes.
    let mayUnmap: Bool
}

/// Discards, writes of zeroes and secure erases, done by waiting for them.
struct SlowOperation {
    /// Note on an operation: the discard had no effect.
    static let ignoredDiscard: UInt16 = 1
    /// Note on an operation: the zeroes had to be written.
    static let wroteZeroes: UInt16 = 2

    let target: SlowTarget
    let zeroes: ZeroBuffer

    private var fd: Int32 { target.descriptor.rawValue }
    private var isBlockDevice: Bool { target.deviceBlock > 0 }

    /// Does the operation and returns 0 or a negated errno.
    func perform(_ operation: UnsafeMutablePointer<IOOperation>) -> Int64 {
        let offset = unsafe operation.pointee.offset
        let length = unsafe operation.pointee.length
        guard offset <= UInt64(Int64.max), length <= UInt64(Int64.max) - offset else { return -Int64(EINVAL) }
        let range = offset..<(offset + length)
        let status: Int32
        switch unsafe operation.pointee.kind {
        case .discard:
            status = discard(range)
            if isUnsupported(status) {
                // A discard is advice (virtio 1.2, 5.2.6): a backing that cannot follow it has not failed.
                unsafe operation.pointee.notes |= Self.ignoredDiscard
                return 0
            }
        case .writeZeroes:
            let unmap = unsafe target.mayUnmap && operation.pointee.flags.contains(.unmap)
            var hadToWrite = false
            status = zero(range, unmap: unmap, &hadToWrite)
            if hadToWrite { unsafe operation.pointee.notes |= Self.wroteZeroes }
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

    private func isUnsupported(_ status: Int32) -> Bool {
        status == -EOPNOTSUPP || status == -ENOSYS || status == -ENOTTY
    }

    /// The part of a range that a device takes: whole logical blocks. A guest's disk may have smaller ones.
    private func wholeBlocks(_ range: Range<UInt64>) -> Range<UInt64> {
        guard isBlockDevice else { return range }
        let start = (range.lowerBound + target.deviceBlock - 1) / target.deviceBlock * target.deviceBlock
        let end = range.upperBound / target.deviceBlock * target.deviceBlock
        return start..<max(start, end)
    }

    private func discard(_ range: Range<UInt64>) -> Int32 {
        let whole = wholeBlocks(range)
        guard !whole.isEmpty else { return 0 }
        guard isBlockDevice else { return clinux_punch_hole(fd, Int64(whole.lowerBound), Int64(whole.count)) }
        return repeatWhileBusy { clinux_block_discard(fd, whole.lowerBound, UInt64(whole.count)) }
    }

    private func zero(_ range: Range<UInt64>, unmap: Bool, _ hadToWrite: inout Bool) -> Int32 {
        let whole = wholeBlocks(range)
        guard !whole.isEmpty else { return write(range) }
        var status = zeroQuickly(whole, unmap: unmap)
        if isUnsupported(status) {
            hadToWrite = true
            status = write(whole)
        }
        // The ends that no whole block covers go through the page cache: such a disk is never opened for direct I/O.
        if status == 0 { status = write(range.lowerBound..<whole.lowerBound) }
        if status == 0 { status = write(whole.upperBound..<range.upperBound) }
        return status
    }

    /// Zeroes whole blocks without sending zeroes. Holes give the space back; the others keep it, as a write without UNMAP must (virtio
    /// 1.2, 5.2.6.2).
    private func zeroQuickly(_ range: Range<UInt64>, unmap: Bool) -> Int32 {
        if unmap {
            let status = repeatWhileBusy { clinux_punch_hole(fd, Int64(range.lowerBound), Int64(range.count)) }
            if !isUnsupported(status) { return status }
        }
        let status = repeatWhileBusy { clinux_zero_range(fd, Int64(range.lowerBound), Int64(range.count)) }
        if !isUnsupported(status) || !isBlockDevice { return status }
        return repeatWhileBusy { clinux_block_zero(fd, range.lowerBound, UInt64(range.count)) }
    }

    /// A claimed block device answers EBUSY when a page of the range is just being read or written through the page cache (Linux,
    /// truncate_bdev_range); the page is free a moment later.
    private func repeatWhileBusy(_ body: () -> Int32) -> Int32 {
        let attemptsMax = 200
        var status = body()
        for _ in 0..<attemptsMax where status == -EBUSY && isBlockDevice {
            _ = clinux_fdatasync(fd)
            usleep(1000)
            status = body()
        }
        return status
    }

    /// Writes zeroes, in pieces.
    private func write(_ range: Range<UInt64>) -> Int32 {
        guard let memory = zeroes.memory else { return -ENOMEM }
        var position = range.lowerBound
        while position < range.upperBound {
            let piece = Int(min(range.upperBound - position, UInt64(ZeroBuffer.size)))
            let answer = unsafe clinux_pwrite(fd, memory.base, piece, Int64(position))
            if answer == -Int64(EINTR) { continue }
            if answer <= 0 { return answer < 0 ? Int32(answer) : -EIO }
            position += UInt64(answer)
        }
        return 0
    }
}
