/// How the descriptors of an indirect table follow each other.
@usableFromInline
protocol DescriptorLinks {
    /// The INDIRECT, WRITE and NEXT bits in a descriptor's second word.
    static var indirect: UInt64 { get }
    static var write: UInt64 { get }
    static var nextBit: UInt64 { get }
    /// Whether NEXT and the `next` field link the table (split), or it is read from first to last (packed).
    static var isLinked: Bool { get }
}

/// Split: the table is a linked list beginning at its first descriptor (virtio 1.3, 2.7.5.3).
@frozen
@usableFromInline
enum SplitLinks: DescriptorLinks {
    @inlinable static var indirect: UInt64 { SplitDescriptor.indirect }
    @inlinable static var write: UInt64 { SplitDescriptor.write }
    @inlinable static var nextBit: UInt64 { SplitDescriptor.next }
    @inlinable static var isLinked: Bool { true }
}

/// Packed: every descriptor of the table counts, in order; NEXT and the buffer id mean nothing there (virtio 1.3, 2.8.8).
@frozen
@usableFromInline
enum PackedLinks: DescriptorLinks {
    @inlinable static var indirect: UInt64 { PackedDescriptor.indirect }
    @inlinable static var write: UInt64 { PackedDescriptor.write }
    @inlinable static var nextBit: UInt64 { PackedDescriptor.next }
    @inlinable static var isLinked: Bool { false }
}

extension SegmentWriter {
    /// Walks the indirect table that a descriptor names.
    @inlinable
    @inline(__always)
    mutating func appendTable<Links: DescriptorLinks>(
        _ descriptor: DescriptorCopy, _ links: Links.Type, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer
    ) -> PopResult {
        // A table longer than the queue is legal (Linux uses it); the segment buffer bounds the walk instead.
        let bytes = UInt32(truncatingIfNeeded: descriptor.meta)
        if bytes == 0 || bytes & 15 != 0 { return .malformed(.indirectTableSize) }
        if descriptor.meta & Links.nextBit != 0 { return .malformed(.indirectWithNext) }
        // 64-bit atomic loads want 8-byte alignment. The specification asks for none of an indirect table, so a misaligned one, or one
        // that straddles regions, is copied byte by byte instead.
        if let base = unsafe memory.translate(descriptor.address, UInt64(bytes)), UInt(bitPattern: base) & 7 == 0 {
            return unsafe walk(MappedTable(base: base), bytes >> 4, links, &memory, &segments)
        }
        return appendScattered(descriptor.address, bytes >> 4, links, &memory, &segments)
    }

    @inlinable
    @inline(never)
    mutating func appendScattered<Links: DescriptorLinks>(
        _ address: UInt64, _ descriptorCount: UInt32, _ links: Links.Type, _ memory: inout GuestMemoryView,
        _ segments: inout SegmentBuffer
    ) -> PopResult {
        walk(ScatteredTable(address: address), descriptorCount, links, &memory, &segments)
    }

    /// Follows a table of `descriptorCount` descriptors to its end. Bounded by the segment buffer: descriptors without bytes count too.
    @inlinable
    @inline(__always)
    mutating func walk<Table: DescriptorTable, Links: DescriptorLinks>(
        _ table: Table, _ descriptorCount: UInt32, _ links: Links.Type, _ memory: inout GuestMemoryView,
        _ segments: inout SegmentBuffer
    ) -> PopResult {
        var index: UInt32 = 0
        var walked: UInt32 = 0
        let walkedMax = UInt32(truncatingIfNeeded: max(segments.capacity, segments.spillCapacity))
        while true {
            guard let descriptor = table.copy(index, &memory) else { return .malformed(.unmappedIndirectTable) }
            if descriptor.meta & Links.indirect != 0 { return .malformed(.nestedIndirect) }
            let result = append(
                descriptor.address, UInt32(truncatingIfNeeded: descriptor.meta), isWritable: descriptor.meta & Links.write != 0, &memory,
                &segments)
            guard case .chain = result else { return result }
            walked &+= 1
            if Links.isLinked {
                if descriptor.meta & Links.nextBit == 0 { return .chain }
                index = UInt32(truncatingIfNeeded: descriptor.meta >> 48)
                if index >= descriptorCount { return .malformed(.nextOutOfRange) }
                if walked >= descriptorCount { return .malformed(.loop) }
            } else {
                index = walked
                if index == descriptorCount { return .chain }
            }
            if walked >= walkedMax { return .malformed(.tooLong) }
        }
    }

    /// The last writable byte of an indirect table, if the table ends as it should: where a virtio-blk status byte goes.
    @inlinable
    @inline(never)
    static func lastWritableByte<Links: DescriptorLinks>(
        inTable descriptor: DescriptorCopy, walkedMax: UInt32, _ links: Links.Type, _ memory: inout GuestMemoryView
    ) -> UInt64? {
        let table = ScatteredTable(address: descriptor.address)
        let descriptorCount = UInt32(truncatingIfNeeded: descriptor.meta) >> 4
        var index: UInt32 = 0
        var last: UInt64?
        for walked in 1...max(walkedMax, 1) {
            guard index < descriptorCount, let entry = table.copy(index, &memory) else { return nil }
            last = Self.lastByte(of: entry, isWritable: entry.meta & Links.write != 0) ?? last
            if Links.isLinked {
                if entry.meta & Links.nextBit == 0 { return last }
                index = UInt32(truncatingIfNeeded: entry.meta >> 48)
            } else {
                if walked == descriptorCount { return last }
                index = walked
            }
        }
        return nil
    }

    /// The guest address of a writable descriptor's last byte.
    @inlinable
    static func lastByte(of descriptor: DescriptorCopy, isWritable: Bool) -> UInt64? {
        let size = UInt64(UInt32(truncatingIfNeeded: descriptor.meta))
        guard isWritable, size > 0 else { return nil }
        let (end, overflow) = descriptor.address.addingReportingOverflow(size - 1)
        return overflow ? nil : end
    }
}
