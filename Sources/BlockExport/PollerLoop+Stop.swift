internal import VhostUser
internal import Virtio

/// Queues that are stopped: with what is in flight done, or abandoned.
extension PollerLoop {
    /// Takes no more chains from a queue and calls back when those in flight are done; with nil when the queue never came to run.
    func stop(_ token: UInt64, _ mode: RingStop, completion: @escaping (RingBase?) -> Void) {
        guard let queue = queues[token] else { return completion(nil) }
        precondition(queue.onStopped == nil, "a queue is stopped once")
        queue.onStopped = completion
        // A ring that may not be written to ends without a trace in it: what is in flight stays in the inflight region.
        if queue.state == .suspended { queue.cancelWaiting() }
        queue.state = queue.state == .suspended ? .abandoned : .draining
        cool(queue)
        draining.append(token)
        if mode == .leaveInflight, queue.leaveCancelled() { queue.cancelWaiting() }
        completeAll()
    }

    /// Gives up waiting for a queue that is being stopped, if it still is: its ring is handed back now and never touched again.
    ///
    /// - Parameters:
    ///   - begun: called with the number of requests the kernel still has, before the stop is answered.
    ///   - ended: called once the last of them has ended; not at all when there was nothing to abandon.
    func abandon(_ token: UInt64, begun: (Int) -> Void, ended: @escaping () -> Void) {
        guard let queue = queues[token], let onStopped = queue.onStopped else { return }
        queue.cancelWaiting()
        _ = queue.notifyOwed(now: .max)
        queue.state = .abandoned
        begun(queue.inFlight)
        if queue.hasCompletions { _ = queue.complete() }
        if queue.inFlight == 0 {
            // Nothing was with the kernel, all was held or waited here: the next start need wait for nothing.
            ended()
            return finishDrained()
        }
        let base = queue.base
        queue.onStopped = { _ in ended() }
        onStopped(base)
    }
}
