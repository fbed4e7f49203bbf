internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// One request in flight. It begins with its ``IOOperation``, so that the engine's pointer to the operation is the pointer to the slot.
///
/// A free slot has no spill block, no ranges and no retired table, so that a plain request need not say so.
@safe
package struct RequestSlot {
    /// What the engine works on; must stay the first field.
    var operation: IOOperation
    // unsafe: points into guest memory that is mapped until the slot is free again, see `retiredEpoch`.
    /// Where the status byte goes.
    package var status: UnsafeMutableRawPointer
    // unsafe: may be stale; it is fetched into the processor's cache, which any address allows, and never followed.
    /// Where the last plain transfer of this slot had its indirect table or its header.
    var named: UnsafeMutableRawPointer?
    /// What the ring needs to hand the chain back.
    var handle: ChainHandle
    /// When the batch that took the request began, nanoseconds of the monotonic clock; 0 while the slot is free.
    var start: UInt64
    /// Bytes that a success writes into guest memory, status byte included: the used element's length.
    var usedLength: UInt32
    /// What the request is counted as.
    var kind: QueueCounters.Kind
    /// Whether a success only has to be told: a read or write with no spill block, of the memory table in use.
    var isPlain: Bool
    /// Ranges of a discard, write-zeroes or secure erase that are still to be done after the current one; they lie behind the slot. The
    /// highest bit is ``heldMark``.
    var rangesLeft: UInt8
    /// The range that is being done.
    var rangeIndex: UInt8
    /// Number of the memory table that the pointers belong to if it was replaced since; 0 for the one in use.
    var retiredEpoch: UInt32
    // unsafe: a block of the pool's own spill memory, or nil while the chain fits into the slot.
    /// The segments' block when the chain is longer than ``RequestSlots/inlineSegments``.
    var spill: UnsafeMutablePointer<IOVector>?
    /// Bytes moved or covered, for the counters; plain requests have the operation's length instead.
    var byteCount: UInt64

    /// In `rangesLeft`: the request was held and has not ended. It lies there so that a success of such a request, and of no other, takes
    /// the way of requests with several ranges.
    static let heldMark: UInt8 = 0x80

    /// Whether the request is held, or is just being tried again.
    var isHeld: Bool { rangesLeft & Self.heldMark != 0 }

    /// Has a plain request looked at whole when it ends.
    mutating func makeGeneral() {
        guard isPlain else { return }
        isPlain = false
        byteCount = operation.length
    }
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
    // unsafe: the runner's list node, which outlives the slots.
    private let completions: UnsafeMutablePointer<IOCompletionList>
    // unsafe: free list, stack and blocks all lie in `mapping`'s own memory; no guest value is ever an index here.
    private let slotBase: UnsafeMutableRawPointer
    private let spillBase: UnsafeMutableRawPointer
    /// Numbers of the spill blocks given back, last on top.
    private let spillStack: UnsafeMutablePointer<UInt32>
    private var freeSlot: UnsafeMutablePointer<RequestSlot>?
    private var spillDepth = 0
    private var freshSlots = 0
    private var freshSpills = 0

    /// Reserves address space for `capacity` slots and as many spill blocks on a NUMA node. Operations are to end in `completions`.
    init(capacity: Int, completions: UnsafeMutablePointer<IOCompletionList>, node: Int?) throws(SystemError) {
        self.capacity = capacity
        unsafe self.completions = completions
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

    /// A free slot, which stays free until ``take(_:)``; nil when all are in flight.
    @inline(__always)
    mutating func next() -> UnsafeMutablePointer<RequestSlot>? {
        if let slot = unsafe freeSlot { return unsafe slot }
        return unsafe makeSlot()
    }

    /// Carves another slot out of the mapping.
    @inline(never)
    private mutating func makeSlot() -> UnsafeMutablePointer<RequestSlot>? {
        guard freshSlots < capacity else { return nil }
        // Zeroed by the kernel, which makes all fields valid; only the operation has some that are never zero.
        let slot = unsafe (slotBase + freshSlots * Self.stride).assumingMemoryBound(to: RequestSlot.self)
        freshSlots += 1
        unsafe slot.pointee.operation = IOOperation(completions: completions, segments: Self.inlineSegments(of: slot))
        unsafe freeSlot = slot
        return unsafe slot
    }

    /// Takes the slot that ``next()`` showed.
    @inline(__always)
    mutating func take(_ slot: UnsafeMutablePointer<RequestSlot>) {
        unsafe freeSlot = UnsafeMutableRawPointer(slot.pointee.operation.next)?.assumingMemoryBound(to: RequestSlot.self)
        used &+= 1
    }

    /// Gives back a slot that has no spill block.
    @inline(__always)
    mutating func release(_ slot: UnsafeMutablePointer<RequestSlot>) {
        unsafe slot.pointee.start = 0
        unsafe slot.pointee.operation.next = UnsafeMutableRawPointer(freeSlot)?.assumingMemoryBound(to: IOOperation.self)
        unsafe freeSlot = slot
        used &-= 1
        assert(used >= 0)
    }

    /// Gives back the spill block of a slot, if it has one.
    mutating func releaseSpill(_ slot: UnsafeMutablePointer<RequestSlot>) {
        guard let block = unsafe slot.pointee.spill else { return }
        let number = unsafe (UnsafeMutableRawPointer(block) - spillBase) / Self.spillStride
        unsafe spillStack[spillDepth] = UInt32(number)
        spillDepth += 1
        unsafe slot.pointee.spill = nil
    }

    /// Notes in every request in flight that the memory table it points into, number `epoch`, is no longer the one in use. Walks the slots
    /// that were ever used: not per request.
    func retire(epoch: UInt32) {
        for index in 0..<freshSlots {
            let slot = unsafe (slotBase + index * Self.stride).assumingMemoryBound(to: RequestSlot.self)
            guard unsafe slot.pointee.start != 0, unsafe slot.pointee.retiredEpoch == 0 else { continue }
            unsafe slot.pointee.retiredEpoch = epoch
            unsafe slot.pointee.makeGeneral()
        }
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
