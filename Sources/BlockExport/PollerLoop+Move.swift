internal import VhostUser

/// A queue that goes to another poller: it is drained here, between two turns, and made anew there from what is handed over. The engines and
/// their channels belong to a poller, so that requests in flight cannot move.
extension PollerLoop {
    /// Takes no more chains from a running queue, and gives it up when none is in flight.
    ///
    /// - Parameter completion: called once, with what the queue goes on from on another poller; with nil when it stays, since it does not
    ///   run here or ``stay(_:)`` came first.
    func leave(_ token: UInt64, completion: @escaping (QueueSetup?) -> Void) {
        guard let queue = queues[token], queue.state == .running else { return completion(nil) }
        // The queue holds this closure, and the closure the queue, until it is called.
        queue.onStopped = { base in completion(base == nil ? nil : queue.handOver) }
        queue.state = .draining
        cool(queue)
        draining.append(token)
        completeAll()
    }

    /// Goes on with a queue that was to leave and could not yet: its requests take too long. Kicks that came meanwhile are made up for by
    /// a look at the ring.
    func stay(_ token: UInt64) {
        guard let queue = queues[token], queue.state == .draining, let onStopped = queue.onStopped else { return }
        draining.removeAll { $0 == token }
        queue.onStopped = nil
        queue.state = .running
        heat(queue)
        onStopped(nil)
    }
}
