internal import BlockIO
internal import LinuxSystem

/// Queues that go from one poller to another while they run.
extension ExportDevice {
    /// Moves a queue to a CPU by hand: at once when it runs, and whenever it starts.
    ///
    /// - Throws: ``ExportError`` of kind `.busy` when the queue holds requests, or has requests that take too long: it goes on where it was;
    ///   `.invalid` when there is no such queue, or the export must not use that CPU.
    func moveByHand(queue index: Int, to cpu: Int) async throws(ExportError) {
        try check(index, cpu)
        if let running = queues[index].running, running.poller.cpu != cpu { try await move(queue: index, running, to: cpu, isByHand: true) }
        cpuByHand[index] = cpu
    }

    private func move(queue index: Int, _ running: ExportQueue.Running, to cpu: Int, isByHand: Bool) async throws(ExportError) {
        try checkMovable(index)
        let from = running.poller.cpu
        let queue = queues[index]
        let assigned: (poller: Poller, place: PollerStatus.QueuePlace)
        do {
            assigned = try pollers.assign(
                queue.identity, cpus: [cpu], memoryNode: running.memoryNode, backingNode: disk.backing.node, isByHand: isByHand,
                onStall: { [weak self] in self?.tellStalls(index) })
        } catch {
            throw ExportError(
                kind: .system, field: "cpu", message: "a poller on CPU \(cpu) cannot be started: \(error)", hint: "choose another CPU")
        }
        let moved = await withCheckedContinuation { continuation in
            queue.move(to: assigned.poller, place: assigned.place) { [pollers] moved in
                // At once: what waited for the move may stop the queue.
                pollers.release(queue.identity, from: moved ? from : cpu)
                continuation.resume(returning: moved)
            }
        }
        guard moved else {
            throw ExportError(
                kind: .busy, field: "queue",
                message: "queue \(queue.identity) stays on CPU \(from): its requests in flight did not end soon enough",
                hint: "try again when the backing answers faster; 'vhublkctl export show' tells what is in flight")
        }
    }

    /// Where a running queue may go: none when it cannot move now.
    func choices(of queue: ExportQueue, _ running: ExportQueue.Running) -> [Int] {
        guard queue.isMovable, !pollers.isApart(queue.identity), queue.counters.read(.held) == 0 else { return [] }
        return pollers.choices(
            for: queue.identity, cpus: configuration.cpus, memoryNode: running.memoryNode, backingNode: disk.backing.node)
    }

    /// Moves a queue as its load asks for; false when it cannot move now, and goes on where it is.
    func moveByLoad(queue index: Int, to cpu: Int) async -> Bool {
        guard let running = queues[index].running, running.poller.cpu != cpu else { return false }
        do throws(ExportError) {
            try await move(queue: index, running, to: cpu, isByHand: false)
            return true
        } catch {
            return false
        }
    }

    private func check(_ index: Int, _ cpu: Int) throws(ExportError) {
        guard queues.indices.contains(index) else {
            throw ExportError(
                kind: .invalid, field: "queue", message: "export \(configuration.name) has no queue \(index)",
                hint: "its queues are 0 to \(queues.count - 1)")
        }
        do throws(ExportError) { try pollers.check(cpus: [cpu]) } catch {
            throw ExportError(kind: .invalid, field: "cpu", message: error.message, hint: error.hint)
        }
        if let cpus = configuration.cpus, !cpus.contains(cpu) {
            throw ExportError(
                kind: .invalid, field: "cpu", message: "export \(configuration.name) was made to use CPUs \(CPUSet(cpus)) only",
                hint: "choose one of them")
        }
    }

    private func checkMovable(_ index: Int) throws(ExportError) {
        let queue = queues[index]
        guard queue.isMovable else {
            throw ExportError(
                kind: .busy, field: "queue",
                message: "queue \(queue.identity) cannot be moved now: it is starting, stopping, moving or broken",
                hint: "'vhublkctl export show' tells its state; queues that run can be moved")
        }
        guard !pollers.isApart(queue.identity) else {
            throw ExportError(
                kind: .busy, field: "queue",
                message: "queue \(queue.identity) cannot be moved now: it waits for memory of a guest that moves here by post-copy",
                hint: "try again when the migration has ended")
        }
        guard queue.counters.read(.held) == 0 else {
            throw ExportError(
                kind: .busy, field: "queue", message: "queue \(queue.identity) holds requests that the backing failed",
                hint: "mend the backing and try 'vhublkctl export retry' first")
        }
    }
}
