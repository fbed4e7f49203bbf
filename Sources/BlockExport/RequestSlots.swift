internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// One request in flight. It begins with its ``IOOperation``, so that the engine's pointer to the operation is the pointer to the slot.
@safe
package struct RequestSlot {
    /// What the engine works on; must stay the first field.
    var operation: IOOperation
    // unsafe: points into guest memory that `memoryEpoch` keeps mapped until the slot is free again.
    /// Where the status byte goes.
    package var status: UnsafeMutableRawPointer
    // unsafe: a block of the pool's own spill memory, or nil while the chain fits into the slot.
    /// The segments' block when the chain is longer than ``RequestSlots/inlineSegments``.
    var spill: UnsafeMutablePointer<IOVector>?
    /// When the batch that took the request began, nanoseconds of the monotonic clock; 0 while the slot is free.
    var start: UInt64
    /// Bytes moved or covered, for the counters.
    var byteCount: UInt64
    /// Bytes that a success writes into guest memory, status byte included: the used element's length.
    var usedLength: UInt32
    /// What the ring needs to hand the chain back.
    var handle: ChainHandle
    /// Which memory table the pointers belong to.
    var memoryEpoch: UInt32
    /// What the request is counted as.
    var kind: QueueCounters.Kind
    /// Ranges of a discard, write-zeroes or secure erase that are still to be done after the current one; they lie behind the slot. The
    /// highest bit is ``heldMark``.
    var rangesLeft: UInt8
    /// The range that is being done.
    var rangeIndex: UInt8

    /// In `rangesLeft`: the request was held and has not ended. It lies there so that a success of such a request, and of no other, takes
    /// the way of requests with several ranges, and plain ones pay nothing for it.
    static let heldMark: UInt8 = 0x80

    /// Whether the request is held, or is just being tried again.
    var isHeld: Bool { rangesLeft & Self.heldMark != 0 }
}

/// The preallocated request slots of one queue, on the poller's NUMA node; used by that poller alone.
///
/// Each slot has room for ``inlineSegments`` segments behind it; longer chains take a spill block. Both are last in, first out, so
/// that a shallow queue stays within a few cache lines however many slots there are, and untouched slots cost no memory.
@safe
struct RequestSlots {
    /// Segments that fit behind a slot.
    static let inlineSegments = 16
    /// Ranges of a discard, write-zeroes or secure erase that fit in the same place.
    static let rangeCountMax = inlineSegments * MemoryLayout<IOVector>.stride / MemoryLayout<BlockRange>.stride
    /// Segments of a spill block: the most that one system call takes (IOV_MAX), and so the longest chain accepted.
    static let spillSegments = 1024

    private static let stride =
        (MemoryLayout<RequestSlot>.stride + inlineSegments * MemoryLayout<IOVector>.stride + 63) & ~63
    private static let spillStride = spillSegments * MemoryLayout<IOVector>.stride

    let capacity: Int
    private(set) var used = 0
    private let mapping: MemoryMapping
    // unsafe: free list, stack and blocks all lie in `mapping`'s own memory; no guest value is ever an index here.
    private let slotBase: UnsafeMutableRawPointer
    private let spillBase: UnsafeMutableRawPointer
    /// Numbers of the spill blocks given back, last on top.
    private let spillStack: UnsafeMutablePointer<UInt32>
    private var freeSlot: UnsafeMutablePointer<RequestSlot>?
    private var spillDepth = 0
    private var freshSlots = 0
    private var freshSpills = 0

    /// Reserves address space for `capacity` slots and as many spill blocks on a NUMA node.
    init(capacity: Int, node: Int?) throws(SystemError) {
        self.capacity = capacity
        let slotBytes = (capacity * Self.stride + 4095) & ~4095
        let stackBytes = (capacity * MemoryLayout<UInt32>.stride + 4095) & ~4095
        mapping = try MemoryMapping(anonymous: slotBytes + stackBytes + capacity * Self.spillStride, node: node)
        unsafe slotBase = mapping.base
        unsafe spillStack = (mapping.base + slotBytes).bindMemory(to: UInt32.self, capacity: capacity)
        unsafe spillBase = mapping.base + slotBytes + stackBytes
    }

    /// When the oldest request in flight was taken, or 0 when there is none. Walks the slots that were ever used: not per request.
    var oldestStart: UInt64 {
        guard used > 0 else { return 0 }
        var oldest = UInt64.max
        for index in 0..<freshSlots {
            let start = unsafe (slotBase + index * Self.stride).assumingMemoryBound(to: RequestSlot.self).pointee.start
            if start != 0 { oldest = min(oldest, start) }
        }
        return oldest == .max ? 0 : oldest
    }

    /// Whether a slot can be taken.
    @inline(__always)
    var hasFree: Bool { used < capacity }

    /// Takes a slot; only when ``hasFree``.
    @inline(__always)
    mutating func take() -> UnsafeMutablePointer<RequestSlot> {
        assert(used < capacity)
        used += 1
        if let slot = unsafe freeSlot {
            unsafe freeSlot = UnsafeMutableRawPointer(slot.pointee.operation.next)?.assumingMemoryBound(to: RequestSlot.self)
            return unsafe slot
        }
        // Never used before: zeroed by the kernel, and a zero operation is a valid empty one.
        let slot = unsafe (slotBase + freshSlots * Self.stride).assumingMemoryBound(to: RequestSlot.self)
        freshSlots += 1
        return unsafe slot
    }

    /// Gives a slot and its spill block back.
    @inline(__always)
    mutating func release(_ slot: UnsafeMutablePointer<RequestSlot>) {
        if let block = unsafe slot.pointee.spill {
            let number = unsafe (UnsafeMutableRawPointer(block) - spillBase) / Self.spillStride
            unsafe spillStack[spillDepth] = UInt32(number)
            spillDepth += 1
            unsafe slot.pointee.spill = nil
        }
        unsafe slot.pointee.start = 0
        unsafe slot.pointee.operation.next = UnsafeMutableRawPointer(freeSlot)?.assumingMemoryBound(to: IOOperation.self)
        unsafe freeSlot = slot
        used -= 1
        assert(used >= 0)
    }

    /// The same place as ``inlineSegments(of:)``, for requests that carry ranges in place of data.
    @inline(__always)
    static func ranges(of slot: UnsafeMutablePointer<RequestSlot>) -> UnsafeMutablePointer<BlockRange> {
        unsafe UnsafeMutableRawPointer(inlineSegments(of: slot)).assumingMemoryBound(to: BlockRange.self)
    }

    /// The segments behind a slot.
    @inline(__always)
    static func inlineSegments(of slot: UnsafeMutablePointer<RequestSlot>) -> UnsafeMutablePointer<IOVector> {
        unsafe (UnsafeMutableRawPointer(slot) + MemoryLayout<RequestSlot>.stride).assumingMemoryBound(to: IOVector.self)
    }

    /// The block that a chain may spill into; it stays the pool's until ``takeSpill()``. There is one for each slot, so never none.
    @inline(__always)
    var nextSpill: UnsafeMutablePointer<IOVector> {
        let number = spillDepth > 0 ? unsafe Int(spillStack[spillDepth - 1]) : freshSpills
        return unsafe (spillBase + number * Self.spillStride).assumingMemoryBound(to: IOVector.self)
    }

    /// Takes the block that ``nextSpill`` showed, with what was written there.
    mutating func takeSpill() -> UnsafeMutablePointer<IOVector> {
        let block = unsafe nextSpill
        if spillDepth > 0 { spillDepth -= 1 } else { freshSpills += 1 }
        return unsafe block
    }
}
