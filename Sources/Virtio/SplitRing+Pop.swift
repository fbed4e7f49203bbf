public import LinuxSystem

extension SplitRing {
    /// Sees how far the driver has come, and has the processor fetch what another chain like `likely` needs here.
    @inlinable
    @inline(__always)
    public mutating func look(likely: ChainHandle) -> RingLook {
        if availNext != availSeen { return .chains }
        // Nothing is looked for while chains are to be resubmitted, so until then this is where all looks end.
        if resubmitLeft != 0 { return .other }
        // Acquire: the driver wrote the ring entry and the descriptors before it moved idx (2.7.13.3).
        let index = unsafe availRing.sharedAcquire16(at: 2)
        if index == availNext { return .nothing }
        guard isPossible(index) else { return .other }
        availSeen = index
        unsafe Prefetch.toRead(availRing + (4 &+ 2 &* Int(availNext & mask)))
        unsafe Prefetch.toRead(descriptors + Int(likely.id) &* 16)
        unsafe Prefetch.toWrite(usedRing + (4 &+ Int(usedStaged & mask) &* 8))
        return .chains
    }

    /// Takes the next chain that `look` saw if it is a plain read or write.
    @inlinable
    @inline(__always)
    public mutating func popTransfer(_ windows: MemoryWindows) -> TransferPop {
        if availNext == availSeen { return .empty }
        guard let head = takeableHead else { return .other }
        let first = unsafe MappedTable(base: descriptors).load(UInt32(head))
        // Shifted by 16 bits, the second word is len and flags, without next.
        guard first.meta << 16 == plainKey, var transfer = PlainTransfer(first.address, SplitFormat.self, windows) else { return .other }
        transfer.handle = ChainHandle(id: head)
        take(head)
        return .transfer(transfer)
    }

    /// Takes the next chain that `look` saw, and `popTransfer` did not take, if it is a plain read or write in descriptors of the ring.
    @inlinable
    @inline(__always)
    public mutating func popLinkedTransfer(_ windows: MemoryWindows) -> PlainTransfer? {
        guard resubmitLeft == 0, availNext != availSeen else { return nil }
        guard let head = takeableHead else { return nil }
        let table = unsafe MappedTable(base: descriptors)
        let first = table.load(UInt32(head))
        guard first.meta << 16 == Self.linkedKey, var transfer = PlainTransfer(linked: first, in: table, size, windows) else { return nil }
        transfer.handle = ChainHandle(id: head)
        take(head)
        return transfer
    }

    /// A descriptor with this second word, shifted by 16 bits, is the first of several and 16 readable bytes, see `PlainTransfer`.
    @inlinable static var linkedKey: UInt64 { (16 | 1 << 32) << 16 }

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
        if availNext == availSeen {
            // Acquire: as in `look`.
            let index = unsafe availRing.sharedAcquire16(at: 2)
            if index == availNext { return .empty }
            guard isPossible(index) else { return .broken(.availIndexJump) }
            availSeen = index
        }
        let head = nextHead
        if UInt32(head) >= size { return .broken(.headOutOfRange) }
        // A head that comes back while in flight would be completed twice (CVE-2016-5403).
        if unsafe isBusy[Int(head)] != 0 { return .broken(.duplicateBuffer) }
        let first = unsafe MappedTable(base: descriptors).load(UInt32(head))
        let popped = walk(first, ChainHandle(id: head), &memory, segments)
        chain = popped.chain
        segments = popped.segments
        if popped.stays { return popped.result }
        take(head)
        return popped.result
    }

    /// The avail ring's next entry, whatever the driver wrote there.
    @inlinable
    @inline(__always)
    var nextHead: UInt16 { unsafe availRing.shared16(at: 4 &+ 2 &* Int(availNext & mask)) }

    /// The next entry, read once; nil when it is none that may be taken: `pop` tells what is wrong with it.
    @inlinable
    @inline(__always)
    var takeableHead: UInt16? {
        let head = nextHead
        guard UInt32(head) < size, unsafe isBusy[Int(head)] == 0 else { return nil }
        return head
    }

    /// Whether the driver can have moved idx to there: what is new and what is taken but not yet given back fit the queue together, or it
    /// made something available twice or moved idx back. This also bounds every count of this ring.
    @inlinable
    @inline(__always)
    func isPossible(_ index: UInt16) -> Bool {
        UInt32(index &- availNext) &+ UInt32(availNext &- usedPublished) <= size
    }

    /// Moves on past a head that is in flight from now on.
    @inlinable
    @inline(__always)
    mutating func take(_ head: UInt16) {
        unsafe isBusy[Int(head)] = 1
        availNext &+= 1
        guard let inflight = unsafe inflight else { return }
        // vhost-user, "Inflight I/O tracking": the counter first, then the mark that makes it valid. Release: a daemon that finds the mark
        // finds the counter. A crash before the mark leaves the head in the avail ring, to be popped again; marks are stored in the order
        // of the avail ring, so those that are there are always its oldest entries.
        let entry = unsafe inflight + SplitInflight.headerBytes + Int(head) &* SplitInflight.entryBytes
        if Observer.breaks(.splitCounterBeforeMark) { unsafe observer.release8(1, entry) }
        unsafe observer.store64(counter, entry + SplitInflight.counterOffset)
        if !Observer.breaks(.splitMarkAtPop) { unsafe observer.release8(1, entry) }
        counter &+= 1
    }

    @inlinable
    @inline(never)
    mutating func popResubmitted(_ memory: inout GuestMemoryView, _ buffer: SegmentBuffer) -> PoppedChain {
        // Its mark and counter are in the region already, and it stays busy until it is pushed.
        let head = unsafe resubmitHeads[Int(resubmitEnd - resubmitLeft)]
        let first = unsafe MappedTable(base: descriptors).load(UInt32(head))
        let popped = walk(first, ChainHandle(id: head, isResubmitted: true), &memory, buffer)
        if popped.stays { return popped }
        resubmitLeft -= 1
        return popped
    }

    /// Follows a chain of any shape, whose first descriptor was copied already, and translates its buffers.
    @inlinable
    @inline(never)
    func walk(
        _ first: DescriptorCopy, _ handle: ChainHandle, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer
    ) -> PoppedChain {
        var writer = SegmentWriter(segments)
        var chain = DescriptorChain()
        chain.handle = handle
        var result =
            SplitFormat.flags(first.meta) & DescriptorFlags.indirect != 0 && allowsIndirect
            ? writer.appendTable(first, SplitFormat.self, &memory)
            : writer.walkLinked(unsafe MappedTable(base: descriptors), size, first, isIndirect: !allowsIndirect, &memory)
        if case .chain = result { result = writer.finish(&chain) }
        if case .malformed(let fault) = result {
            if fault == .nestedIndirect, !allowsIndirect { result = .malformed(.indirectNotNegotiated) }
            chain = findStatus(handle, &memory, writer.segments)
            // What cannot be looked up yet is no fault; nothing was taken.
            if memory.miss != nil { result = .missed }
        }
        return PoppedChain(result, chain, writer.segments)
    }

    /// Looks for the status byte of a malformed chain: the last writable byte, if the chain ends and that byte is mapped. The second walk
    /// reads the descriptors again, but nothing of the first one is used with it.
    @inlinable
    @inline(never)
    func findStatus(_ handle: ChainHandle, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer) -> DescriptorChain {
        let table = unsafe MappedTable(base: descriptors)
        var index = UInt32(handle.id)
        var last: UInt64?
        var ends = false
        for _ in 0..<segments.segmentsMax {
            let descriptor = table.load(index)
            let flags = SplitFormat.flags(descriptor.meta)
            if flags & DescriptorFlags.indirect != 0 {
                last = SegmentWriter.lastWritableByte(
                    inTable: descriptor, walkedMax: segments.segmentsMax, SplitFormat.self, &memory)
                ends = true
                break
            }
            last = SegmentWriter.lastByte(of: descriptor, isWritable: flags & DescriptorFlags.write != 0) ?? last
            if flags & DescriptorFlags.next == 0 {
                ends = true
                break
            }
            index = flags >> 16
            if index >= size { break }
        }
        return DescriptorChain(handle, onlyStatus: ends ? last : nil, &memory, segments)
    }
}

/// What the rare ways to a chain give back, so that nobody takes the address of the caller's variables.
@frozen
@usableFromInline
struct PoppedChain {
    @usableFromInline var result: PopResult
    @usableFromInline var chain: DescriptorChain
    @usableFromInline var segments: SegmentBuffer

    @inlinable
    init(_ result: PopResult, _ chain: DescriptorChain, _ segments: SegmentBuffer) {
        self.result = result
        self.chain = chain
        self.segments = segments
    }

    /// Whether the chain was not taken: it is popped again later.
    @inlinable var stays: Bool { result == .blocked || result == .missed }
}
