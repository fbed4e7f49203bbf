extension PackedRing {
    /// Sees whether the driver has made a chain available, or `other` while some are to be resubmitted. What another chain like `likely`
    /// needs here came with the look.
    @inlinable
    @inline(__always)
    public mutating func look(likely: ChainHandle) -> RingLook {
        if resubmitLeft != 0 { return .other }
        return isNextAvailable ? .chains : .nothing
    }

    /// nil: such a chain goes the general way. No driver is known that uses packed rings and no indirect tables.
    @inlinable
    @inline(__always)
    public mutating func popLinkedTransfer(_ windows: MemoryWindows) -> PlainTransfer? { nil }

    /// Takes the next chain if it is a plain read or write.
    @inlinable
    @inline(__always)
    public mutating func popTransfer(_ windows: MemoryWindows) -> TransferPop {
        // Acquire: the driver wrote the whole chain before it gave the head descriptor its flags (2.8.14).
        let head = unsafe descriptors + Int(availNext) &* 16
        let meta = unsafe head.sharedAcquire64(at: 8)
        // Length, the three flags and the ownership, without id.
        guard meta & (0x7_0000_ffff_ffff | PackedFormat.ownership) == plainKey, freeSlots != 0 else {
            return meta & PackedFormat.ownership == availBits || resubmitLeft != 0 ? .other : .empty
        }
        let first = unsafe DescriptorCopy(address: head.shared64(), meta: meta)
        guard var transfer = PlainTransfer(first.address, PackedFormat.self, windows) else { return .other }
        var walk = PackedWalk(id: UInt16(truncatingIfNeeded: meta >> 32), entry: entries.freeHead)
        guard busyIDs.insert(walk.id) else { return .other }
        if let inflight = unsafe inflight { unsafe record(first, &walk, inflight) }
        transfer.handle = take(walk)
        return .transfer(transfer)
    }

    /// Takes the next chain of any shape; resubmitted ones come first, in the order the earlier daemon popped them.
    @inlinable
    public mutating func pop(
        _ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain
    ) -> PopResult {
        // Before anything new: the driver may have submitted new requests knowing nothing of the crash.
        if resubmitLeft != 0, !Observer.breaks(.resubmissionFirst) || !isNextAvailable {
            let popped = popResubmitted(&memory, segments)
            segments = popped.segments
            chain = popped.chain
            return popped.result
        }
        // Acquire: as in `popTransfer`.
        let head = unsafe descriptors + Int(availNext) &* 16
        let meta = unsafe head.sharedAcquire64(at: 8)
        if meta & PackedFormat.ownership != availBits { return .empty }
        if freeSlots == 0 { return .broken(.overcommitted) }
        let first = unsafe DescriptorCopy(address: head.shared64(), meta: meta)
        let walked = walkRing(first, PackedWalk(id: UInt16(truncatingIfNeeded: meta >> 32), entry: entries.freeHead), &memory, segments)
        chain = walked.popped.chain
        segments = walked.popped.segments
        switch walked.popped.result {
        case .blocked, .missed, .broken: return walked.popped.result
        default: break
        }
        if !busyIDs.insert(walked.walk.id) { return .broken(.duplicateBuffer) }
        chain.handle = take(walked.walk)
        return walked.popped.result
    }

    /// Moves on past a chain that is in flight from now on.
    @inlinable
    @inline(__always)
    mutating func take(_ walk: PackedWalk) -> ChainHandle {
        let handle = ChainHandle(id: walk.id, ringSlots: UInt16(truncatingIfNeeded: walk.slots), inflightEntry: entries.freeHead)
        if let inflight = unsafe inflight {
            unsafe PackedInflight.commitPop(&entries, walk, in: inflight, &observer)
            if Observer.breaks(.packedDescriptorsBeforeFreeHead) { unsafe recordLate(walk.slots, handle.inflightEntry, inflight) }
        }
        freeSlots &-= walk.slots
        chainsInFlight &+= 1
        availNext &+= walk.slots
        if availNext >= size {
            availNext &-= size
            availBits ^= PackedFormat.ownership
            // A key that no descriptor has stays one.
            plainKey ^= PackedFormat.ownership
        }
        return handle
    }

    /// No descriptor has the key while chains are to be resubmitted, or without INDIRECT_DESC: the id is masked before the comparison.
    @inlinable
    @inline(never)
    mutating func updatePlainKey() {
        plainKey = allowsIndirect && resubmitLeft == 0 ? 48 | 4 << 48 | availBits : 1 << 32
    }

    /// Copies a descriptor into the next free entry of the inflight region.
    @inlinable
    @inline(__always)
    mutating func record(_ descriptor: DescriptorCopy, _ walk: inout PackedWalk, _ inflight: UnsafeMutableRawPointer) {
        if !Observer.breaks(.packedDescriptorsBeforeFreeHead) {
            unsafe PackedInflight.record(descriptor, at: walk.nextEntry, in: inflight, &observer)
        }
        walk.lastEntry = walk.nextEntry
        walk.nextEntry = unsafe entries.next[Int(walk.nextEntry)]
    }

    /// Copies a chain's descriptors when it is too late: what breaking `packedDescriptorsBeforeFreeHead` means.
    @inlinable
    mutating func recordLate(_ slots: UInt32, _ head: UInt16, _ inflight: UnsafeMutableRawPointer) {
        var entry = head
        for slot in 0..<slots {
            unsafe PackedInflight.record(descriptorAhead(slot), at: entry, in: inflight, &observer)
            entry = unsafe entries.next[Int(entry)]
        }
    }

    /// Follows a chain of any shape, whose first descriptor was copied already, and translates its buffers. One with a fault is followed to its
    /// end all the same: its buffer id is in the last descriptor.
    @inlinable
    @inline(never)
    mutating func walkRing(
        _ first: DescriptorCopy, _ start: PackedWalk, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer
    ) -> (popped: PoppedChain, walk: PackedWalk) {
        var writer = SegmentWriter(segments)
        var chain = DescriptorChain()
        var walk = start
        var result = PopResult.chain
        var descriptor = first
        while true {
            if let inflight = unsafe inflight { unsafe record(descriptor, &walk, inflight) }
            let flags = PackedFormat.flags(descriptor.meta)
            if case .chain = result { result = append(descriptor, flags, &writer, &memory) }
            if case .blocked = result { return (PoppedChain(result, chain, writer.segments), walk) }
            if flags & (DescriptorFlags.next | DescriptorFlags.indirect) != DescriptorFlags.next { break }
            walk.slots &+= 1
            // In-flight descriptors are not the driver's to use again. This bounds the walk and every count of this ring.
            if walk.slots > size { return (PoppedChain(.broken(.endlessChain), chain, writer.segments), walk) }
            if walk.slots > freeSlots { return (PoppedChain(.broken(.overcommitted), chain, writer.segments), walk) }
            // Relaxed: ordered by the acquire load of the head.
            descriptor = descriptorAhead(walk.slots &- 1)
        }
        walk.id = UInt16(truncatingIfNeeded: descriptor.meta >> 32)
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed = result {
            chain = findStatus(slots: walk.slots, &memory, writer.segments) { slot in descriptorAhead(slot) }
            // What cannot be looked up yet is no fault; nothing was taken.
            if memory.miss != nil { result = .missed }
        }
        return (PoppedChain(result, chain, writer.segments), walk)
    }

    /// The descriptor `slots` after the next one to pop; at most a lap.
    @inlinable
    @inline(__always)
    func descriptorAhead(_ slots: UInt32) -> DescriptorCopy {
        var index = availNext &+ slots
        if index >= size { index &-= size }
        return unsafe MappedTable(base: descriptors).load(index)
    }

    @inlinable
    @inline(__always)
    func append(
        _ descriptor: DescriptorCopy, _ flags: UInt32, _ writer: inout SegmentWriter, _ memory: inout GuestMemoryView
    ) -> PopResult {
        if flags & DescriptorFlags.indirect != 0 {
            guard allowsIndirect else { return .malformed(.indirectNotNegotiated) }
            if writer.readableCount < 0 { return writer.appendTable(descriptor, PackedFormat.self, &memory) }
            let slow = SegmentWriter.appendTableSlowly(writer, descriptor, PackedFormat.self, &memory)
            writer = slow.writer
            return slow.result
        }
        return writer.append(descriptor, isWritable: flags & DescriptorFlags.write != 0, &memory)
    }

    /// Takes a chain from the inflight region: its descriptors are there, since the ring's may have been written over.
    @inlinable
    @inline(never)
    mutating func popResubmitted(_ memory: inout GuestMemoryView, _ buffer: SegmentBuffer) -> PoppedChain {
        let number = Int(resubmitEnd - resubmitLeft)
        let head = unsafe entries.resubmit[number]
        let slots = unsafe entries.resubmitSlots[number]
        let id = unsafe entries.resubmitID[number]
        var chain = DescriptorChain()
        chain.handle = ChainHandle(id: id, ringSlots: slots, inflightEntry: head, isResubmitted: true)
        var writer = SegmentWriter(buffer)
        guard let inflight = unsafe inflight else { return PoppedChain(.empty, chain, buffer) }
        var result = PopResult.chain
        var entry = head
        // The links and the number of descriptors are our own checked copies; addresses, lengths and flags are as untrusted as the ring's.
        for _ in 0..<slots {
            guard case .chain = result else { break }
            let descriptor = unsafe PackedInflight.recorded(at: entry, in: inflight)
            result = append(descriptor, PackedFormat.flags(descriptor.meta), &writer, &memory)
            entry = unsafe entries.next[Int(entry)]
        }
        if case .blocked = result { return PoppedChain(result, chain, writer.segments) }
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed = result {
            entry = head
            let handle = chain.handle
            chain = findStatus(slots: UInt32(slots), &memory, writer.segments) { _ in
                let descriptor = unsafe PackedInflight.recorded(at: entry, in: inflight)
                entry = unsafe entries.next[Int(entry)]
                return descriptor
            }
            chain.handle = handle
            // Not taken out of the list: it is popped again when the translation is there.
            if memory.miss != nil { return PoppedChain(.missed, chain, writer.segments) }
        }
        resubmitLeft -= 1
        updatePlainKey()
        chainsInFlight += 1
        return PoppedChain(result, chain, writer.segments)
    }

    /// Looks for the status byte of a malformed chain: the last writable byte, if that is mapped. The second walk reads the descriptors
    /// again, but nothing of the first one is used with it.
    @inlinable
    func findStatus(
        slots: UInt32, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer, descriptor copy: (_ slot: UInt32) -> DescriptorCopy
    ) -> DescriptorChain {
        var last: UInt64?
        for slot in 0..<slots {
            let descriptor = copy(slot)
            let flags = PackedFormat.flags(descriptor.meta)
            if flags & DescriptorFlags.indirect != 0 {
                last = SegmentWriter.lastWritableByte(inTable: descriptor, walkedMax: segments.segmentsMax, PackedFormat.self, &memory)
            } else {
                last = SegmentWriter.lastByte(of: descriptor, isWritable: flags & DescriptorFlags.write != 0) ?? last
            }
        }
        return DescriptorChain(ChainHandle(), onlyStatus: last, &memory, segments)
    }
}

/// What a walk over ring descriptors finds out besides segments.
@frozen
@usableFromInline
struct PackedWalk {
    /// The chain's buffer id: that of its last descriptor.
    @usableFromInline var id: UInt16
    /// Ring descriptors so far.
    @usableFromInline var slots: UInt32 = 1
    /// The inflight entry of the last descriptor, and the free one for the next.
    @usableFromInline var lastEntry: UInt16
    @usableFromInline var nextEntry: UInt16

    @inlinable
    @inline(__always)
    init(id: UInt16, entry: UInt16) {
        self.id = id
        lastEntry = entry
        nextEntry = entry
    }
}
