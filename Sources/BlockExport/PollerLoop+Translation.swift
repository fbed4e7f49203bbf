internal import VhostUser
internal import Virtio

/// Queues that wait for translations of I/O virtual addresses. The poller goes on with the others.
extension PollerLoop {
    /// Goes on with another memory table, or other translations over it.
    func replaceMemory(_ token: UInt64, _ memory: GuestMemory, _ place: RingPlace) {
        guard let queue = queues[token] else { return }
        if let reason = queue.replaceMemory(memory, place) { return fail(queue, reason) }
        registerMemory(of: queue, token)
        goOn(queue)
    }

    /// The next chain waits for a translation, and the poller does not.
    @inline(never)
    func park(_ queue: PolledQueue, _ miss: MemoryMiss) {
        queue.state = .parked
        cool(queue)
        updateWaking()
        queue.reportMiss(miss)
    }

    /// Neither looks at the ring nor writes to it until `replaceMemory`; one that is being stopped, or broke, is not touched anyway.
    func suspend(_ token: UInt64) {
        guard let queue = queues[token], queue.state == .running || queue.state == .parked else { return }
        queue.state = .suspended
        cool(queue)
        updateWaking()
    }

    /// Takes the chain that waits for an access which is not permitted.
    func deny(_ token: UInt64, _ miss: MemoryMiss) {
        guard let queue = queues[token], queue.state == .parked else { return }
        queue.deny(miss)
        goOn(queue)
    }

    /// Looks again at a ring that waited for a translation.
    func goOn(_ queue: PolledQueue) {
        guard queue.state == .parked || queue.state == .suspended else { return }
        queue.state = .running
        heat(queue)
        updateWaking()
        // What ended meanwhile was not written to the ring, and a turn that finds nothing new completes nothing.
        if queue.hasCompletions { completeAll() }
    }
}
