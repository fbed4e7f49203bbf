import Glibc
import LinuxSystem

/// What the engines have in common: where operations wait, how a transfer goes on, and how an operation ends. A part of each engine's state.
struct EngineCore {
    /// Operations for which the engine had no place with the kernel.
    var waiting = OperationQueue()
    /// Operations for which there was no bounce buffer.
    var waitingForBounce = OperationQueue()
    /// Operations that were added and have not ended.
    var inFlight = 0
    private var bounce: BouncePool

    /// How often one operation is tried again at the kernel's request before it fails with EAGAIN.
    private static let attemptsMax: UInt16 = 4096

    /// What to do with an operation.
    enum Step {
        /// Hand it to the kernel.
        case transfer
        /// It has ended, or waits elsewhere.
        case taken
    }

    init(node: Int?) throws(SystemError) {
        bounce = try BouncePool(node: node)
    }

    func destroy() { bounce.destroy() }

    /// Looks at a new operation.
    @inline(__always)
    mutating func begin(
        _ operation: UnsafeMutablePointer<IOOperation>, _ channel: UnsafeMutablePointer<ChannelState>
    ) -> Step {
        unsafe operation.pointee.start(on: channel)
        unsafe operation.pointee.completions.pointee.inFlight += 1
        inFlight += 1
        switch unsafe operation.pointee.kind {
        case .read, .write:
            if unsafe operation.pointee.length == 0 { break }
            if unsafe operation.pointee.isAligned, unsafe operation.pointee.offset & channel.pointee.offsetMask == 0 { return .transfer }
            return unsafe beginMisaligned(operation, channel)
        case .flush:
            guard unsafe channel.pointee.flushIsFree else {
                guard unsafe channel.pointee.flushIsSlow else { return .transfer }
                unsafe channel.pointee.slowWorker.takeUnretainedValue().add(operation)
                return .taken
            }
        case .discard, .writeZeroes, .secureErase:
            unsafe channel.pointee.slowWorker.takeUnretainedValue().add(operation)
            return .taken
        }
        unsafe finish(operation, 0)
        return .taken
    }

    @inline(never)
    private mutating func beginMisaligned(
        _ operation: UnsafeMutablePointer<IOOperation>, _ channel: UnsafeMutablePointer<ChannelState>
    ) -> Step {
        let range = unsafe operation.pointee.offset | operation.pointee.length
        guard unsafe range & channel.pointee.offsetMask == 0 else {
            // The range itself does not fit the disk's blocks, which no copy can mend.
            unsafe finish(operation, -Int64(EINVAL))
            return .taken
        }
        unsafe channel.pointee.counters.bounced += 1
        if waitingForBounce.isEmpty, unsafe takeBuffer(operation) { return .transfer }
        unsafe channel.pointee.counters.bounceWaits += 1
        unsafe waitingForBounce.append(operation)
        return .taken
    }

    private mutating func takeBuffer(_ operation: UnsafeMutablePointer<IOOperation>) -> Bool {
        guard let buffer = unsafe bounce.take() else { return false }
        unsafe operation.pointee.bounce = buffer
        unsafe fillBounce(operation)
        return true
    }

    private func fillBounce(_ operation: UnsafeMutablePointer<IOOperation>) {
        guard unsafe operation.pointee.kind == .write, let buffer = unsafe operation.pointee.bounce else { return }
        unsafe operation.pointee.copy(operation.pointee.bouncePiece, with: buffer, toSegments: false)
    }

    /// Looks at what the kernel answered: bytes transferred, or a negated errno.
    @inline(__always)
    mutating func settle(_ operation: UnsafeMutablePointer<IOOperation>, _ answer: Int64) -> Step {
        let isWhole = unsafe answer == Int64(bitPattern: operation.pointee.length) && operation.pointee.done == 0
        if isWhole, unsafe operation.pointee.bounce == nil, unsafe operation.pointee.kind != .flush {
            unsafe finish(operation, answer)
            return .taken
        }
        return unsafe settlePart(operation, answer)
    }

    @inline(never)
    private mutating func settlePart(_ operation: UnsafeMutablePointer<IOOperation>, _ answer: Int64) -> Step {
        let channel = unsafe operation.pointee.state
        if answer == -Int64(EAGAIN) || answer == -Int64(EINTR) {
            unsafe channel.pointee.counters.retries += 1
            unsafe operation.pointee.attempts += 1
            if unsafe operation.pointee.attempts < Self.attemptsMax { return .transfer }
        }
        guard answer >= 0, unsafe operation.pointee.kind != .flush else {
            unsafe finish(operation, min(answer, 0))
            return .taken
        }
        let count = UInt64(answer)
        let left = unsafe operation.pointee.length - operation.pointee.done
        // Nothing transferred is the end of a file that shrank underneath (a read), or a device that takes nothing (a write): what the
        // segments hold then is not the disk's. A part that ends within a block can be that end only, and could not be continued.
        let isEnd = unsafe count == 0 && left > 0 || count < left && count & channel.pointee.offsetMask != 0
        guard !isEnd, count <= left else {
            unsafe finish(operation, -Int64(EIO))
            return .taken
        }
        if let buffer = unsafe operation.pointee.bounce {
            if unsafe operation.pointee.kind == .read { unsafe operation.pointee.copy(Int(count), with: buffer, toSegments: true) }
            if unsafe count < UInt64(operation.pointee.bouncePiece) { unsafe channel.pointee.counters.shortTransfers += 1 }
            unsafe operation.pointee.done += count
        } else if count < left {
            unsafe channel.pointee.counters.shortTransfers += 1
            unsafe operation.pointee.advance(by: count)
        } else {
            unsafe operation.pointee.done += count
        }
        if unsafe operation.pointee.done < operation.pointee.length {
            unsafe fillBounce(operation)
            return .transfer
        }
        unsafe finish(operation, Int64(bitPattern: operation.pointee.length))
        return .taken
    }

    /// Ends an operation: it is its owner's from here on.
    @inline(__always)
    mutating func finish(_ operation: UnsafeMutablePointer<IOOperation>, _ result: Int64) {
        unsafe operation.pointee.restoreSegments()
        if let buffer = unsafe operation.pointee.bounce {
            unsafe operation.pointee.bounce = nil
            unsafe bounce.give(buffer)
        }
        if result < 0 { unsafe operation.pointee.state.pointee.counters.errors += 1 }
        unsafe operation.pointee.result = result
        inFlight -= 1
        let completions = unsafe operation.pointee.completions
        unsafe completions.pointee.inFlight -= 1
        unsafe completions.pointee.append(operation)
    }

    /// The next operation that waits for a place with the kernel, those first that got a bounce buffer meanwhile.
    mutating func nextWaiting() -> UnsafeMutablePointer<IOOperation>? {
        while !waitingForBounce.isEmpty, let buffer = unsafe bounce.take() {
            guard let operation = unsafe waitingForBounce.pop() else { break }
            unsafe operation.pointee.bounce = buffer
            unsafe fillBounce(operation)
            unsafe waiting.append(operation)
        }
        return unsafe waiting.pop()
    }

    /// Ends what came back from the worker for slow operations. Returns how many.
    mutating func finishReturned(_ mailbox: SlowMailbox) -> Int {
        var returned = mailbox.takeAll()
        var count = 0
        while let operation = unsafe returned.pop() {
            let channel = unsafe operation.pointee.state
            if unsafe operation.pointee.notes & SlowOperation.ignoredDiscard != 0 {
                unsafe channel.pointee.counters.ignoredDiscards += 1
            }
            if unsafe operation.pointee.notes & SlowOperation.wroteZeroes != 0 { unsafe channel.pointee.counters.writtenZeroes += 1 }
            unsafe finish(operation, operation.pointee.result)
            count += 1
        }
        return count
    }

    /// Ends what belongs to `completions` and waits here or in the worker.
    mutating func cancelWaiting(
        _ completions: UnsafeMutablePointer<IOCompletionList>, _ channel: UnsafeMutablePointer<ChannelState>
    ) {
        var cancelled = unsafe [waiting.takeAll(of: completions), waitingForBounce.takeAll(of: completions)]
        let slow = unsafe channel.pointee.slowWorker.takeUnretainedValue().takeWaiting(of: completions)
        cancelled.append(slow)
        for index in cancelled.indices {
            while let operation = unsafe cancelled[index].pop() { unsafe finish(operation, -Int64(ECANCELED)) }
        }
    }
}
