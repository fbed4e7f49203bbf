/// The second half of a split descriptor as one 64-bit word (virtio 1.3, 2.7.5): len in bits 0-31, flags in 32-47, next in 48-63.
///
/// ```
///        0        4     6      8        12      14
///  0     | addr (64)           | len (32) | flags | next |
/// ```
/// The first half is the guest address. A descriptor is read with two 64-bit loads, each once.
@usableFromInline
enum SplitDescriptor {
    @usableFromInline static let size = 16
    /// VIRTQ_DESC_F_NEXT
    @inlinable static var next: UInt64 { 1 << 32 }
    /// VIRTQ_DESC_F_WRITE
    @inlinable static var write: UInt64 { 2 << 32 }
    /// VIRTQ_DESC_F_INDIRECT
    @inlinable static var indirect: UInt64 { 4 << 32 }
}

/// The second half of a packed descriptor as one 64-bit word (virtio 1.3, 2.8.13): len in bits 0-31, buffer id in 32-47, flags in 48-63.
///
/// ```
///        0        4     6      8        12      14
///  0     | addr (64)           | len (32) | id | flags |
/// ```
@usableFromInline
enum PackedDescriptor {
    /// VIRTQ_DESC_F_NEXT
    @inlinable static var next: UInt64 { 1 << 48 }
    /// VIRTQ_DESC_F_WRITE
    @inlinable static var write: UInt64 { 2 << 48 }
    /// VIRTQ_DESC_F_INDIRECT
    @inlinable static var indirect: UInt64 { 4 << 48 }
    /// VIRTQ_DESC_F_AVAIL
    @inlinable static var avail: UInt64 { 0x80 << 48 }
    /// VIRTQ_DESC_F_USED
    @inlinable static var used: UInt64 { 0x8000 << 48 }
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
}

/// A table of descriptors in guest memory.
@usableFromInline
protocol DescriptorTable {
    /// Copies the descriptor at `index`; nil if it is not mapped.
    func copy(_ index: UInt32, _ memory: inout GuestMemoryView) -> DescriptorCopy?
}

/// A table that lies in one piece of this process's memory, at least 8-byte aligned.
///
/// Safety: whoever makes one has checked the range; walks check each index against the number of descriptors.
@frozen
@safe
@usableFromInline
struct MappedTable: DescriptorTable {
    @usableFromInline let base: UnsafeMutableRawPointer

    @inlinable
    @inline(__always)
    init(base: UnsafeMutableRawPointer) { unsafe self.base = unsafe base }

    @inlinable
    @inline(__always)
    func copy(_ index: UInt32, _ memory: inout GuestMemoryView) -> DescriptorCopy? { load(index) }

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
struct ScatteredTable: DescriptorTable {
    @usableFromInline let address: UInt64

    @inlinable
    init(address: UInt64) { self.address = address }

    @inlinable
    func copy(_ index: UInt32, _ memory: inout GuestMemoryView) -> DescriptorCopy? {
        let (start, overflow) = address.addingReportingOverflow(UInt64(index) &* 16)
        guard !overflow, let first = readWord(start, &memory), let second = readWord(start &+ 8, &memory) else { return nil }
        return DescriptorCopy(address: first, meta: second)
    }

    /// Eight bytes of guest memory, each read once, wherever they lie.
    @inlinable
    func readWord(_ start: UInt64, _ memory: inout GuestMemoryView) -> UInt64? {
        if let place = unsafe memory.translate(start, 8) { return unsafe place.sharedBytes64() }
        var word: UInt64 = 0
        for index in 0..<UInt64(8) {
            // `start + 7` may wrap at 2^64 only to an address that no region holds together with its predecessor.
            guard let place = unsafe memory.translate(start &+ index, 1) else { return nil }
            word |= UInt64(unsafe place.shared8()) << (8 &* index)
        }
        return word
    }
}
