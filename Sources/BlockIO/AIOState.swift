import CLibAIO
import Glibc
import LinuxSystem

/// What the libaio engine works with, in memory of its own: the channels reach it without touching reference counts.
///
/// Safety: the arrays are allocated once and freed by `destroy`. A control block is free, in the batch to be submitted, or the kernel's.
@safe
struct AIOState {
    typealias Block = AIOControlBlock

    var core: EngineCore
    let mailbox: SlowMailbox
    private let context: io_context_t
    private let ring: AIOCompletionRing?
    private let capacity: Int
    private let blocks: UnsafeMutablePointer<Block>
    private let free: UnsafeMutablePointer<UnsafeMutablePointer<Block>>
    private var freeCount: Int
    /// Blocks for the next io_submit, in order.
    private let batch: UnsafeMutablePointer<UnsafeMutablePointer<Block>>
    private var batchCount = 0
    private let events: UnsafeMutablePointer<AIOCompletionRing.Event>
    private static let eventsPerTake = 64
    /// Whether operations signal the mailbox's event when they end.
    var wakesPoller = true
    /// Operations with the kernel that signal nothing when they end.
    private var silentCount = 0
    /// Operations that ended in place, or that the kernel refused, and that no `reap` has told of.
    private var endedCount = 0

    init(depth: Int, node: Int?) throws(SystemError) {
        var context: io_context_t?
        let status = unsafe io_setup(Int32(depth), &context)
        // EAGAIN: the sysctl fs.aio-max-nr is used up.
        guard status >= 0, let context = unsafe context else {
            let isUsedUp = status == -EAGAIN
            throw SystemError("set up libaio for \(depth) operations\(isUsedUp ? " (raise the sysctl fs.aio-max-nr)" : "")", errno: status)
        }
        do {
            core = try EngineCore(node: node)
            mailbox = try SlowMailbox()
        } catch {
            unsafe io_destroy(context)
            throw error
        }
        unsafe self.context = context
        ring = unsafe AIOCompletionRing(context: UnsafeMutableRawPointer(context))
        capacity = depth
        unsafe blocks = .allocate(capacity: depth)
        unsafe blocks.initialize(repeating: Block(), count: depth)
        unsafe free = .allocate(capacity: depth)
        unsafe batch = .allocate(capacity: depth)
        unsafe events = .allocate(capacity: Self.eventsPerTake)
        freeCount = depth
        // The block used last is the next one used, while it is still in the cache.
        for index in 0..<depth { unsafe (free + index).initialize(to: blocks + (depth - 1 - index)) }
    }

    func destroy() {
        unsafe io_destroy(context)
        core.destroy()
        unsafe blocks.deallocate()
        unsafe free.deallocate()
        unsafe batch.deallocate()
        unsafe events.deallocate()
    }

    /// Starts a new operation.
    @inline(__always)
    mutating func add(_ operation: UnsafeMutablePointer<IOOperation>, _ channel: UnsafeMutablePointer<ChannelState>) {
        guard unsafe core.begin(operation, channel) == .transfer else { return }
        if unsafe channel.pointee.completesInPlace && operation.pointee.kind != .flush {
            unsafe transferInPlace(operation)
        } else {
            unsafe place(operation)
        }
    }

    /// Does a transfer of a medium that is memory: io_submit would do it before it returns too, and takes a third more for what it keeps of
    /// each operation.
    @inline(never)
    private mutating func transferInPlace(_ operation: UnsafeMutablePointer<IOOperation>) {
        while unsafe core.settle(operation, operation.pointee.transferInPlace()) == .transfer {}
        endedCount += 1
    }

    /// Puts an operation into the batch, or makes it wait when all blocks are in use or others wait already.
    @inline(__always)
    private mutating func place(_ operation: UnsafeMutablePointer<IOOperation>) {
        guard freeCount > 0, core.waiting.isEmpty else {
            unsafe operation.pointee.state.pointee.counters.engineFullWaits += 1
            unsafe core.waiting.append(operation)
            return
        }
        unsafe enqueue(operation)
    }

    @inline(__always)
    private mutating func enqueue(_ operation: UnsafeMutablePointer<IOOperation>) {
        freeCount -= 1
        let block = unsafe free[freeCount]
        unsafe fill(block, operation)
        unsafe batch[batchCount] = block
        batchCount += 1
    }

    @inline(__always)
    private mutating func fill(_ block: UnsafeMutablePointer<Block>, _ operation: UnsafeMutablePointer<IOOperation>) {
        let channel = unsafe operation.pointee.state
        let isRead = unsafe operation.pointee.kind == .read
        unsafe block.pointee.data = UInt64(UInt(bitPattern: operation))
        unsafe block.pointee.descriptor = UInt32(bitPattern: channel.pointee.descriptor)
        unsafe block.pointee.offset = Int64(truncatingIfNeeded: operation.pointee.offset &+ operation.pointee.done)
        unsafe block.pointee.transferFlags = operation.pointee.transferFlags
        if unsafe wakesPoller && !channel.pointee.completesInPlace {
            unsafe block.pointee.flags = Block.signalsEvent
            unsafe block.pointee.event = UInt32(bitPattern: mailbox.event.descriptor.rawValue)
        } else {
            unsafe block.pointee.flags = 0
            silentCount += 1
        }
        if unsafe operation.pointee.kind == .flush {
            unsafe block.pointee.opcode = Block.Opcode.dataSync.rawValue
            unsafe (block.pointee.buffer, block.pointee.count, block.pointee.offset) = (0, 0, 0)
        } else if let buffer = unsafe operation.pointee.bounce {
            unsafe setBuffer(block, isRead, buffer, operation.pointee.bouncePiece)
        } else if unsafe operation.pointee.segmentCountOfCall == 1 {
            let segment = unsafe operation.pointee.restOfSegments
            unsafe setBuffer(block, isRead, segment.pointee.base, segment.pointee.length)
        } else {
            let opcode = isRead ? Block.Opcode.readVector : .writeVector
            unsafe block.pointee.opcode = opcode.rawValue
            unsafe block.pointee.buffer = UInt64(UInt(bitPattern: operation.pointee.restOfSegments))
            unsafe block.pointee.count = UInt64(operation.pointee.segmentCountOfCall)
        }
    }

    @inline(__always)
    private func setBuffer(_ block: UnsafeMutablePointer<Block>, _ isRead: Bool, _ buffer: UnsafeMutableRawPointer, _ count: Int) {
        unsafe block.pointee.opcode = (isRead ? Block.Opcode.read : .write).rawValue
        unsafe block.pointee.buffer = UInt64(UInt(bitPattern: buffer))
        unsafe block.pointee.count = UInt64(count)
    }

    /// Hands the batch to the kernel. What it cannot take now stays for the next time.
    mutating func submit() {
        var sent = 0
        while sent < batchCount {
            // libaio's iocb is the block, seen through its own header.
            let rest = unsafe UnsafeMutableRawPointer(batch + sent).assumingMemoryBound(to: UnsafeMutablePointer<iocb>?.self)
            let status = unsafe io_submit(context, batchCount - sent, rest)
            if status > 0 {
                sent += Int(status)
            } else if status == -EINTR {
                continue
            } else if status == -EAGAIN || status == 0 {
                break
            } else {
                // The kernel refuses the first of them; the others may be fine.
                unsafe refuse(batch[sent], status)
                sent += 1
            }
        }
        let left = batchCount - sent
        for index in 0..<(sent > 0 ? left : 0) { unsafe batch[index] = batch[sent + index] }
        batchCount = left
    }

    private mutating func refuse(_ block: UnsafeMutablePointer<Block>, _ status: Int32) {
        let operation = unsafe take(block)
        if unsafe operation.pointee.kind == .flush && status == -EINVAL {
            // No asynchronous fsync for this file (or Linux before 4.18).
            unsafe operation.pointee.state.pointee.slowWorker.takeUnretainedValue().add(operation)
        } else {
            unsafe core.finish(operation, Int64(status))
            endedCount += 1
        }
    }

    /// Frees a block and returns its operation.
    @inline(__always)
    private mutating func take(_ block: UnsafeMutablePointer<Block>) -> UnsafeMutablePointer<IOOperation> {
        if unsafe block.pointee.flags == 0 { silentCount -= 1 }
        unsafe free[freeCount] = block
        freeCount += 1
        // The address was stored from a valid pointer in `fill`.
        return unsafe UnsafeMutablePointer(bitPattern: UInt(block.pointee.data)).unsafelyUnwrapped
    }

    /// Ends what is finished and continues what is not. Returns how many operations ended.
    mutating func reap() -> Int {
        let before = core.inFlight + endedCount
        if !mailbox.isEmpty { _ = core.finishReturned(mailbox) }
        while freeCount + batchCount < capacity {
            let count = takeEvents()
            for index in 0..<count {
                let event = unsafe events[index]
                let block = unsafe UnsafeMutablePointer<Block>(bitPattern: UInt(event.control)).unsafelyUnwrapped
                let operation = unsafe take(block)
                if unsafe core.settle(operation, event.result) == .transfer { unsafe core.waiting.append(operation) }
            }
            if count < Self.eventsPerTake { break }
        }
        startWaiting()
        endedCount = 0
        return before - core.inFlight
    }

    private func takeEvents() -> Int {
        if let ring { return unsafe ring.take(events, Self.eventsPerTake) }
        var none = timespec()
        // io_event is the same four words.
        let raw = unsafe UnsafeMutableRawPointer(events).assumingMemoryBound(to: io_event.self)
        return max(0, Int(unsafe io_getevents(context, 0, Self.eventsPerTake, raw, &none)))
    }

    /// Gives free blocks to operations that wait, in order, and submits them.
    private mutating func startWaiting() {
        while freeCount > 0, let operation = unsafe core.nextWaiting() { unsafe enqueue(operation) }
        if batchCount > 0 { submit() }
    }

    /// Whether the poller may sleep on the mailbox's event.
    mutating func prepareToSleep() -> Bool {
        let before = core.inFlight
        if batchCount > 0 { submit() }
        if core.inFlight != before || endedCount > 0 { return false }
        if silentCount > 0 || batchCount > 0 { return false }
        // What ends after this signals the event again, so what is looked at below is complete.
        mailbox.event.drain()
        guard mailbox.isEmpty else { return false }
        return ring?.isEmpty ?? (freeCount == capacity)
    }
}
