internal import BlockIO
internal import LinuxSystem

/// A guest that moves here by post-copy: until its memory is there its queues run on a poller of the export's own, which waits for pages.
extension ExportDevice {
    /// How long a queue may take to show that it does not wait for a page, once all are said to be there.
    private static let settleNanosecondsMax: UInt64 = 5_000_000_000
    /// Time between two tries to give a queue back whose requests took too long.
    private static let returnNanoseconds: UInt64 = 1_000_000_000

    func settle(completion: @escaping (Bool) -> Void) {
        let completion = HandedOver(completion)
        var pending = 1
        var isOver = false
        let timer = EventLoop.control.after(nanoseconds: Self.settleNanosecondsMax) {
            isOver = true
            completion.value(false)
        }
        let one: @ControlActor () -> Void = {
            pending -= 1
            guard pending == 0, !isOver else { return }
            timer.cancel()
            completion.value(true)
        }
        for queue in queues where queue.running != nil {
            pending += 1
            queue.onPoller({ _, _ in }, completion: one)
        }
        one()
    }

    /// Gives the queues of the export's own poller to those of everybody; tries again later what cannot go now.
    func returnQueues() {
        nextReturn?.cancel()
        nextReturn = nil
        guard !isAwaiting else { return }
        var isComplete = true
        for (index, queue) in queues.enumerated() where pollers.isApart(queue.identity) {
            isComplete = false
            if let running = queue.running, queue.isMovable { giveBack(index, running) }
        }
        if isComplete { return endPollerApart() }
        nextReturn = EventLoop.control.after(nanoseconds: Self.returnNanoseconds) { [weak self] in self?.returnQueues() }
    }

    private func giveBack(_ index: Int, _ running: ExportQueue.Running) {
        let queue = queues[index]
        let assigned: (poller: Poller, place: PollerStatus.QueuePlace)
        do {
            assigned = try pollers.assign(
                queue.identity, cpus: cpuByHand[index].map { [$0] } ?? configuration.cpus, memoryNode: nil,
                backingNode: disk.backing.node, isByHand: cpuByHand[index] != nil, onStall: { [weak self] in self?.tellStalls(index) })
        } catch {
            // It is served where it is, and the next try may find a thread.
            return
        }
        queue.move(to: assigned.poller, place: assigned.place) { [pollers] moved in
            if moved { pollers.releaseApart(queue.identity) } else { pollers.release(queue.identity, from: assigned.poller.cpu) }
        }
    }

    /// Ends the export's own poller when nothing needs it any more.
    func endPollerApart() {
        if !hasAbandonedRequests { pollers.endApart(configuration.name) }
    }
}
