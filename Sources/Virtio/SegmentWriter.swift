public import LinuxSystem

/// Collects the segments of one chain while it is walked, and what the chain's rules need to know of those that came before.
@frozen
@usableFromInline
struct SegmentWriter {
    /// Segments written so far.
    @usableFromInline var count: Int32 = 0
    /// Number of readable segments; -1 until the first writable descriptor settles it.
    @usableFromInline var readableCount: Int32 = -1
    /// Bytes of the readable segments, once `readableCount` is settled.
    @usableFromInline var readableLength: UInt64 = 0
    /// Bytes so far. At most 65536 descriptors of less than 2^32 bytes: it cannot overflow.
    @usableFromInline var length: UInt64 = 0

    @inlinable
    @inline(__always)
    init() {}

    /// Adds one buffer; `.chain` means go on.
    @inlinable
    @inline(__always)
    mutating func append(
        _ address: UInt64, _ size: UInt32, isWritable: Bool, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer
    ) -> PopResult {
        if isWritable {
            if readableCount < 0 { settle() }
        } else if readableCount >= 0 {
            return .malformed(.readableAfterWritable)
        }
        length &+= UInt64(size)
        // The common case: a buffer of at least one byte, wholly in the region hit last, and room for it. `size - 1` makes 0 a huge
        // number, so that one compare also sends the empty buffer to the slow path.
        let offset = address &- memory.lastStart
        if offset < memory.lastSize, UInt64(size) &- 1 < memory.lastSize &- offset, count < segments.capacity {
            unsafe segments.base[Int(truncatingIfNeeded: count)] = IOVector(
                base: memory.lastBase + Int(truncatingIfNeeded: offset), length: Int(truncatingIfNeeded: size))
            count &+= 1
            return .chain
        }
        return appendSlowly(address, size, &memory, &segments)
    }

    /// Adds a buffer of another region, or one that spans regions, or an empty one, or one that needs the spill block.
    @inlinable
    @inline(never)
    mutating func appendSlowly(
        _ address: UInt64, _ size: UInt32, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer
    ) -> PopResult {
        var address = address
        var rest = UInt64(size)
        while rest > 0 {
            let piece = unsafe memory.prefix(address, rest)
            guard let start = piece.baseAddress else { return .malformed(.unmappedBuffer) }
            if count >= segments.capacity {
                if unsafe segments.spill == segments.base { return .malformed(.tooLong) }
                guard let spill = unsafe segments.spill else {
                    return count < segments.spillCapacity ? .blocked : .malformed(.tooLong)
                }
                guard count < segments.spillCapacity else { return .malformed(.tooLong) }
                unsafe spill.update(from: segments.base, count: Int(count))
                unsafe segments.base = spill
                segments.capacity = segments.spillCapacity
            }
            unsafe segments.base[Int(count)] = IOVector(base: start, length: piece.count)
            count += 1
            // No overflow: the piece lies in a region, and a region ends below 2^64.
            address += UInt64(piece.count)
            rest -= UInt64(piece.count)
        }
        return .chain
    }

    /// Notes that the readable part ends here.
    @inlinable
    @inline(__always)
    mutating func settle() {
        readableCount = count
        readableLength = length
    }

    /// Ends the walk: fills in the chain's counts and lengths, or finds it too long.
    @inlinable
    @inline(__always)
    mutating func finish(_ chain: inout DescriptorChain) -> PopResult {
        if readableCount < 0 { settle() }
        chain.readableCount = readableCount
        chain.writableCount = count &- readableCount
        chain.readableLength = readableLength
        chain.writableLength = length &- readableLength
        // virtio 1.3, 2.7.5: no chain may be longer than 2^32 bytes in total.
        return length > 1 << 32 ? .malformed(.tooManyBytes) : .chain
    }
}

extension DescriptorChain {
    /// Makes the chain one without a readable part and, when `status` is known and mapped, the byte at that address as its only segment.
    @inlinable
    mutating func leaveOnlyStatus(_ status: UInt64?, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer) {
        readableCount = 0
        readableLength = 0
        writableCount = 0
        writableLength = 0
        if let status, let place = unsafe memory.translate(status, 1), segments.capacity > 0 {
            unsafe segments.base[0] = IOVector(base: place, length: 1)
            writableCount = 1
            writableLength = 1
        }
    }
}
