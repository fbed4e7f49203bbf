public import Synchronization

extension PackedRing {
    /// Stages one used element; `length` is the number of bytes written to the guest.
    @inlinable
    @inline(__always)
    public mutating func push(_ handle: ChainHandle, length: UInt32) {
        // 2.8.5: in a used descriptor WRITE says that len is the number of bytes written.
        let meta =
            UInt64(length) | UInt64(handle.id) << 32 | usedBits | (length == 0 ? 0 : PackedFormat.write)
        if stagedSlots == 0 {
            firstStaged = usedNext
            firstStagedMeta = meta
            if Observer.breaks(.packedFirstDescriptorLast) { unsafe observer.store64(meta, descriptors + Int(usedNext) &* 16 + 8) }
        } else {
            // Relaxed, and before the batch's first descriptor: the driver looks at used descriptors in order, so it stops at the first.
            // The descriptor belongs to a chain that was popped, hence no descriptor the driver still needs read is written over.
            unsafe observer.store64(meta, descriptors + Int(usedNext) &* 16 + 8)
        }
        if unsafe inflight != nil { entries.stage(handle.inflightEntry) }
        busyIDs.remove(handle.id)
        chainsInFlight &-= 1
        let slots = UInt32(handle.ringSlots)
        stagedSlots &+= slots
        usedNext &+= slots
        if usedNext >= size {
            usedNext &-= size
            usedBits ^= PackedFormat.ownership
        }
    }

    /// Makes all staged elements visible to the driver at once.
    @inlinable
    @inline(__always)
    public mutating func publish() {
        if stagedSlots == 0 { return }
        let first = unsafe descriptors + Int(firstStaged) &* 16 + 8
        if let inflight = unsafe inflight {
            unsafe publishTracked(inflight, first)
        } else {
            // Release: the driver that sees the first descriptor used sees the others, the data and the status bytes (2.8.15).
            unsafe observer.release64(firstStagedMeta, first)
        }
        freeSlots &+= stagedSlots
        unsignalledSlots &+= stagedSlots
        stagedSlots = 0
    }

    /// The steps of "When supplying used buffers to the driver" with their crash points: until the first used descriptor is stored, the
    /// next daemon finds it still available, goes back to the old heads and resubmits the batch; from then on it goes forward to the new.
    @inlinable
    @inline(__always)
    mutating func publishTracked(_ inflight: UnsafeMutableRawPointer, _ first: UnsafeMutableRawPointer) {
        let oldFree = entries.freeHead
        let old = (index: firstStaged, wrap: firstStagedMeta & PackedFormat.used != 0)
        let new = (index: usedNext, wrap: usedBits != 0)
        let used = PackedInflight.usedWord(new: new, old: old)
        if Observer.breaks(.packedLinksBeforeCommit) {
            let newFree = unsafe entries.staged[Int(entries.stagedCount) &- 1]
            unsafe commitEarly(inflight, first, free: PackedInflight.freeWord(new: newFree, old: oldFree), used: used)
        }
        unsafe PackedInflight.linkFree(&entries, in: inflight, &observer)
        if Observer.breaks(.packedFreeHeadBeforeCommit) { unsafe commitEarly(inflight, first, free: nil, used: used) }
        // The pairs of old and new value are stored as one word each, so that no crash finds a pair half changed.
        unsafe observer.store32(PackedInflight.freeWord(new: entries.freeHead, old: oldFree), inflight + PackedInflight.freeHeadOffset)
        if Observer.breaks(.packedUsedPositionBeforeCommit) { unsafe commitEarly(inflight, first, free: nil, used: nil) }
        unsafe observer.store64(used, inflight + PackedInflight.usedIndexOffset)
        if Observer.breaks(.packedMarksAfterCommit) { unsafe unmarkStaged(inflight) }
        // Release: links, free head, used position and the batch's other descriptors are there before the first used descriptor commits.
        unsafe observer.release64(firstStagedMeta, first)
        unsafe unmarkStaged(inflight)
        entries.stagedCount = 0
        if Observer.breaks(.packedFreeHeadsSettleFirst) {
            unsafe observer.release64(PackedInflight.usedWord(new: new, old: new), inflight + PackedInflight.usedIndexOffset)
        }
        // Release: the marks are gone before the batch is declared over. Free heads first: the used position decides whether recovery has
        // anything to do.
        unsafe observer.release32(
            PackedInflight.freeWord(new: entries.freeHead, old: entries.freeHead), inflight + PackedInflight.freeHeadOffset)
        unsafe observer.release64(PackedInflight.usedWord(new: new, old: new), inflight + PackedInflight.usedIndexOffset)
    }

    @inlinable
    @inline(__always)
    mutating func unmarkStaged(_ inflight: UnsafeMutableRawPointer) {
        for index in 0..<entries.stagedCount {
            // Release: no mark goes before the commit, or a crash in between would lose the request.
            unsafe observer.release8(0, inflight + PackedInflight.offset(entries.staged[Int(index)]))
        }
    }

    /// Shows the driver the batch when only a part of what must come before is stored: what breaking a rule of `publishTracked` means.
    @inlinable
    mutating func commitEarly(_ inflight: UnsafeMutableRawPointer, _ first: UnsafeMutableRawPointer, free: UInt32?, used: UInt64?) {
        if let free { unsafe observer.store32(free, inflight + PackedInflight.freeHeadOffset) }
        if let used { unsafe observer.store64(used, inflight + PackedInflight.usedIndexOffset) }
        unsafe observer.release64(firstStagedMeta, first)
    }

    /// Whether the driver wants to hear of what was published since the last call. Call once after `publish`.
    @inlinable
    @inline(__always)
    public mutating func shouldNotify() -> Bool {
        let slots = unsignalledSlots
        if slots == 0 { return false }
        unsignalledSlots = 0
        // Full fence between the store of the used descriptor and the load of the driver's wish; it stores its wish, fences and looks at
        // the used descriptor (2.8.16 and 2.8.17).
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if mustNotify {
            mustNotify = false
            return true
        }
        // One load of both halves: off_wrap below, flags above.
        let event = unsafe driverEvent.shared32()
        switch event >> 16 & 3 {
        case 1: return false  // RING_EVENT_FLAGS_DISABLE
        case 2 where hasEventIndex: break  // RING_EVENT_FLAGS_DESC
        default: return true
        }
        // 2.8.10: notify if the wanted position is among those passed. Positions are counted over two laps, wrap counter 1 first.
        let laps = 2 &* size
        let wanted = (event & 0x7fff) &+ (event & 0x8000 != 0 ? 0 : size)
        let reached = usedNext &+ (usedBits != 0 ? 0 : size)
        var old = reached &+ laps &- slots
        if old >= laps { old &-= laps }
        var ahead = wanted &+ laps &- old
        if ahead >= laps { ahead &-= laps }
        return ahead < slots
    }

    /// Asks the driver for a kick on the next buffer. True if buffers are there already: poll again instead of sleeping.
    @inlinable
    public mutating func enableNotifications() -> Bool {
        if resubmitCount > 0 { return true }
        let wrap: UInt32 = availBits == PackedFormat.avail ? 0x8000 : 0
        // One store of both halves, so that the driver never pairs a new flag with an old position.
        unsafe observer.store32(hasEventIndex ? availNext | wrap | 2 << 16 : 0, deviceEvent)
        // Full fence: the driver stores the descriptor, fences and reads the event area. Either it sees our wish or we see its buffer.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return isNextAvailable
    }

    /// Whether the driver has made the next descriptor available.
    @inlinable var isNextAvailable: Bool {
        unsafe descriptors.shared64(at: Int(availNext) * 16 + 8) & PackedFormat.ownership == availBits
    }

    /// Tells the driver that kicks are not needed.
    @inlinable
    public mutating func disableNotifications() {
        unsafe observer.store32(1 << 16, deviceEvent)  // RING_EVENT_FLAGS_DISABLE
    }
}
