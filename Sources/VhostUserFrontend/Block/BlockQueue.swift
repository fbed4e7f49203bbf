public import LinuxSystem

/// One request queue of a virtio-blk driver: a ring, and a slot of memory for each request that can be in flight.
///
/// A struct of pointers owned by one thread, as the rings are. Nothing here allocates after `init`. The caller knows which slots are free.
///
/// ```
/// slot's control line (64 bytes)   header 16 | status 1 | unused
/// slot's data                      `layout.slotBytes`, page aligned
/// ```
@frozen
@safe
public struct BlockQueue<Ring: DriverQueue>: @unchecked Sendable {
    // Sendable: it may be handed to a thread, as long as one thread at a time uses it. The pointers lie in guest memory, which `memory` keeps, and in `segments`, which this value keeps.
    /// The ring, for tests that go around the driver.
    public var ring: Ring
    /// The queue's shape.
    public let layout: BlockQueueLayout
    /// Guest memory that everything of the queue lies in.
    public let memory: DriverMemory
    /// What the device polls for kicks. The driver writes to it.
    public let kickEvent: EventFD
    /// What the device signals used buffers with.
    public let callEvent: EventFD
    /// Kicks sent so far.
    public var kickCount: UInt64 = 0
    @usableFromInline let kick: Int32
    @usableFromInline let control: SharedBuffer
    @usableFromInline let data: SharedBuffer
    @usableFromInline let stride: Int
    @usableFromInline let segments: SegmentList
    @usableFromInline let goesIndirect: Bool
    private let waiter: Epoll

    /// Takes the memory of ring and slots from `memory`.
    public init(layout: BlockQueueLayout, memory: DriverMemory, region: Int = 0) throws(FrontendError) {
        var layout = layout
        layout.options.indirectCapacity = max(layout.options.indirectCapacity, layout.dataSegmentsMax + 2)
        let stride = (layout.slotBytes + 4095) & ~4095
        guard
            let area = DriverRingArea(
                size: layout.ringSize, format: layout.format, options: layout.options, memory: memory, region: region),
            let control = memory.allocate(64 * layout.slotCount, alignment: 4096, region: region),
            let data = memory.allocate(stride * layout.slotCount, alignment: 4096, region: region)
        else {
            throw FrontendError(
                .memory, "guest memory has no room for a queue of \(layout.memoryBytes) bytes",
                hint: "make the memory larger or the queue smaller")
        }
        self.layout = layout
        self.memory = memory
        self.stride = stride
        self.control = control
        self.data = data
        ring = Ring(area: area, options: layout.options)
        segments = SegmentList(capacity: layout.dataSegmentsMax + 2)
        goesIndirect = layout.usesIndirect && layout.options.indirect
        do {
            kickEvent = try EventFD()
            callEvent = try EventFD()
            waiter = try Epoll()
            // Edge-triggered: each signal wakes the sleeper once, without a read that takes the count back.
            try waiter.add(callEvent.descriptor.rawValue, [.readable, .edgeTriggered], token: 0)
        } catch {
            throw FrontendError(.system, "\(error)")
        }
        kick = kickEvent.descriptor.rawValue
    }

    /// Memory of a slot's data.
    @inlinable
    public func buffer(_ slot: Int) -> SharedBuffer { data.slice(slot * stride, layout.slotBytes) }

    /// Submits a request whose data, `length` bytes from the start of the slot's memory, goes to the device or comes from it.
    /// False when the ring has no room.
    @inlinable
    @inline(__always)
    public mutating func submit(_ command: BlockCommand, slot: Int, sector: UInt64, length: Int, toDevice: Bool) -> Bool {
        var count = 0
        let address = data.guestAddress &+ UInt64(truncatingIfNeeded: slot &* stride)
        if length > 0, length <= layout.segmentBytes {
            unsafe segments.base[1] = DriverSegment(address: address, length: UInt32(truncatingIfNeeded: length))
            count = 1
        } else {
            count = cut(address, length)
        }
        return send(command, slot: slot, sector: sector, count: count, toDevice: toDevice)
    }

    /// Cuts `length` bytes at an address into segments, from the second of the list on.
    @inlinable
    func cut(_ address: UInt64, _ length: Int) -> Int {
        var (count, done) = (0, 0)
        precondition(length <= layout.slotBytes, "the request is longer than its slot")
        while done < length {
            let size = min(layout.segmentBytes, length - done)
            unsafe segments.base[1 + count] = DriverSegment(address: address &+ UInt64(done), length: UInt32(size))
            done += size
            count += 1
        }
        return count
    }

    /// Submits a request over any guest memory; at most `layout.dataSegmentsMax` pieces.
    public mutating func submit(
        _ command: BlockCommand, slot: Int, sector: UInt64, pieces: [DriverSegment], toDevice: Bool
    ) -> Bool {
        precondition(pieces.count <= layout.dataSegmentsMax, "more segments than the queue was laid out for")
        for (index, piece) in pieces.enumerated() { unsafe segments.base[1 + index] = piece }
        return send(command, slot: slot, sector: sector, count: pieces.count, toDevice: toDevice)
    }

    /// Submits discard, write zeroes or secure erase over ranges; they must fit the slot's memory.
    public mutating func submit(_ command: BlockCommand, slot: Int, ranges: [SectorRange]) -> Bool {
        let target = buffer(slot)
        precondition(ranges.count * SectorRange.byteCount <= target.size, "more ranges than the slot holds")
        for (index, range) in ranges.enumerated() { write(range, at: index, of: slot) }
        return submit(command, slot: slot, sector: 0, length: ranges.count * SectorRange.byteCount, toDevice: true)
    }

    /// Puts one range into a slot's memory.
    @inlinable
    @inline(__always)
    public func write(_ range: SectorRange, at index: Int, of slot: Int) {
        let offset = slot * stride + SectorRange.byteCount * index
        unsafe RingWord.store64(data.pointer + offset, range.sector)
        unsafe RingWord.store64(data.pointer + offset + 8, UInt64(range.sectorCount) | UInt64(range.flags) << 32)
    }

    @inlinable
    @inline(__always)
    mutating func send(_ command: BlockCommand, slot: Int, sector: UInt64, count: Int, toDevice: Bool) -> Bool {
        let line = 64 &* slot
        let header = unsafe control.pointer + line
        // Plain atomic stores: the ring's publish orders them before the device looks.
        unsafe RingWord.store64(header, UInt64(command.rawValue))
        unsafe RingWord.store64(header + 8, sector)
        unsafe RingWord.store64(header + 16, UInt64(BlockStatus.notWritten.rawValue))
        let address = control.guestAddress &+ UInt64(truncatingIfNeeded: line)
        unsafe segments.base[0] = DriverSegment(address: address, length: 16)
        unsafe segments.base[1 + count] = DriverSegment(address: address &+ 16, length: 1)
        let total = count &+ 2
        return unsafe ring.add(
            token: UInt32(truncatingIfNeeded: slot), segments: segments.base, readable: toDevice ? 1 + count : 1,
            writable: toDevice ? 1 : 1 + count, directCount: goesIndirect ? 0 : total)
    }

    /// Shows the device what was submitted and kicks it if it wants that.
    @inlinable
    @inline(__always)
    public mutating func flushSubmissions() {
        ring.publish()
        if ring.shouldKick() {
            kickCount &+= 1
            EventFD.signal(raw: kick)
        }
    }

    /// Takes one request that came back.
    @inlinable
    @inline(__always)
    public mutating func poll(_ completion: inout BlockCompletion) -> ReapResult {
        var used = UsedBuffer()
        let result = ring.reap(&used)
        guard case .completed = result else { return result }
        let slot = Int(used.token)
        completion.slot = slot
        completion.length = used.length
        completion.status = BlockStatus(rawValue: unsafe RingWord.load8(control.pointer + 64 * slot + 16))
        return .completed
    }

    /// Sleeps until the device signals or `nanoseconds` have passed; call only after `ring.enableCalls()` said that nothing is there.
    public func sleep(nanoseconds: Int64) {
        unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
            _ = unsafe waiter.wait(into: ready, timeoutNanoseconds: nanoseconds)
        }
    }
}

/// The list in which a queue gathers one request's segments before it adds them; used by one thread.
@usableFromInline
@safe
final class SegmentList: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutablePointer<DriverSegment>

    @usableFromInline
    init(capacity: Int) {
        // Given back in deinit; the queue that uses the pointer keeps this object.
        unsafe base = .allocate(capacity: capacity)
        unsafe base.initialize(repeating: DriverSegment(address: 0, length: 0), count: capacity)
    }

    deinit {
        unsafe base.deallocate()
    }
}
