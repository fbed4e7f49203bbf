import CLibURing
import Glibc
import LinuxSystem

/// What the io_uring engine works with, in memory of its own: the channels reach it without touching reference counts.
///
/// Safety: the array is allocated once and freed by `destroy`; the ring's own memory is liburing's.
@safe
struct URingState {
    var core: EngineCore
    let mailbox: SlowMailbox
    let ring: URingRing
    var files: URingFileTable
    var buffers: URingBufferTable
    private let capacity: Int
    /// Operations in the submission queue or with the kernel; never more than the completion queue holds.
    private var kernelCount = 0
    /// Whether completions signal the mailbox's event: only while the poller sleeps, since it costs time in each.
    private var isSignalling = false
    private let completions: UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>
    private static let completionsPerTake = 64

    init(_ setup: URingSetup, pollerCPU: Int?) throws(SystemError) {
        core = try EngineCore(node: setup.node)
        do {
            mailbox = try SlowMailbox()
        } catch {
            core.destroy()
            throw error
        }
        var ring = setup.take()
        ring.bind(pollerCPU: pollerCPU)
        files = unsafe URingFileTable(ring.ring)
        buffers = unsafe URingBufferTable(ring.ring)
        do {
            // What the ring may not register any more once it is in use.
            try ring.signal(mailbox.event)
            try ring.enable()
        } catch {
            core.destroy()
            files.destroy()
            ring.destroy()
            throw error
        }
        self.ring = ring
        capacity = setup.depth
        unsafe completions = .allocate(capacity: Self.completionsPerTake)
        unsafe completions.initialize(repeating: nil, count: Self.completionsPerTake)
    }

    func destroy() {
        ring.destroy()
        files.destroy()
        core.destroy()
        unsafe completions.deallocate()
    }

    /// Starts a new operation.
    @inline(__always)
    mutating func add(_ operation: UnsafeMutablePointer<IOOperation>, _ channel: UnsafeMutablePointer<ChannelState>) {
        if unsafe core.begin(operation, channel) == .transfer { unsafe place(operation) }
    }

    /// Puts an operation into the submission queue, or makes it wait when the engine is full or others wait already.
    @inline(__always)
    private mutating func place(_ operation: UnsafeMutablePointer<IOOperation>) {
        guard core.waiting.isEmpty, let entry = unsafe takeEntry() else {
            unsafe operation.pointee.state.pointee.counters.engineFullWaits += 1
            unsafe core.waiting.append(operation)
            return
        }
        unsafe fill(entry, operation)
    }

    @inline(__always)
    private mutating func takeEntry() -> UnsafeMutablePointer<io_uring_sqe>? {
        guard kernelCount < capacity else { return nil }
        var entry = unsafe io_uring_get_sqe(ring.ring)
        if unsafe entry == nil {
            // The submission queue is shorter than the engine is deep: make room.
            submit()
            unsafe entry = io_uring_get_sqe(ring.ring)
        }
        if unsafe entry != nil { kernelCount += 1 }
        return unsafe entry
    }

    @inline(__always)
    private func fill(_ entry: UnsafeMutablePointer<io_uring_sqe>, _ operation: UnsafeMutablePointer<IOOperation>) {
        let channel = unsafe operation.pointee.state
        let file = unsafe channel.pointee.registeredFile
        let descriptor = unsafe file >= 0 ? file : channel.pointee.descriptor
        if unsafe operation.pointee.kind == .flush {
            unsafe io_uring_prep_fsync(entry, descriptor, UInt32(IORING_FSYNC_DATASYNC))
        } else {
            unsafe fillTransfer(entry, operation, descriptor)
        }
        if file >= 0 { unsafe entry.pointee.flags |= UInt8(1 << IOSQE_FIXED_FILE_BIT) }
        unsafe entry.pointee.user_data = UInt64(UInt(bitPattern: operation))
    }

    @inline(__always)
    private func fillTransfer(
        _ entry: UnsafeMutablePointer<io_uring_sqe>, _ operation: UnsafeMutablePointer<IOOperation>, _ descriptor: Int32
    ) {
        let isRead = unsafe operation.pointee.kind == .read
        let offset = unsafe operation.pointee.offset &+ operation.pointee.done
        let segments = unsafe operation.pointee.restOfSegments
        if let buffer = unsafe operation.pointee.bounce {
            let count = unsafe UInt32(operation.pointee.bouncePiece)
            let code = isRead ? IORING_OP_READ : IORING_OP_WRITE
            unsafe io_uring_prep_rw(Int32(code.rawValue), entry, descriptor, buffer, count, offset)
        } else if unsafe operation.pointee.segmentCountOfCall == 1 {
            let count = unsafe UInt32(min(UInt64(segments.pointee.length), IOOperation.bytesPerCallMax))
            if let index = unsafe operation.pointee.state.pointee.registeredIndex(segments.pointee.base, count) {
                let code = isRead ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED
                unsafe io_uring_prep_rw(Int32(code.rawValue), entry, descriptor, segments.pointee.base, count, offset)
                unsafe entry.pointee.buf_index = index
            } else {
                let code = isRead ? IORING_OP_READ : IORING_OP_WRITE
                unsafe io_uring_prep_rw(Int32(code.rawValue), entry, descriptor, segments.pointee.base, count, offset)
            }
        } else {
            let count = unsafe UInt32(operation.pointee.segmentCountOfCall)
            let code = isRead ? IORING_OP_READV : IORING_OP_WRITEV
            unsafe io_uring_prep_rw(Int32(code.rawValue), entry, descriptor, segments, count, offset)
        }
        unsafe entry.pointee.rw_flags = Int32(operation.pointee.transferFlags)
    }

    /// Hands the submission queue to the kernel and works off what has completed, in one system call. What the kernel cannot take now
    /// (EAGAIN, EBUSY) stays for the next time.
    mutating func submit() {
        guard unsafe io_uring_sq_ready(ring.ring) > 0 else { return }
        let status =
            ring.mode == .interrupting ? unsafe io_uring_submit(ring.ring) : unsafe io_uring_submit_and_get_events(ring.ring)
        precondition(status != -EEXIST, "an engine belongs to the thread that made it")
    }

    /// Ends what is finished and continues what is not. Returns how many operations ended.
    mutating func reap() -> Int {
        let before = core.inFlight
        if isSignalling {
            unsafe io_uring_cq_eventfd_toggle(ring.ring, false)
            isSignalling = false
        }
        if !mailbox.isEmpty { _ = core.finishReturned(mailbox) }
        // Nothing of a polled ring completes but in this call, which asks the device once.
        if ring.isPolled, kernelCount > 0 { _ = unsafe io_uring_get_events(ring.ring) }
        while kernelCount > 0 {
            // Enters the kernel when the ring's flags say that completions wait to be worked off, and only then.
            let count = unsafe io_uring_peek_batch_cqe(ring.ring, completions, UInt32(Self.completionsPerTake))
            for index in 0..<Int(count) {
                let entry = unsafe completions[index].unsafelyUnwrapped
                // The address was stored from a valid pointer in `fill`.
                let operation = unsafe UnsafeMutablePointer<IOOperation>(bitPattern: UInt(entry.pointee.user_data)).unsafelyUnwrapped
                if unsafe core.settle(operation, Int64(entry.pointee.res)) == .transfer { unsafe core.waiting.append(operation) }
            }
            unsafe io_uring_cq_advance(ring.ring, count)
            kernelCount -= Int(count)
            if count < Self.completionsPerTake { break }
        }
        startWaiting()
        return before - core.inFlight
    }

    /// Gives free places to operations that wait, in order, and submits them.
    private mutating func startWaiting() {
        while kernelCount < capacity, let operation = unsafe core.nextWaiting() {
            guard let entry = unsafe takeEntry() else {
                unsafe core.waiting.prepend(operation)
                break
            }
            unsafe fill(entry, operation)
        }
        submit()
    }

    /// Whether the poller may sleep on the event.
    mutating func prepareToSleep() -> Bool {
        submit()
        guard unsafe io_uring_sq_ready(ring.ring) == 0 else { return false }
        // Nobody would wake the poller for what it has to ask for itself.
        if ring.isPolled, kernelCount > 0 { return false }
        mailbox.event.drain()
        if kernelCount > 0 {
            // Whatever completes from here on signals the event; what completed before is brought into the completion queue by the call,
            // which is at the same time the barrier between the switch and the look.
            unsafe io_uring_cq_eventfd_toggle(ring.ring, true)
            isSignalling = true
            _ = unsafe io_uring_get_events(ring.ring)
        }
        return unsafe mailbox.isEmpty && io_uring_cq_ready(ring.ring) == 0
    }
}
