extension SplitRing {
    /// Takes the next chain; resubmitted ones come first, in the order the earlier daemon popped them.
    @inlinable
    @inline(__always)
    public mutating func pop(
        _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        if resubmitNext != resubmitEnd { return popResubmitted(&memory, &segments, &chain) }
        if availNext == availSeen {
            // Acquire: the driver wrote the ring entry and the descriptors before it moved idx (2.7.13.3).
            let index = unsafe availRing.sharedAcquire16(at: 2)
            if index == availNext { return .empty }
            // What is new and what is taken but not yet given back fit the queue together, or the driver made something available twice
            // or moved idx back. This also bounds every count of this ring.
            if UInt32(index &- availNext) &+ UInt32(availNext &- usedPublished) > size { return .broken(.availIndexJump) }
            availSeen = index
        }
        let head = unsafe availRing.shared16(at: 4 &+ 2 &* Int(availNext & mask))
        if UInt32(head) >= size { return .broken(.headOutOfRange) }
        // A head that comes back while in flight would be completed twice (CVE-2016-5403).
        if unsafe isBusy[Int(head)] != 0 { return .broken(.duplicateBuffer) }
        let result = walk(head, &memory, &segments, &chain)
        if case .blocked = result { return .blocked }
        unsafe isBusy[Int(head)] = 1
        availNext &+= 1
        if let inflight = unsafe inflight {
            // vhost-user, "Inflight I/O tracking": the counter first, then the mark that makes it valid. Release: a daemon that finds the
            // mark finds the counter. A crash before the mark leaves the head in the avail ring, to be popped again; marks are stored in
            // the order of the avail ring, so those that are there are always its oldest entries.
            let entry = unsafe inflight + SplitInflight.headerBytes + Int(head) &* SplitInflight.entryBytes
            unsafe observer.store64(counter, entry + SplitInflight.counterOffset)
            unsafe observer.release8(1, entry)
            counter &+= 1
        }
        return result
    }

    @inlinable
    @inline(never)
    mutating func popResubmitted(
        _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        // Its mark and counter are in the region already, and it stays busy until it is pushed.
        let result = walk(unsafe resubmitHeads[Int(resubmitNext)], &memory, &segments, &chain)
        chain.isResubmitted = true
        if case .blocked = result { return .blocked }
        resubmitNext &+= 1
        return result
    }

    /// Follows the chain that begins at `head` and translates its buffers.
    @inlinable
    @inline(__always)
    mutating func walk(
        _ head: UInt16, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        chain.handle = ChainHandle(id: head, ringSlots: 1, inflightEntry: head)
        chain.isResubmitted = false
        let table = unsafe MappedTable(base: descriptors)
        var writer = SegmentWriter()
        var index = UInt32(head)
        var walked: UInt32 = 1
        var result: PopResult
        while true {
            let descriptor = table.load(index)
            if descriptor.meta & SplitDescriptor.indirect != 0 {
                // 2.7.5.3.2: an indirect table may end a chain that began with ordinary descriptors.
                result =
                    allowsIndirect
                    ? writer.appendTable(descriptor, SplitLinks.self, &memory, &segments) : .malformed(.indirectNotNegotiated)
                break
            }
            result = writer.append(
                descriptor.address, UInt32(truncatingIfNeeded: descriptor.meta),
                isWritable: descriptor.meta & SplitDescriptor.write != 0, &memory, &segments)
            guard case .chain = result, descriptor.meta & SplitDescriptor.next != 0 else { break }
            index = UInt32(truncatingIfNeeded: descriptor.meta >> 48)
            if index >= size {
                result = .malformed(.nextOutOfRange)
                break
            }
            if walked >= size {
                result = .malformed(.loop)
                break
            }
            walked &+= 1
        }
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed = result { findStatus(head, &memory, &segments, &chain) }
        return result
    }

    /// Looks for the status byte of a malformed chain: the last writable byte, if the chain ends and that byte is mapped. The second walk
    /// reads the descriptors again, but nothing of the first one is used with it.
    @inlinable
    @inline(never)
    func findStatus(_ head: UInt16, _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain) {
        let table = unsafe MappedTable(base: descriptors)
        let walkedMax = UInt32(max(segments.capacity, segments.spillCapacity))
        var index = UInt32(head)
        var last: UInt64?
        var ends = false
        for _ in 0..<min(size, walkedMax) {
            let descriptor = table.load(index)
            if descriptor.meta & SplitDescriptor.indirect != 0 {
                let status = SegmentWriter.lastWritableByte(inTable: descriptor, walkedMax: walkedMax, SplitLinks.self, &memory)
                ends = status != nil
                last = status
                break
            }
            last = SegmentWriter.lastByte(of: descriptor, isWritable: descriptor.meta & SplitDescriptor.write != 0) ?? last
            if descriptor.meta & SplitDescriptor.next == 0 {
                ends = true
                break
            }
            index = UInt32(truncatingIfNeeded: descriptor.meta >> 48)
            if index >= size { break }
        }
        chain.leaveOnlyStatus(ends ? last : nil, &memory, &segments)
    }
}
