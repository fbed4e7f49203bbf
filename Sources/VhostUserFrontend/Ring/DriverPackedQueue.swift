/// The driver's side of a packed virtqueue (virtio 1.3, 2.8).
@frozen
@safe
public struct DriverPackedQueue: DriverQueue, @unchecked Sendable {
    // Pointers into the ring area (the DriverMemory keeps it mapped, its user keeps that) and into `bookkeeping`, which this value keeps.
    /// Where the ring lies.
    public let area: DriverRingArea
    /// What was negotiated.
    public let options: DriverRingOptions
    @usableFromInline let bookkeeping: RingBookkeeping
    /// Indexed by buffer id; the free ids are linked.
    @usableFromInline let entries: UnsafeMutablePointer<RingBookkeeping.Entry>
    @usableFromInline let ring: UnsafeMutableRawPointer
    @usableFromInline let driverEvent: UnsafeMutableRawPointer
    @usableFromInline let deviceEvent: UnsafeMutableRawPointer
    @usableFromInline let size: Int
    @usableFromInline var freeID: UInt16 = 0
    @usableFromInline var freeEntries: Int
    @usableFromInline var buffers = 0
    /// Where the next descriptor goes, with the wrap counter that it carries.
    @usableFromInline var next = 0
    @usableFromInline var wrap = true
    /// The head whose flags are held back until `publish`; -1 when nothing is staged. The device stops at it, so one store shows it all.
    @usableFromInline var heldHead = -1
    @usableFromInline var heldFlags: UInt16 = 0
    @usableFromInline var staged = 0
    /// Descriptors published since `shouldKick` was asked last.
    @usableFromInline var unkicked = 0
    @usableFromInline var usedNext = 0
    @usableFromInline var usedWrap = true

    /// Lays a ring out in `area`, all of it empty.
    public init(area: DriverRingArea, options: DriverRingOptions) {
        precondition(area.format == .packed, "a packed queue needs a packed ring")
        self.area = area
        self.options = options
        bookkeeping = RingBookkeeping(size: area.size)
        unsafe entries = bookkeeping.entries
        unsafe ring = area.descriptors.pointer
        unsafe driverEvent = area.driver.pointer
        unsafe deviceEvent = area.device.pointer
        size = area.size
        freeEntries = area.size
        area.clear()
    }

    /// Ring entries that are free.
    /// Buffers added and not taken back yet.
    @inlinable public var freeCount: Int { freeEntries }
    /// Buffers added and not taken back yet.
    @inlinable public var inFlight: Int { buffers }

    /// The AVAIL and USED bits of a descriptor made available in the current lap (virtio 1.3, 2.8.1).
    @inlinable
    @inline(__always)
    var lapFlags: UInt16 { wrap ? RingFlag.available : RingFlag.used }

    /// Adds one chain; see `DriverQueue.add`.
    @inlinable
    @inline(__always)
    public mutating func add(
        token: UInt32, segments: UnsafePointer<DriverSegment>, readable: Int, writable: Int, directCount: Int
    ) -> Bool {
        let total = readable + writable
        precondition(directCount == total || directCount == 0, "a packed ring takes no table behind direct descriptors")
        let isIndirect = directCount < total
        let count = isIndirect ? 1 : total
        guard count > 0, count <= freeEntries else { return false }
        let id = freeID
        let entry = unsafe entries + Int(id)
        freeID = unsafe entry.pointee.next
        unsafe entry.pointee.token = token
        unsafe entry.pointee.count = UInt16(count)
        if isIndirect {
            precondition(total <= area.tableCapacity, "segments do not fit an indirect table")
            let table = unsafe fillTable(Int(id), segments, count: total, readable: readable)
            place(table, id: id, flags: RingFlag.indirect, isHead: true)
        } else {
            for index in 0..<count {
                let flags = (index >= readable ? RingFlag.write : 0) | (index + 1 < count ? RingFlag.next : 0)
                place(unsafe segments[index], id: id, flags: flags, isHead: index == 0)
            }
        }
        freeEntries -= count
        staged += count
        buffers += 1
        return true
    }

    /// Writes a table: of its flags only WRITE is used, its order is its chain (virtio 1.3, 2.8.7).
    @inlinable
    @inline(__always)
    func fillTable(_ id: Int, _ segments: UnsafePointer<DriverSegment>, count: Int, readable: Int) -> DriverSegment {
        let offset = 16 * id * area.tableCapacity
        let table = unsafe area.tables.pointer + offset
        for index in 0..<count {
            let flags = index >= readable ? RingFlag.write : 0
            unsafe RingWord.store64(table + 16 * index, segments[index].address)
            unsafe RingWord.store64(table + 16 * index + 8, UInt64(segments[index].length) | UInt64(flags) << 48)
        }
        return DriverSegment(address: area.tables.guestAddress &+ UInt64(offset), length: UInt32(16 * count))
    }

    /// Puts one descriptor at the next place of the ring and moves on, over the end into the next lap.
    @inlinable
    @inline(__always)
    mutating func place(_ segment: DriverSegment, id: UInt16, flags: UInt16, isHead: Bool) {
        let descriptor = unsafe ring + 16 * next
        let flags = flags | lapFlags
        unsafe RingWord.store64(descriptor, segment.address)
        if isHead && heldHead < 0 {
            unsafe RingWord.store32(descriptor + 8, segment.length)
            unsafe RingWord.store16(descriptor + 12, id)
            heldHead = next
            heldFlags = flags
        } else {
            unsafe RingWord.store64(descriptor + 8, UInt64(segment.length) | UInt64(id) << 32 | UInt64(flags) << 48)
        }
        next += 1
        if next == size {
            next = 0
            wrap.toggle()
        }
    }

    /// Shows the device everything added since the last call.
    @inlinable
    @inline(__always)
    public mutating func publish() {
        guard heldHead >= 0 else { return }
        // Release: the whole batch was written before the one word that lets the device walk into it (virtio 1.3, 2.8.21.1).
        unsafe RingWord.storeRelease16(ring + 16 * heldHead + 14, heldFlags)
        heldHead = -1
        unkicked += staged
        staged = 0
    }

    /// Whether the device wants a kick for what was published since this was last asked.
    @inlinable
    @inline(__always)
    public mutating func shouldKick() -> Bool {
        // The descriptors are published before the device's wish is read; the device arms its wish and then looks at the ring.
        RingWord.fence()
        let wish = unsafe RingWord.load32(deviceEvent)
        let flags = UInt16(truncatingIfNeeded: wish >> 16)
        let added = unkicked
        unkicked = 0
        guard flags == RingFlag.eventAtDescriptor, options.eventIndex else {
            return flags != RingFlag.eventDisable && added > 0
        }
        // The wish is an offset and a lap; counted back from the next place, one of the lap before lies `size` lower (2.8.10).
        let place = UInt16(truncatingIfNeeded: next)
        var event = UInt16(truncatingIfNeeded: wish) & 0x7fff
        if (wish & 0x8000 != 0) != wrap { event &-= UInt16(truncatingIfNeeded: size) }
        return EventIndex.isReached(event: event, new: place, old: place &- UInt16(truncatingIfNeeded: added))
    }

    @inlinable
    @inline(__always)
    func isUsed(_ flags: UInt16) -> Bool {
        (flags & RingFlag.available != 0) == usedWrap && (flags & RingFlag.used != 0) == usedWrap
    }

    /// Takes one used buffer.
    @inlinable
    @inline(__always)
    public mutating func reap(_ used: inout UsedBuffer) -> ReapResult {
        let descriptor = unsafe ring + 16 * usedNext
        // Acquire: id, length and data were written before the flags.
        let flags = unsafe RingWord.loadAcquire16(descriptor + 14)
        guard isUsed(flags) else { return .none }
        let id = unsafe RingWord.load16(descriptor + 12)
        guard id < size else { return .violation(.idOutOfRange(UInt32(id))) }
        let entry = unsafe entries + Int(id)
        let count = unsafe Int(entry.pointee.count)
        guard count > 0 else { return .violation(.idNotInFlight(UInt32(id))) }
        used.token = unsafe entry.pointee.token
        // Without WRITE the length means nothing (virtio 1.3, 2.8.4).
        used.length = flags & RingFlag.write != 0 ? unsafe RingWord.load32(descriptor + 8) : 0
        unsafe entry.pointee.count = 0
        unsafe entry.pointee.next = freeID
        freeID = id
        freeEntries += count
        buffers -= 1
        usedNext += count
        if usedNext >= size {
            usedNext -= size
            usedWrap.toggle()
        }
        return .completed
    }

    /// Asks for a signal at the next used buffer; true when one is there already.
    @inlinable
    @inline(__always)
    public mutating func enableCalls() -> Bool {
        let flags = options.eventIndex ? RingFlag.eventAtDescriptor : RingFlag.eventEnable
        unsafe RingWord.store32(driverEvent, UInt32(usedPlace) | UInt32(flags) << 16)
        // Armed before looking again; the device marks a descriptor used and then reads what was armed.
        RingWord.fence()
        return unsafe isUsed(RingWord.load16(ring + 16 * usedNext + 14))
    }

    /// Asks the device not to signal.
    @inlinable
    @inline(__always)
    public mutating func disableCalls() {
        unsafe RingWord.store32(driverEvent, UInt32(RingFlag.eventDisable) << 16)
    }

    /// Offset and wrap counter of the next used descriptor, as event suppression and the vring base have them.
    @inlinable
    var usedPlace: UInt16 { UInt16(truncatingIfNeeded: usedNext) | (usedWrap ? 0x8000 : 0) }

    /// The vring base after everything was given back.
    public var base: UInt32 {
        precondition(heldHead < 0, "the base of a ring with unpublished descriptors")
        return UInt32(next) | (wrap ? 0x8000 : 0) | UInt32(usedPlace) << 16
    }

    /// The vring base after the back-end vanished.
    public var baseAfterCrash: UInt32 { UInt32(usedPlace) | UInt32(usedPlace) << 16 }
}
