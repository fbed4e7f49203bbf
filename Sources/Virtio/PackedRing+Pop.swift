extension PackedRing {
    /// Takes the next chain; resubmitted ones come first, in the order the earlier daemon popped them.
    @inlinable
    @inline(__always)
    public mutating func pop(
        _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        if resubmitNext != resubmitEnd { return popResubmitted(&memory, &segments, &chain) }
        // Acquire: the driver wrote the whole chain before it gave the head descriptor its flags (2.8.14).
        let head = unsafe descriptors + Int(availNext) &* 16
        var descriptor = unsafe DescriptorCopy(address: 0, meta: head.sharedAcquire64(at: 8))
        if descriptor.meta & PackedDescriptor.ownership != availBits { return .empty }
        if takenSlots >= size { return .broken(.overcommitted) }
        descriptor.address = unsafe head.shared64()

        var writer = SegmentWriter()
        var slots: UInt32 = 1
        var entry = entries.freeHead
        var lastEntry = entry
        var result = PopResult.chain
        while true {
            if let inflight = unsafe inflight {
                unsafe PackedInflight.record(descriptor, at: entry, in: inflight, &observer)
                lastEntry = entry
                entry = unsafe entries.next[Int(entry)]
            }
            // A chain with a fault is followed to its end all the same: its buffer id is in the last descriptor.
            if case .chain = result { result = append(descriptor, &writer, &memory, &segments) }
            if case .blocked = result { return .blocked }
            if descriptor.meta & (PackedDescriptor.next | PackedDescriptor.indirect) != PackedDescriptor.next { break }
            slots &+= 1
            // In-flight descriptors are not the driver's to use again. This bounds the walk and every count of this ring.
            if slots > size { return .broken(.endlessChain) }
            if takenSlots &+ slots > size { return .broken(.overcommitted) }
            var index = availNext &+ slots &- 1
            if index >= size { index &-= size }
            // Relaxed: ordered by the acquire load of the head.
            descriptor = unsafe MappedTable(base: descriptors).load(index)
        }
        let id = UInt16(truncatingIfNeeded: descriptor.meta >> 32)
        if isBusy(id) { return .broken(.duplicateBuffer) }
        setBusy(id)
        chain.handle = ChainHandle(id: id, ringSlots: UInt16(truncatingIfNeeded: slots), inflightEntry: entries.freeHead)
        chain.isResubmitted = false
        if let inflight = unsafe inflight {
            unsafe entries.last[Int(entries.freeHead)] = lastEntry
            unsafe PackedInflight.commitPop(&entries, slots: slots, last: lastEntry, free: entry, in: inflight, &observer)
        }
        takenSlots &+= slots
        chainsInFlight &+= 1
        let start = availNext
        availNext &+= slots
        if availNext >= size {
            availNext &-= size
            availBits ^= PackedDescriptor.ownership
        }
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed = result { findStatusInRing(first: start, slots: slots, &memory, &segments, &chain) }
        return result
    }

    @inlinable
    @inline(__always)
    func append(
        _ descriptor: DescriptorCopy, _ writer: inout SegmentWriter, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer
    ) -> PopResult {
        if descriptor.meta & PackedDescriptor.indirect != 0 {
            return allowsIndirect
                ? writer.appendTable(descriptor, PackedLinks.self, &memory, &segments) : .malformed(.indirectNotNegotiated)
        }
        return writer.append(
            descriptor.address, UInt32(truncatingIfNeeded: descriptor.meta), isWritable: descriptor.meta & PackedDescriptor.write != 0,
            &memory, &segments)
    }

    /// Takes a chain from the inflight region: its descriptors are there, since the ring's may have been written over.
    @inlinable
    @inline(never)
    mutating func popResubmitted(
        _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        guard let inflight = unsafe inflight else { return .empty }
        let head = unsafe entries.resubmit[Int(resubmitNext)]
        let slots = unsafe entries.resubmitSlots[Int(resubmitNext)]
        let id = unsafe entries.resubmitID[Int(resubmitNext)]
        var writer = SegmentWriter()
        var result = PopResult.chain
        var entry = head
        // The links and the number of descriptors are our own checked copies; addresses, lengths and flags are as untrusted as the ring's.
        for _ in 0..<slots {
            guard case .chain = result else { break }
            result = unsafe append(PackedInflight.recorded(at: entry, in: inflight), &writer, &memory, &segments)
            entry = unsafe entries.next[Int(entry)]
        }
        if case .blocked = result { return .blocked }
        chain.handle = ChainHandle(id: id, ringSlots: slots, inflightEntry: head)
        chain.isResubmitted = true
        resubmitNext &+= 1
        chainsInFlight &+= 1
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed = result {
            entry = head
            findStatus(slots: Int(slots), &memory, &segments, &chain) { _ in
                let descriptor = unsafe PackedInflight.recorded(at: entry, in: inflight)
                entry = unsafe entries.next[Int(entry)]
                return descriptor
            }
        }
        return result
    }

    /// Looks for the status byte of a malformed chain: the last writable byte, if that is mapped. The second walk reads the descriptors
    /// again, but nothing of the first one is used with it.
    @inlinable
    @inline(never)
    func findStatus(
        slots: Int, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain,
        descriptor copy: (_ slot: Int) -> DescriptorCopy
    ) {
        let walkedMax = UInt32(max(segments.capacity, segments.spillCapacity))
        var last: UInt64?
        for slot in 0..<slots {
            let descriptor = copy(slot)
            if descriptor.meta & PackedDescriptor.indirect != 0 {
                last = SegmentWriter.lastWritableByte(inTable: descriptor, walkedMax: walkedMax, PackedLinks.self, &memory)
            } else {
                last = SegmentWriter.lastByte(of: descriptor, isWritable: descriptor.meta & PackedDescriptor.write != 0) ?? last
            }
        }
        chain.leaveOnlyStatus(last, &memory, &segments)
    }

    @inlinable
    @inline(never)
    func findStatusInRing(
        first: UInt32, slots: UInt32, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) {
        findStatus(slots: Int(slots), &memory, &segments, &chain) { slot in
            let index = first + UInt32(slot)
            return unsafe MappedTable(base: descriptors).load(index >= size ? index - size : index)
        }
    }
}
