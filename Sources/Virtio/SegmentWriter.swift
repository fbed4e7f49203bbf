public import LinuxSystem

/// Collects the segments of one chain while it is walked, and what the chain's rules need to know of those that came before.
///
/// The rings walk with a writer in registers. A variable whose address is taken lives in memory, so the paths that are rare are functions of
/// their own that take a copy of the writer and give one back.
///
/// Safety: `cursor` stays within `segments.base` and `limit`, which is that plus its capacity.
@frozen
@safe
@usableFromInline
struct SegmentWriter {
    /// Where the segments go; changed by a spill.
    @usableFromInline var segments: SegmentBuffer
    /// Where the next segment goes.
    @usableFromInline var cursor: UnsafeMutablePointer<IOVector>
    @usableFromInline var limit: UnsafeMutablePointer<IOVector>
    /// Bytes so far. Fewer than 2^32 descriptors of less than 2^32 bytes: it cannot overflow.
    @usableFromInline var length: UInt64 = 0
    /// Bytes of the readable segments, once `readableCount` is settled.
    @usableFromInline var readableLength: UInt64 = 0
    /// Number of readable segments; -1 until the first writable descriptor settles it.
    @usableFromInline var readableCount: Int32 = -1
    /// Descriptors without bytes so far. They make no segments, so the segment buffer does not bound them.
    @usableFromInline var emptyCount: Int32 = 0

    /// What a function gives back that takes a copy of the writer.
    @usableFromInline typealias Outcome = (writer: SegmentWriter, result: PopResult)

    @inlinable
    @inline(__always)
    init(_ segments: SegmentBuffer) {
        self.segments = segments
        unsafe cursor = segments.base
        unsafe limit = segments.base + Int(segments.capacity)
    }

    /// Adds one buffer; `.chain` means go on. This is what bounds every walk: each descriptor takes a segment or counts as empty.
    @inlinable
    @inline(__always)
    mutating func append(_ address: UInt64, _ size: UInt32, _ memory: inout GuestMemoryView) -> PopResult {
        // The common case: a buffer of at least one byte, wholly in one of the two regions hit last, and room for it.
        if let place = unsafe memory.windows.translate(address, size), unsafe cursor != limit {
            unsafe cursor.initialize(to: IOVector(base: place, length: Int(truncatingIfNeeded: size)))
            unsafe cursor += 1
            length &+= UInt64(size)
            return .chain
        }
        let slow = Self.appendSlowly(self, address, size, &memory)
        self = slow.writer
        return slow.result
    }

    /// Adds a buffer of a third region, or one that spans regions, or an empty one, or one that needs the spill block.
    @inlinable
    @inline(never)
    static func appendSlowly(_ start: SegmentWriter, _ address: UInt64, _ size: UInt32, _ memory: inout GuestMemoryView) -> Outcome {
        var writer = start
        if size == 0 {
            writer.emptyCount += 1
            return (writer, writer.emptyCount > writer.segments.segmentsMax ? .malformed(.tooLong) : .chain)
        }
        writer.length += UInt64(size)
        var address = address
        var rest = UInt64(size)
        while rest > 0 {
            // The readable part is settled when the first writable buffer comes.
            let piece = unsafe memory.prefix(address, rest, for: writer.readableCount < 0 ? .read : .write)
            guard let start = piece.baseAddress else { return (writer, .malformed(.unmappedBuffer)) }
            if unsafe writer.cursor == writer.limit, let refusal = writer.spill() { return (writer, refusal) }
            unsafe writer.cursor.initialize(to: IOVector(base: start, length: piece.count))
            unsafe writer.cursor += 1
            // No overflow: the piece lies in a region, and a region ends below 2^64.
            address += UInt64(piece.count)
            rest -= UInt64(piece.count)
        }
        return (writer, .chain)
    }

    /// Moves to the spill block; the reason if that cannot be.
    @inlinable
    mutating func spill() -> PopResult? {
        let count = segments.capacity
        // After a spill the spill block is all there is.
        if count >= segments.spillCapacity { return .malformed(.tooLong) }
        guard let spill = unsafe segments.spill else { return .blocked }
        unsafe spill.update(from: segments.base, count: Int(count))
        unsafe segments.base = spill
        segments.capacity = segments.spillCapacity
        unsafe cursor = spill + Int(count)
        unsafe limit = spill + Int(segments.capacity)
        return nil
    }

    /// Adds a buffer of a chain whose readable part may or may not be over; for the walks that are not hot.
    @inlinable
    mutating func append(
        _ descriptor: DescriptorCopy, isWritable: Bool, _ memory: inout GuestMemoryView
    ) -> PopResult {
        if isWritable {
            if readableCount < 0 { settle() }
        } else if readableCount >= 0 {
            return .malformed(.readableAfterWritable)
        }
        return append(descriptor.address, descriptor.length, &memory)
    }

    /// Number of segments so far.
    @inlinable
    @inline(__always)
    var count: Int32 {
        // Not pointer subtraction, which would round towards zero at the price of three instructions.
        Int32(truncatingIfNeeded: unsafe (UInt(bitPattern: cursor) &- UInt(bitPattern: segments.base)) >> 4)
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
    /// The chain without a readable part and, when `status` is known and mapped, with the byte at that address as its only segment.
    @inlinable
    init(_ handle: ChainHandle, onlyStatus status: UInt64?, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer) {
        self.init()
        self.handle = handle
        if let status, let place = unsafe memory.translate(status, 1, for: .write), segments.capacity > 0 {
            unsafe segments.base[0] = IOVector(base: place, length: 1)
            writableCount = 1
            writableLength = 1
        }
    }
}
