internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// Completing with more care than usual: while writes to guest memory are logged, while a ring stops whose requests may stay in the
/// inflight region, and where notifications wait for each other.
extension QueueCore {
    /// As ``complete()``; chosen by a flag that the poller looks at once per batch, so that nothing of it is on the usual way.
    @inline(never)
    mutating func completeWatched() -> Int { complete(isWatched: true) }

    /// Whether a finished request stays marked in the inflight region instead of being answered: the disk never had it, or not all of it.
    mutating func isLeft(_ slot: UnsafeMutablePointer<RequestSlot>, _ result: Int64) -> Bool {
        guard leavesCancelled else { return false }
        // Ranges that follow would be begun now: the whole request is left, since doing a range twice is doing it once.
        guard unsafe result == RequestResult.cancelled || result >= 0 && slot.pointee.rangesLeft > 0 else { return false }
        unsafe release(slot)
        return true
    }

    /// Whether the driver is to be told of a batch now, rather than with later ones.
    mutating func owesNow(_ done: Int, _ isWanted: Bool, _ now: UInt64) -> Bool {
        coalescing.isDue(after: done, isWanted: isWanted, isLast: slots.used == 0, now: now)
    }

    /// Sends a notification that is owed and due. Returns when the one that is still owed will be, `UInt64.max` for none.
    mutating func notifyOwed(now: UInt64) -> UInt64 {
        if coalescing.isOver(now: now) { notify() }
        return coalescing.due
    }

    /// Notes what a request wrote: the data of a read, also of one that failed half-way, and the status byte.
    mutating func noteWrites(_ slot: UnsafeMutablePointer<RequestSlot>, hasStatus: Bool) {
        guard log != nil else { return }
        let epoch = unsafe slot.pointee.retiredEpoch
        let memory = epoch == 0 ? guest : retired.memory(epoch: epoch)
        let operation = unsafe slot.pointee.operation
        if operation.kind == .read {
            unsafe noteSegments(operation.segments, Int(operation.segmentCount), in: memory)
        }
        if hasStatus { unsafe log?.noteBuffer(slot.pointee.status, 1, in: memory) }
    }

    /// Notes segments that the device wrote to.
    mutating func noteSegments(_ segments: UnsafeMutablePointer<IOVector>, _ count: Int, in memory: GuestMemory) {
        for index in 0..<count { unsafe log?.noteBuffer(segments[index].base, segments[index].length, in: memory) }
    }

    /// Puts the data and status bytes of a batch into the log, before the batch is published.
    mutating func logBatch() { log?.flush() }

    /// Puts what was published since `cursor` into the log.
    mutating func logUsed(since cursor: UInt32) {
        if !Ring.Observer.breaks(.usedIsLogged) { log?.noteRing(ring.usedWrites(since: cursor)) }
        log?.flush()
    }

    /// Puts into the log that the driver was asked for notifications, or not to send any.
    mutating func logNotification() {
        if Ring.Observer.breaks(.notificationIsLogged) { return }
        log?.noteNotification(ring.notificationWrite)
        log?.flush()
    }
}
