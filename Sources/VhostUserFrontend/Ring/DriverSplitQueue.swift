/// The driver's side of a split virtqueue (virtio 1.3, 2.7).
@frozen
@safe
public struct DriverSplitQueue: DriverQueue, @unchecked Sendable {
    // Pointers into the ring area (the DriverMemory keeps it mapped, its user keeps that) and into `bookkeeping`, which this value keeps.
    /// Where the ring lies.
    public let area: DriverRingArea
    /// What was negotiated.
    public let options: DriverRingOptions
    @usableFromInline let bookkeeping: RingBookkeeping
    @usableFromInline let entries: UnsafeMutablePointer<RingBookkeeping.Entry>
    @usableFromInline let descriptors: UnsafeMutableRawPointer
    @usableFromInline let available: UnsafeMutableRawPointer
    @usableFromInline let usedRing: UnsafeMutableRawPointer
    @usableFromInline let size: Int
    @usableFromInline let mask: UInt16
    @usableFromInline var freeHead: UInt16 = 0
    @usableFromInline var freeEntries: Int
    /// Where the next head goes; the device sees `published` of them.
    @usableFromInline var availableIndex: UInt16 = 0
    @usableFromInline var published: UInt16 = 0
    /// The index that `shouldKick` answered for last.
    @usableFromInline var kicked: UInt16 = 0
    /// The next used element to take, and the used index as last read.
    @usableFromInline var usedNext: UInt16 = 0
    @usableFromInline var usedSeen: UInt16 = 0

    /// Lays a ring out in `area`, all of it empty.
    public init(area: DriverRingArea, options: DriverRingOptions) {
        precondition(area.format == .split, "a split queue needs a split ring")
        self.area = area
        self.options = options
        bookkeeping = RingBookkeeping(size: area.size)
        unsafe entries = bookkeeping.entries
        unsafe descriptors = area.descriptors.pointer
        unsafe available = area.driver.pointer
        unsafe usedRing = area.device.pointer
        size = area.size
        mask = UInt16(area.size - 1)
        freeEntries = area.size
        area.clear()
    }

    /// Ring entries that are free.
    /// Buffers added and not taken back yet.
    @inlinable public var freeCount: Int { freeEntries }
    /// Buffers added and not taken back yet.
    @inlinable public var inFlight: Int { Int(availableIndex &- usedNext) }

    /// Adds one chain; see `DriverQueue.add`.
    @inlinable
    @inline(__always)
    public mutating func add(
        token: UInt32, segments: UnsafePointer<DriverSegment>, readable: Int, writable: Int, directCount: Int
    ) -> Bool {
        let total = readable + writable
        let inTable = total - directCount
        precondition(directCount >= 0 && inTable >= 0 && inTable <= area.tableCapacity, "segments do not fit an indirect table")
        let count = directCount + (inTable > 0 ? 1 : 0)
        guard count > 0, count <= freeEntries else { return false }
        let head = freeHead
        var current = head
        for index in 0..<directCount {
            let next = unsafe entries[Int(current)].next
            let flags = (index >= readable ? RingFlag.write : 0) | (index + 1 < count ? RingFlag.next : 0)
            unsafe writeDescriptor(descriptors + 16 * Int(current), segments[index], flags: flags, next: index + 1 < count ? next : 0)
            current = next
        }
        if inTable > 0 {
            let next = unsafe entries[Int(current)].next
            unsafe fillTable(Int(current), segments + directCount, count: inTable, readable: readable - directCount)
            current = next
        }
        freeHead = current
        freeEntries -= count
        unsafe entries[Int(head)].token = token
        unsafe entries[Int(head)].count = UInt16(count)
        unsafe RingWord.store16(available + 4 + 2 * Int(availableIndex & mask), head)
        availableIndex &+= 1
        return true
    }

    /// Writes an indirect table and the ring descriptor that points to it. `readable` may be negative: then all of the table is writable.
    @inlinable
    @inline(__always)
    mutating func fillTable(_ entry: Int, _ segments: UnsafePointer<DriverSegment>, count: Int, readable: Int) {
        // `add` has checked that the table takes `count` segments: nothing here can overflow.
        let offset = (16 &* entry) &* area.tableCapacity
        var target = unsafe area.tables.pointer + offset
        var source = unsafe segments
        // Flags and next of a descriptor in the upper half of its second word; next counts up from 1.
        var upper = UInt64(RingFlag.next) << 32 | 1 << 48
        var index = 0
        while index < count {
            if index == readable || index == 0 && readable < 0 { upper |= UInt64(RingFlag.write) << 32 }
            if index &+ 1 == count { upper &= UInt64(RingFlag.write) << 32 }
            unsafe RingWord.store64(target, source.pointee.address)
            unsafe RingWord.store64(target + 8, UInt64(source.pointee.length) | upper)
            upper &+= 1 << 48
            unsafe target += 16
            unsafe source += 1
            index &+= 1
        }
        let length = UInt32(truncatingIfNeeded: 16 &* count)
        let segment = DriverSegment(address: area.tables.guestAddress &+ UInt64(truncatingIfNeeded: offset), length: length)
        unsafe writeDescriptor(descriptors + 16 &* entry, segment, flags: RingFlag.indirect, next: 0)
    }

    /// Plain atomic stores: the release in `publish` orders them.
    @inlinable
    @inline(__always)
    func writeDescriptor(_ pointer: UnsafeMutableRawPointer, _ segment: DriverSegment, flags: UInt16, next: UInt16) {
        unsafe RingWord.store64(pointer, segment.address)
        unsafe RingWord.store64(pointer + 8, UInt64(segment.length) | UInt64(flags) << 32 | UInt64(next) << 48)
    }

    /// Shows the device everything added since the last call.
    @inlinable
    @inline(__always)
    public mutating func publish() {
        published = availableIndex
        unsafe RingWord.storeRelease16(available + 2, availableIndex)
    }

    /// Whether the device wants a kick for what was published since this was last asked.
    @inlinable
    @inline(__always)
    public mutating func shouldKick() -> Bool {
        // The index is published before the device's wish is read; the device arms its wish and then reads the index.
        RingWord.fence()
        let old = kicked
        kicked = published
        guard options.eventIndex else {
            return unsafe RingWord.load16(usedRing) & RingFlag.suppress == 0 && old != published
        }
        let event = unsafe RingWord.load16(usedRing + 4 + 8 * size)
        return EventIndex.isReached(event: event, new: published, old: old)
    }

    /// Takes one used buffer.
    @inlinable
    @inline(__always)
    public mutating func reap(_ used: inout UsedBuffer) -> ReapResult {
        if usedNext == usedSeen {
            // Acquire: elements and data were written before the index.
            let seen = unsafe RingWord.loadAcquire16(usedRing + 2)
            if seen == usedNext { return .none }
            if seen &- usedNext > published &- usedNext {
                return .violation(.usedIndexAhead(used: seen, available: published))
            }
            usedSeen = seen
        }
        let element = unsafe usedRing + 4 + 8 * Int(usedNext & mask)
        let id = unsafe RingWord.load32(element)
        guard id < size else { return .violation(.idOutOfRange(id)) }
        let entry = unsafe entries + Int(id)
        let count = unsafe entry.pointee.count
        guard count > 0 else { return .violation(.idNotInFlight(id)) }
        used.token = unsafe entry.pointee.token
        used.length = unsafe RingWord.load32(element + 4)
        unsafe entry.pointee.count = 0
        // The chain's entries are still linked to each other: hang the free list behind the last.
        var last = unsafe entry
        for _ in 1..<max(count, 1) { unsafe last = entries + Int(last.pointee.next) }
        unsafe last.pointee.next = freeHead
        freeHead = UInt16(truncatingIfNeeded: id)
        freeEntries += Int(count)
        usedNext &+= 1
        return .completed
    }

    /// Asks for a signal at the next used buffer; true when one is there already.
    @inlinable
    @inline(__always)
    public mutating func enableCalls() -> Bool {
        if options.eventIndex {
            unsafe RingWord.store16(available + 4 + 2 * size, usedNext)
        } else {
            unsafe RingWord.store16(available, 0)
        }
        // Armed before looking again; the device publishes and then reads what was armed (virtio 1.3, 2.7.7.1).
        RingWord.fence()
        return unsafe RingWord.load16(usedRing + 2) != usedNext
    }

    /// Asks the device not to signal.
    @inlinable
    @inline(__always)
    public mutating func disableCalls() {
        if options.eventIndex {
            // With the event index the flags stay 0 (2.7.7.1): an event just passed is as far from the next one as can be.
            unsafe RingWord.store16(available + 4 + 2 * size, usedNext &- 1)
        } else {
            unsafe RingWord.store16(available, RingFlag.suppress)
        }
    }

    /// The vring base after everything was given back.
    public var base: UInt32 { UInt32(published) }

    /// The vring base after the back-end vanished.
    public var baseAfterCrash: UInt32 {
        unsafe UInt32(RingWord.loadAcquire16(usedRing + 2))
    }
}
