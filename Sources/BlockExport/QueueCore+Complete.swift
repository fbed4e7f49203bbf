internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// From the channel back to the ring.
extension QueueCore {
    /// Plain requests of one kind and one batch, which are counted together: they have the same latency.
    private struct Streak {
        var kind = QueueCounters.Kind.read
        var start: UInt64 = 0
        var count: UInt64 = 0
        var bytes: UInt64 = 0
    }

    /// Hands finished requests back to the driver, and notifies it once if it wants that. Returns how many.
    ///
    /// - Parameter isWatched: a constant at each of the two places that call this: with false what it guards is not compiled in.
    @inline(__always)
    mutating func complete(isWatched: Bool) -> Int {
        guard var operation = unsafe completions.pointee.takeAll() else { return 0 }
        var done = 0
        // What takes no time is told as that, with the reading that it was taken with.
        let now = Channel.isImmediate && !isWatched ? clock.last() : clock.read()
        var streak = Streak()
        let cursor = isWatched ? ring.usedCursor : 0
        while true {
            let following = unsafe operation.pointee.next
            let slot = unsafe UnsafeMutableRawPointer(operation).assumingMemoryBound(to: RequestSlot.self)
            // Noted before the status byte is stored, put into the log after that: see ``QueueLog``.
            if isWatched, unsafe isLeft(slot, operation.pointee.result) {
                // It stays marked in the inflight region.
            } else if unsafe slot.pointee.isPlain && operation.pointee.result >= 0 {
                if isWatched { unsafe noteWrites(slot, hasStatus: true) }
                unsafe complete(slot, operation.pointee.length, now, &streak)
                done &+= 1
            } else {
                if isWatched { unsafe noteWrites(slot, hasStatus: operation.pointee.result != RequestResult.noStatus) }
                if unsafe completeAny(slot, now) { done &+= 1 }
            }
            // What ended while these were told, ranges without sectors, is told with them.
            guard let next = unsafe following ?? completions.pointee.takeAll() else { break }
            unsafe operation = next
        }
        count(streak, now)
        if done > 0 {
            if isWatched, !Ring.Observer.breaks(.buffersLoggedBeforeUsed) { logBatch() }
            ring.publish()
            if isWatched { logUsed(since: cursor) }
            counters.set(.inFlight, UInt64(truncatingIfNeeded: slots.used))
            let isWanted = ring.shouldNotify()
            if isWatched ? owesNow(done, isWanted, now) : isWanted { notify() }
        }
        return done
    }

    /// Completes a plain request that went well.
    @inline(__always)
    private mutating func complete(
        _ slot: UnsafeMutablePointer<RequestSlot>, _ length: UInt64, _ now: UInt64, _ streak: inout Streak
    ) {
        // The status byte and the data are stored before the used element that announces them: `publish` releases.
        unsafe BlockRequest.setStatus(.ok, at: slot.pointee.status)
        if unsafe slot.pointee.start != streak.start || slot.pointee.kind != streak.kind {
            count(streak, now)
            unsafe streak = Streak(kind: slot.pointee.kind, start: slot.pointee.start)
        }
        streak.count &+= 1
        streak.bytes &+= length
        unsafe ring.push(slot.pointee.handle, length: slot.pointee.usedLength)
        unsafe slots.release(slot)
    }

    @inline(__always)
    private func count(_ streak: Streak, _ now: UInt64) {
        guard streak.count > 0 else { return }
        counters.complete(streak.kind, count: streak.count, bytes: streak.bytes, nanoseconds: now &- streak.start)
    }

    /// Completes a request of any kind and outcome, or goes on with its next range; whether it was handed back.
    @inline(never)
    private mutating func completeAny(_ slot: UnsafeMutablePointer<RequestSlot>, _ now: UInt64) -> Bool {
        let result = unsafe slot.pointee.operation.result
        if result >= 0, unsafe slot.pointee.rangesLeft > 0 {
            unsafe continueRanges(slot, slot.pointee.operation.kind)
            return false
        }
        var length = unsafe slot.pointee.usedLength
        if result >= 0 {
            unsafe BlockRequest.setStatus(.ok, at: slot.pointee.status)
            unsafe counters.complete(
                slot.pointee.kind, count: 1, bytes: slot.pointee.byteCount, nanoseconds: now &- slot.pointee.start)
        } else {
            length = unsafe refuse(slot, result)
            if length == Self.isHeld { return false }
        }
        unsafe ring.push(slot.pointee.handle, length: length)
        unsafe release(slot)
        return true
    }

    /// Forgets finished requests of an abandoned ring: neither guest memory nor the ring nor the inflight region is touched, so that
    /// whoever starts the ring next finds them in flight. Returns how many.
    mutating func discard() -> Int {
        var done = 0
        while let operation = unsafe completions.pointee.pop() {
            let slot = unsafe UnsafeMutableRawPointer(operation).assumingMemoryBound(to: RequestSlot.self)
            if unsafe slot.pointee.isHeld { unsafe held?.end(slot) }
            unsafe release(slot)
            done += 1
        }
        counters.set(.inFlight, UInt64(slots.used))
        return done
    }

    /// Takes a request that failed: it is held, or its status byte is written. Returns how many bytes were written to the guest, or
    /// ``isHeld``.
    private func refuse(_ slot: UnsafeMutablePointer<RequestSlot>, _ result: Int64) -> UInt32 {
        if unsafe slot.pointee.kind == .flush { unsafe disk.flushFailed(result) }
        if let held = unsafe held, unsafe held.take(slot, result) { return Self.isHeld }
        switch result {
        case RequestResult.noStatus:
            return 0
        case RequestResult.unsupported, RequestResult.operationNotSupported:
            counters.add(1, to: .unsupported)
            unsafe BlockRequest.setStatus(.unsupported, at: slot.pointee.status)
        default:
            counters.add(1, to: .ioErrors)
            unsafe BlockRequest.setStatus(.ioError, at: slot.pointee.status)
        }
        // A failed read may have written some of its data; only the status byte is promised.
        return 1
    }

    /// In place of a length, which is never more than a request's bytes: the request is still in flight.
    private static var isHeld: UInt32 { .max }

    /// Gives those requests to the channel again whose time has come. Returns when to look next, `UInt64.max` when nothing waits.
    @inline(never)
    func retryHeld(now: UInt64) -> UInt64 {
        guard let held = unsafe held else { return .max }
        var due = held.takeDue(now: now)
        while let operation = unsafe due.pop() { unsafe submit(operation) }
        return held.nextRetry
    }

    /// Moves requests that are held among the finished ones, for an abandoned ring to forget.
    func abandonHeld() {
        guard let held = unsafe held else { return }
        var given = held.abandon()
        while let operation = unsafe given.pop() {
            unsafe operation.pointee.result = RequestResult.cancelled
            unsafe completions.pointee.append(operation)
        }
    }
}
