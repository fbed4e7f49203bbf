public import Synchronization

extension SplitRing {
    /// Stages one used element; `length` is the number of bytes written to the guest.
    @inlinable
    @inline(__always)
    public mutating func push(_ handle: ChainHandle, length: UInt32) {
        // Relaxed: the driver looks at elements before idx only, and idx is stored with release. At most `size` elements are staged, since
        // pop hands out no more before a publish, so no element the driver has yet to read is overwritten.
        let element = unsafe usedRing + 4 + Int(usedStaged & mask) &* 8
        if Observer.breaks(.splitElementBeforeIndex) { unsafe observer.release16(usedStaged &+ 1, usedRing + 2) }
        unsafe observer.store32(UInt32(handle.id), element)
        unsafe observer.store32(length, element + 4)
        unsafe isBusy[Int(handle.id)] = 0
        if let inflight = unsafe inflight {
            // Step 2: link the entry into the batch. Step 3's last_batch_head is stored once for the batch, in publish.
            if Observer.breaks(.splitLinkBeforeIndex) { unsafe observer.release16(usedStaged &+ 1, usedRing + 2) }
            let entry = unsafe inflight + SplitInflight.headerBytes + Int(handle.id) &* SplitInflight.entryBytes
            unsafe observer.store16(lastBatchHead, entry + SplitInflight.nextOffset)
            lastBatchHead = handle.id
            unsafe stagedHeads[Int(usedStaged &- usedPublished)] = handle.id
        }
        usedStaged &+= 1
    }

    /// Makes all staged elements visible to the driver at once.
    @inlinable
    @inline(__always)
    public mutating func publish() {
        if usedStaged == usedPublished { return }
        if let inflight = unsafe inflight {
            unsafe publishTracked(inflight)
        } else {
            // Release: the driver that sees idx sees the elements, the data and the status bytes (2.7.8).
            unsafe observer.release16(usedStaged, usedRing + 2)
        }
        usedPublished = usedStaged
    }

    /// The steps of "When supplying used buffers to the driver" with their crash points:
    /// before idx the batch is not used and all of it will be resubmitted; from idx on, region.used_idx differs from idx by the batch's
    /// size and the list from last_batch_head names its entries, until region.used_idx, stored last, says that their marks are gone.
    @inlinable
    @inline(__always)
    mutating func publishTracked(_ inflight: UnsafeMutableRawPointer) {
        if Observer.breaks(.splitBatchHeadBeforeIndex) { unsafe observer.release16(usedStaged, usedRing + 2) }
        unsafe observer.store16(lastBatchHead, inflight + SplitInflight.lastBatchHeadOffset)
        if Observer.breaks(.splitMarksAfterIndex) { unsafe unmarkStaged(inflight) }
        // Release: list and list head are there before idx.
        unsafe observer.release16(usedStaged, usedRing + 2)
        if Observer.breaks(.splitRegionIndexAfterMarks) { unsafe observer.release16(usedStaged, inflight + SplitInflight.usedIndexOffset) }
        unsafe unmarkStaged(inflight)
        // Release: all marks are gone before the batch is declared over, or a crash would run a used request again.
        unsafe observer.release16(usedStaged, inflight + SplitInflight.usedIndexOffset)
    }

    @inlinable
    @inline(__always)
    mutating func unmarkStaged(_ inflight: UnsafeMutableRawPointer) {
        let batch = Int(usedStaged &- usedPublished)
        for index in 0..<batch {
            let entry = unsafe inflight + SplitInflight.headerBytes + Int(stagedHeads[index]) &* SplitInflight.entryBytes
            // Release: no mark goes before idx is visible, or a crash in between would lose the request.
            unsafe observer.release8(0, entry)
        }
    }

    /// Whether the driver wants to hear of what was published since the last call. Call once after `publish`.
    @inlinable
    @inline(__always)
    public mutating func shouldNotify() -> Bool {
        let old = usedSignalled
        let new = usedPublished
        if old == new { return false }
        usedSignalled = new
        // Full fence between the store of idx and the load of used_event or flags: the driver stores the latter, fences and reads idx
        // (2.7.10). With less, both could read the old value and the notification would be lost.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if mustNotify {
            mustNotify = false
            return true
        }
        if hasEventIndex {
            let event = unsafe availRing.shared16(at: 4 &+ 2 &* Int(size))
            if new &- event &- 1 < new &- old { return true }
        } else if unsafe availRing.shared16() & 1 == 0 {  // VIRTQ_AVAIL_F_NO_INTERRUPT
            return true
        }
        // Legacy VIRTIO_F_NOTIFY_ON_EMPTY (2.7.7.1 of the legacy interface): a ring that has run empty is told even if suppressed.
        return unsafe notifiesOnEmpty && usedPublished == availNext && availRing.shared16(at: 2) == availNext
    }

    /// Asks the driver for a kick on the next buffer. True if buffers are there already: poll again instead of sleeping.
    @inlinable
    public mutating func enableNotifications() -> Bool {
        if resubmitCount > 0 { return true }
        if hasEventIndex {
            unsafe observer.store16(availNext, usedRing + 4 + 8 * Int(size))
        } else {
            unsafe observer.store16(0, usedRing)
        }
        // Full fence: the driver stores idx, fences and reads avail_event or flags. Either it sees our wish or we see its buffers.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return isNextAvailable
    }

    /// Whether the driver has made another chain available.
    @inlinable var isNextAvailable: Bool { unsafe availRing.shared16(at: 2) != availNext }

    /// Tells the driver that kicks are not needed.
    @inlinable
    public mutating func disableNotifications() {
        if hasEventIndex {
            // The driver kicks when idx passes avail_event. Just behind us it takes a lap of 65536 to get there.
            unsafe observer.store16(availNext &- 1, usedRing + 4 + 8 * Int(size))
        } else {
            unsafe observer.store16(1, usedRing)  // VIRTQ_USED_F_NO_NOTIFY
        }
    }
}
