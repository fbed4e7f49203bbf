import LinuxSystem

/// The progress of a read or write through its segments. A transfer may take several calls to the kernel: because the kernel did a part,
/// because there are more segments than one call takes, or because it goes through a bounce buffer in pieces.
extension IOOperation {
    /// IOV_MAX: the most segments of one system call.
    static var segmentsPerCallMax: Int32 { 1024 }
    /// The most bytes of one call: the kernel's own limit is 2 GiB less a page.
    static var bytesPerCallMax: UInt64 { 1 << 30 }

    /// Makes the operation the engine's.
    @inline(__always)
    mutating func start(on channel: UnsafeMutablePointer<ChannelState>) {
        unsafe self.channel = UnsafeMutableRawPointer(channel)
        unsafe bounce = nil
        (done, partialIndex, attempts, notes) = (0, -1, 0, 0)
    }

    /// The channel the operation was added to.
    @inline(__always)
    var state: UnsafeMutablePointer<ChannelState> {
        // Set by `start` to exactly this type; only operations that were started come here.
        unsafe channel.unsafelyUnwrapped.assumingMemoryBound(to: ChannelState.self)
    }

    /// Whether the kernel takes the segments' memory as it is.
    @inline(__always)
    var isAligned: Bool {
        let channel = unsafe state
        let memoryMask = unsafe channel.pointee.memoryMask
        let lengthMask = unsafe UInt(truncatingIfNeeded: channel.pointee.offsetMask)
        if memoryMask | lengthMask == 0 { return true }
        var index = 0
        var misaligned: UInt = 0
        while index < segmentCount {
            let segment = unsafe segments[index]
            misaligned |= unsafe UInt(bitPattern: segment.base) & memoryMask
            misaligned |= UInt(bitPattern: segment.length) & lengthMask
            index += 1
        }
        return misaligned == 0
    }

    /// Where the rest of the segments begins.
    @inline(__always)
    var restOfSegments: UnsafeMutablePointer<IOVector> { unsafe segments + Int(max(partialIndex, 0)) }

    /// How many segments the next call takes.
    @inline(__always)
    var segmentCountOfCall: Int32 { min(segmentCount - max(partialIndex, 0), Self.segmentsPerCallMax) }

    /// Bytes of the piece that goes through the bounce buffer next.
    var bouncePiece: Int { Int(min(length - done, UInt64(BouncePool.bufferSize))) }

    /// RWF_* of the call: RWF_DSYNC, as if opened with O_DSYNC, for a durable write.
    @inline(__always)
    var transferFlags: UInt32 { kind == .write && flags.contains(.durable) ? 2 : 0 }

    /// Notes that the kernel transferred `count` bytes more, fewer than are left, and makes the segments begin after them.
    mutating func advance(by count: UInt64) {
        var index = max(partialIndex, 0)
        var left = Int(count)
        while index < segmentCount, unsafe segments[Int(index)].length <= left {
            left -= unsafe segments[Int(index)].length
            if index == partialIndex { restoreSegments() }
            index += 1
        }
        done += count
        if index == partialIndex {
            unsafe segments[Int(index)] = rest(of: segments[Int(index)], from: left)
            return
        }
        restoreSegments()
        guard index < segmentCount else { return }
        partialIndex = index
        unsafe partial = segments[Int(index)]
        unsafe segments[Int(index)] = rest(of: partial, from: left)
    }

    /// Puts the segment that was shortened back to what the caller gave.
    @inline(__always)
    mutating func restoreSegments() {
        guard partialIndex >= 0 else { return }
        unsafe segments[Int(partialIndex)] = partial
        partialIndex = -1
    }

    /// Copies `count` bytes between the segments, from byte `done` on, and a bounce buffer.
    func copy(_ count: Int, with buffer: UnsafeMutableRawPointer, toSegments: Bool) {
        var skip = Int(done)
        var copied = 0
        var index = 0
        while index < segmentCount, copied < count {
            let segment = unsafe segments[index]
            index += 1
            if segment.length <= skip {
                skip -= segment.length
                continue
            }
            let piece = min(segment.length - skip, count - copied)
            let memory = unsafe segment.base + skip
            if toSegments {
                unsafe memory.copyMemory(from: buffer + copied, byteCount: piece)
            } else {
                unsafe (buffer + copied).copyMemory(from: memory, byteCount: piece)
            }
            copied += piece
            skip = 0
        }
    }

    private func rest(of segment: IOVector, from offset: Int) -> IOVector {
        unsafe IOVector(base: segment.base + offset, length: segment.length - offset)
    }
}
