/// Descriptor flags, the same in both formats (virtio 1.3, 2.7.5 and 2.8.13).
@usableFromInline
enum DescriptorFlags {
    /// VIRTQ_DESC_F_NEXT
    @inlinable static var next: UInt32 { 1 }
    /// VIRTQ_DESC_F_WRITE
    @inlinable static var write: UInt32 { 2 }
    /// VIRTQ_DESC_F_INDIRECT
    @inlinable static var indirect: UInt32 { 4 }
}

/// How the second half of a descriptor is laid out, and how the descriptors of an indirect table follow each other.
@usableFromInline
protocol DescriptorFormat {
    /// The flags, in the lowest 16 bits; what is above them is undefined.
    static func flags(_ meta: UInt64) -> UInt32
    /// Whether NEXT and the `next` field link an indirect table, or it is read from first to last.
    static var isLinked: Bool { get }
    // Of three descriptors that follow each other as they lie:
    /// Whether the first is 16 readable bytes, and not the end.
    static func isHeader(_ meta: UInt64) -> Bool
    /// Whether the second is bytes of either kind, and not the end.
    static func isData(_ meta: UInt64) -> Bool
    /// Whether the third is one writable byte and the end.
    static func isStatus(_ meta: UInt64) -> Bool
}

/// Split: len in bits 0-31 of the second word, flags in 32-47, next in 48-63.
///
/// ```
///        0                     8          12      14
///  0     | addr (64)           | len (32) | flags | next |
/// ```
/// An indirect table is a linked list beginning at its first descriptor (virtio 1.3, 2.7.5.3).
@frozen
@usableFromInline
enum SplitFormat: DescriptorFormat {
    @inlinable
    @inline(__always)
    static func flags(_ meta: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: meta >> 32) }

    @inlinable static var isLinked: Bool { true }

    @inlinable
    @inline(__always)
    static func isHeader(_ meta: UInt64) -> Bool {
        // next above flags above len: NEXT to 1.
        meta == 0x1_0001_0000_0010
    }

    @inlinable
    @inline(__always)
    static func isData(_ meta: UInt64) -> Bool {
        // NEXT, perhaps WRITE, to 2.
        flags(meta) & ~DescriptorFlags.write == 0x2_0001
    }

    @inlinable
    @inline(__always)
    static func isStatus(_ meta: UInt64) -> Bool {
        // WRITE, next means nothing.
        meta << 16 == 0x2_0000_0001 << 16
    }
}

/// Packed: len in bits 0-31 of the second word, buffer id in 32-47, flags in 48-63.
///
/// ```
///        0                     8          12   14
///  0     | addr (64)           | len (32) | id | flags |
/// ```
/// Every descriptor of an indirect table counts, in order; NEXT and the buffer id mean nothing there (virtio 1.3, 2.8.8).
@frozen
@usableFromInline
enum PackedFormat: DescriptorFormat {
    @inlinable
    @inline(__always)
    static func flags(_ meta: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: meta >> 48) }

    @inlinable static var isLinked: Bool { false }

    @inlinable
    @inline(__always)
    static func isHeader(_ meta: UInt64) -> Bool {
        // WRITE and INDIRECT above id above len.
        meta & (6 << 48 | 0xffff_ffff) == 16
    }

    @inlinable
    @inline(__always)
    static func isData(_ meta: UInt64) -> Bool { flags(meta) & DescriptorFlags.indirect == 0 }

    @inlinable
    @inline(__always)
    static func isStatus(_ meta: UInt64) -> Bool { meta & (6 << 48 | 0xffff_ffff) == 2 << 48 | 1 }

    /// VIRTQ_DESC_F_AVAIL in the second word.
    @inlinable static var avail: UInt64 { 0x80 << 48 }
    /// VIRTQ_DESC_F_USED in the second word.
    @inlinable static var used: UInt64 { 0x8000 << 48 }
    /// VIRTQ_DESC_F_WRITE in the second word.
    @inlinable static var write: UInt64 { 2 << 48 }
    /// The two bits that say whose the descriptor is.
    @inlinable static var ownership: UInt64 { avail | used }

    /// The ownership bits of a descriptor that is available in the lap with wrap counter `wrap` (virtio 1.3, 2.8.1).
    @inlinable static func available(_ wrap: Bool) -> UInt64 { wrap ? avail : used }
    /// The ownership bits of a descriptor that was used in the lap with wrap counter `wrap`.
    @inlinable static func used(_ wrap: Bool) -> UInt64 { wrap ? ownership : 0 }
}

/// One descriptor, copied.
@frozen
@usableFromInline
struct DescriptorCopy {
    @usableFromInline var address: UInt64
    @usableFromInline var meta: UInt64

    @inlinable
    @inline(__always)
    init(address: UInt64, meta: UInt64) {
        self.address = address
        self.meta = meta
    }

    @inlinable var length: UInt32 { UInt32(truncatingIfNeeded: meta) }
}

/// A table of descriptors in one piece of this process's memory, at least 8-byte aligned.
///
/// Safety: whoever makes one has checked the range; walks check each index against the number of descriptors.
@frozen
@safe
@usableFromInline
struct MappedTable {
    @usableFromInline let base: UnsafeMutableRawPointer

    @inlinable
    @inline(__always)
    init(base: UnsafeMutableRawPointer) { unsafe self.base = unsafe base }

    @inlinable
    @inline(__always)
    func load(_ index: UInt32) -> DescriptorCopy {
        // Relaxed: the acquire load of the avail index (packed: of the head's flags) ordered these loads already.
        let entry = unsafe base + Int(truncatingIfNeeded: index) &* 16
        return unsafe DescriptorCopy(address: entry.shared64(), meta: entry.shared64(at: 8))
    }
}

/// A table known by its guest address only, for indirect tables that are misaligned or straddle regions; both are legal and rare.
@frozen
@usableFromInline
struct ScatteredTable {
    @usableFromInline let address: UInt64

    @inlinable
    init(address: UInt64) { self.address = address }

    /// Copies the descriptor at `index`; nil if it is not mapped.
    @inlinable
    func load(_ index: UInt32, _ memory: inout GuestMemoryView) -> DescriptorCopy? {
        let (start, overflow) = address.addingReportingOverflow(UInt64(index) &* 16)
        guard !overflow, let first = loadWord(start, &memory), let second = loadWord(start &+ 8, &memory) else { return nil }
        return DescriptorCopy(address: first, meta: second)
    }

    /// Eight bytes of guest memory, each read once, wherever they lie.
    @inlinable
    func loadWord(_ start: UInt64, _ memory: inout GuestMemoryView) -> UInt64? {
        if let place = unsafe memory.translate(start, 8) { return unsafe place.sharedBytes64() }
        var word: UInt64 = 0
        for index in 0..<UInt64(8) {
            // `start + 7` may wrap at 2^64 only past an address that no region holds.
            guard let place = unsafe memory.translate(start &+ index, 1) else { return nil }
            word |= UInt64(unsafe place.shared8()) << (8 &* index)
        }
        return word
    }
}
