extension SegmentWriter {
    /// Walks an indirect table that begins a chain, or follows readable descriptors only.
    @inlinable
    @inline(__always)
    mutating func appendTable<Format: DescriptorFormat>(
        _ descriptor: DescriptorCopy, _ format: Format.Type, _ memory: inout GuestMemoryView
    ) -> PopResult {
        // A table longer than the queue is legal (Linux uses it); the segment buffer bounds the walk instead.
        let bytes = descriptor.length
        // The common case: the table lies in a region hit before and is aligned for 64-bit atomic loads. The specification asks for no
        // alignment of an indirect table, so a misaligned one, or one that straddles regions, is copied byte by byte instead.
        if bytes & 15 == 0, Format.flags(descriptor.meta) & DescriptorFlags.next == 0,
            let base = unsafe memory.windows.translate(descriptor.address, bytes),
            UInt(bitPattern: base) & 7 == 0
        {
            let table = unsafe MappedTable(base: base)
            return Format.isLinked
                ? walkLinked(table, bytes >> 4, table.load(0), isIndirect: true, &memory)
                : walkSequence(table, bytes >> 4, format, &memory)
        }
        let slow = Self.appendTableSlowly(self, descriptor, format, &memory)
        self = slow.writer
        return slow.result
    }

    /// Walks a linked table: the readable descriptors, then the writable ones. With `isIndirect` an INDIRECT flag in it is a fault.
    @inlinable
    @inline(__always)
    mutating func walkLinked(
        _ table: MappedTable, _ descriptorCount: UInt32, _ first: DescriptorCopy, isIndirect: Bool,
        _ memory: inout GuestMemoryView
    ) -> PopResult {
        var descriptor = first
        // Flags in the low half, next in the high one.
        var flags = SplitFormat.flags(descriptor.meta)
        while flags & (DescriptorFlags.write | DescriptorFlags.indirect) == 0 {
            let result = append(descriptor.address, descriptor.length, &memory)
            guard case .chain = result, flags & DescriptorFlags.next != 0 else { return result }
            if flags >> 16 >= descriptorCount { return .malformed(.nextOutOfRange) }
            descriptor = table.load(flags >> 16)
            flags = SplitFormat.flags(descriptor.meta)
        }
        if flags & DescriptorFlags.indirect == 0 { settle() }
        while flags & (DescriptorFlags.write | DescriptorFlags.indirect) == DescriptorFlags.write {
            let result = append(descriptor.address, descriptor.length, &memory)
            guard case .chain = result, flags & DescriptorFlags.next != 0 else { return result }
            if flags >> 16 >= descriptorCount { return .malformed(.nextOutOfRange) }
            descriptor = table.load(flags >> 16)
            flags = SplitFormat.flags(descriptor.meta)
        }
        if flags & DescriptorFlags.indirect == 0 { return .malformed(.readableAfterWritable) }
        if isIndirect { return .malformed(.nestedIndirect) }
        // 2.7.5.3.2: an indirect table may end a chain that began with ordinary descriptors.
        let slow = Self.appendTableSlowly(self, descriptor, SplitFormat.self, &memory)
        self = slow.writer
        return slow.result
    }

    /// Walks a table from first to last: the readable descriptors, then the writable ones.
    @inlinable
    @inline(__always)
    mutating func walkSequence<Format: DescriptorFormat>(
        _ table: MappedTable, _ descriptorCount: UInt32, _ format: Format.Type, _ memory: inout GuestMemoryView
    ) -> PopResult {
        var index: UInt32 = 0
        var descriptor = table.load(0)
        var flags = Format.flags(descriptor.meta)
        while flags & (DescriptorFlags.write | DescriptorFlags.indirect) == 0 {
            let result = append(descriptor.address, descriptor.length, &memory)
            index &+= 1
            guard case .chain = result, index != descriptorCount else { return result }
            descriptor = table.load(index)
            flags = Format.flags(descriptor.meta)
        }
        settle()
        while flags & (DescriptorFlags.write | DescriptorFlags.indirect) == DescriptorFlags.write {
            let result = append(descriptor.address, descriptor.length, &memory)
            index &+= 1
            guard case .chain = result, index != descriptorCount else { return result }
            descriptor = table.load(index)
            flags = Format.flags(descriptor.meta)
        }
        return .malformed(flags & DescriptorFlags.indirect != 0 ? .nestedIndirect : .readableAfterWritable)
    }

    /// Walks an indirect table that is not aligned, not in one piece, in a third region, at the end of a chain of ordinary descriptors, or
    /// not a table at all.
    @inlinable
    @inline(never)
    static func appendTableSlowly<Format: DescriptorFormat>(
        _ start: SegmentWriter, _ descriptor: DescriptorCopy, _ format: Format.Type, _ memory: inout GuestMemoryView
    ) -> Outcome {
        let bytes = descriptor.length
        if bytes == 0 || bytes & 15 != 0 { return (start, .malformed(.indirectTableSize)) }
        if Format.flags(descriptor.meta) & DescriptorFlags.next != 0 { return (start, .malformed(.indirectWithNext)) }
        var writer = start
        let result: PopResult
        if let base = unsafe memory.translate(descriptor.address, UInt64(bytes)), UInt(bitPattern: base) & 7 == 0 {
            let table = unsafe MappedTable(base: base)
            result = writer.walk(bytes >> 4, format, &memory) { index, _ in table.load(index) }
        } else {
            let table = ScatteredTable(address: descriptor.address)
            result = writer.walk(bytes >> 4, format, &memory) { index, memory in table.load(index, &memory) }
        }
        return (writer, result)
    }

    @inlinable
    mutating func walk<Format: DescriptorFormat>(
        _ descriptorCount: UInt32, _ format: Format.Type, _ memory: inout GuestMemoryView,
        load: (UInt32, inout GuestMemoryView) -> DescriptorCopy?
    ) -> PopResult {
        var index: UInt32 = 0
        while true {
            guard let descriptor = load(index, &memory) else { return .malformed(.unmappedIndirectTable) }
            let flags = Format.flags(descriptor.meta)
            if flags & DescriptorFlags.indirect != 0 { return .malformed(.nestedIndirect) }
            let result = append(descriptor, isWritable: flags & DescriptorFlags.write != 0, &memory)
            guard case .chain = result else { return result }
            if Format.isLinked {
                if flags & DescriptorFlags.next == 0 { return .chain }
                index = flags >> 16
                if index >= descriptorCount { return .malformed(.nextOutOfRange) }
            } else {
                index += 1
                if index == descriptorCount { return .chain }
            }
        }
    }

    /// The last writable byte of an indirect table, if the table ends as it should: where a virtio-blk status byte goes.
    @inlinable
    @inline(never)
    static func lastWritableByte<Format: DescriptorFormat>(
        inTable descriptor: DescriptorCopy, walkedMax: Int32, _ format: Format.Type, _ memory: inout GuestMemoryView
    ) -> UInt64? {
        let table = ScatteredTable(address: descriptor.address)
        let descriptorCount = descriptor.length >> 4
        var index: UInt32 = 0
        var last: UInt64?
        for _ in 0..<walkedMax {
            guard index < descriptorCount, let entry = table.load(index, &memory) else { return nil }
            let flags = Format.flags(entry.meta)
            last = Self.lastByte(of: entry, isWritable: flags & DescriptorFlags.write != 0) ?? last
            if Format.isLinked {
                if flags & DescriptorFlags.next == 0 { return last }
                index = flags >> 16
            } else {
                index += 1
                if index == descriptorCount { return last }
            }
        }
        return nil
    }

    /// The guest address of a writable descriptor's last byte.
    @inlinable
    static func lastByte(of descriptor: DescriptorCopy, isWritable: Bool) -> UInt64? {
        guard isWritable, descriptor.length > 0 else { return nil }
        let (end, overflow) = descriptor.address.addingReportingOverflow(UInt64(descriptor.length) - 1)
        return overflow ? nil : end
    }
}
