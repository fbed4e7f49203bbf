internal import BlockIO
internal import LinuxSystem

/// What a poller does at a time rather than when something comes.
extension PollerLoop {
    /// A queue has requests to be tried again at that time.
    func scheduleRetry(at time: UInt64) { nextRetry = min(nextRetry, time) }

    /// A queue owes its driver a notification at that time.
    func scheduleNotification(at time: UInt64) { nextNotification = min(nextNotification, time) }

    /// Does what is due, between two batches or while there is nothing to do.
    @inline(__always)
    func checkTimes(_ now: UInt64) {
        if now >= nextRetry { retryHeld(now: now) }
        if now >= nextNotification { notifyOwed(now: now) }
        if let registrations, registrations.isPending { registrations.step() }
        if now >= nextPublish {
            nextPublish = now &+ Self.publishNanoseconds
            for queue in queues.values { queue.publishGauges() }
        }
    }

    @inline(never)
    func retryHeld(now: UInt64) {
        nextRetry = .max
        for queue in queues.values { nextRetry = min(nextRetry, queue.retryHeld(now: now)) }
        for index in 0..<engines.count {
            engines.with(index) { engine in
                engine.submit()
                _ = engine.reap()
            }
        }
        completeAll()
    }

    @inline(never)
    private func notifyOwed(now: UInt64) {
        nextNotification = .max
        for queue in queues.values { nextNotification = min(nextNotification, queue.notifyOwed(now: now)) }
    }
}
