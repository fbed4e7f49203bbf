internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// From the channel back to the ring.
extension QueueCore {
    /// Hands finished requests back to the driver, and notifies it once if it wants that. Returns how many.
    @inline(__always)
    mutating func complete() -> Int {
        var done = 0
        let now = MonotonicClock.now()
        while let operation = unsafe completions.pointee.pop() {
            let slot = unsafe UnsafeMutableRawPointer(operation).assumingMemoryBound(to: RequestSlot.self)
            if unsafe slot.pointee.rangesLeft > 0, unsafe operation.pointee.result >= 0 {
                unsafe continueRanges(slot, operation.pointee.kind)
                continue
            }
            let result = unsafe operation.pointee.result
            var length = unsafe slot.pointee.usedLength
            if result >= 0 {
                unsafe BlockRequest.setStatus(.ok, at: slot.pointee.status)
                unsafe counters.complete(slot.pointee.kind, bytes: slot.pointee.byteCount, nanoseconds: now &- slot.pointee.start)
            } else {
                length = unsafe refuse(slot, result)
                if length == Self.isHeld { continue }
            }
            // The status byte and the data are stored before the used element that announces them: `publish` releases.
            unsafe ring.push(slot.pointee.handle, length: length)
            unsafe release(slot)
            done += 1
        }
        if done > 0 {
            ring.publish()
            unsafe counters.set(.inFlight, UInt64(slots.used))
            if ring.shouldNotify() { notify() }
        }
        return done
    }

    /// Forgets finished requests of an abandoned ring: neither guest memory nor the ring nor the inflight region is touched, so that
    /// whoever starts the ring next finds them in flight. Returns how many.
    mutating func discard() -> Int {
        var done = 0
        while let operation = unsafe completions.pointee.pop() {
            unsafe release(UnsafeMutableRawPointer(operation).assumingMemoryBound(to: RequestSlot.self))
            done += 1
        }
        unsafe counters.set(.inFlight, UInt64(slots.used))
        return done
    }

    /// Takes a request that failed: it is held, or its status byte is written. Returns how many bytes were written to the guest, or
    /// ``isHeld``.
    @inline(never)
    private func refuse(_ slot: UnsafeMutablePointer<RequestSlot>, _ result: Int64) -> UInt32 {
        if let held = unsafe held, unsafe held.take(slot, result) { return Self.isHeld }
        switch result {
        case RequestResult.noStatus:
            return 0
        case RequestResult.unsupported, RequestResult.operationNotSupported:
            unsafe counters.add(1, to: .unsupported)
            unsafe BlockRequest.setStatus(.unsupported, at: slot.pointee.status)
        default:
            unsafe counters.add(1, to: .ioErrors)
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
        while let operation = unsafe given.pop() { unsafe completions.pointee.append(operation) }
    }
}
