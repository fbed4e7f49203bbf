public import LinuxSystem
internal import Synchronization

/// The pollers of the process, at most one per CPU, started as queues need them; control thread only.
@ControlActor
public final class PollerGroup {
    private struct Entry {
        var poller: Poller
        var queues: [QueueIdentity: PollerStatus.QueuePlace] = [:]
        /// Told when a front-end's descriptor had held the poller up: it may have been the queue's.
        var onStall: [QueueIdentity: @ControlActor () -> Void] = [:]
    }

    private let topology: Topology
    private let cpus: [Int]
    private var entries: [Int: Entry] = [:]
    /// The pollers of exports whose guests' memory is not all there, by export.
    private var apart: [String: Entry] = [:]
    private let watch = PollerWatch()

    /// A group that may use these CPUs, or all the process may run on when nil.
    ///
    /// - Throws: ``ExportError`` of kind `.invalid` when a CPU of the list is not one of those.
    public init(cpus: [Int]? = nil, topology: Topology) throws(ExportError) {
        self.topology = topology
        self.cpus = try Self.checked(cpus, among: topology.cpus.numbers)
    }

    /// The CPUs of a list, or all; refuses one that this process cannot run on.
    private static func checked(_ cpus: [Int]?, among available: [Int]) throws(ExportError) -> [Int] {
        guard let cpus else { return available }
        for cpu in cpus where !available.contains(cpu) {
            throw ExportError(
                kind: .invalid, field: "cpus", message: "CPU \(cpu) is not one that this process may run on",
                hint: "choose among \(CPUSet(available))")
        }
        return cpus
    }

    /// Refuses a CPU list that names a CPU outside the group.
    func check(cpus: [Int]?) throws(ExportError) {
        _ = try Self.checked(cpus, among: self.cpus)
    }

    /// The poller that is to run a queue, started if need be, and where it is.
    ///
    /// - Parameter isApart: on a poller that only this export's queues use, since it may wait for pages of the guest's memory.
    func assign(
        _ queue: QueueIdentity, cpus: [Int]?, memoryNode: Int?, backingNode: Int?, isByHand: Bool = false, isApart: Bool = false,
        onStall: @escaping @ControlActor () -> Void
    ) throws(SystemError) -> (poller: Poller, place: PollerStatus.QueuePlace) {
        let chosen = Placement.choose(among: candidates(for: queue), cpus: cpus, memoryNode: memoryNode, backingNode: backingNode)
        guard var placement = chosen else { preconditionFailure("the CPU list of an export was checked when it was made") }
        if isByHand { placement.reason = .hand }
        if isApart { placement.reason = .postcopy }
        var crosses: [String] = []
        if let memoryNode, memoryNode != placement.node { crosses.append("memory") }
        if let backingNode, backingNode != placement.node { crosses.append("backing") }
        let place = PollerStatus.QueuePlace(
            export: queue.export, queue: queue.index, crossesNodes: crosses, reason: placement.reason.rawValue)
        var entry = try isApart ? entryApart(for: queue.export, placement) : entry(of: placement)
        entry.queues[queue] = place
        entry.onStall[queue] = onStall
        if isApart { apart[queue.export] = entry } else { entries[placement.cpu] = entry }
        watch.start(
            pollers: { [weak self] in self?.all.filter { !$0.queues.isEmpty }.map(\.poller) ?? [] },
            onFreed: { [weak self] poller in self?.all.first { $0.poller === poller }?.onStall.values.forEach { $0() } })
        return (entry.poller, place)
    }

    private var all: [Entry] { Array(entries.values) + Array(apart.values) }

    /// The poller of one export, kept until it has no queues.
    private func entryApart(for export: String, _ placement: Placement) throws(SystemError) -> Entry {
        if let entry = apart[export] { return entry }
        return Entry(poller: try Poller(cpu: placement.cpu, node: placement.node, name: "postcopy"))
    }

    /// Whether a queue runs on a poller of its export's own.
    func isApart(_ queue: QueueIdentity) -> Bool { apart[queue.export]?.queues[queue] != nil }

    /// Ends the poller of an export's own when it has no queue any more, not even an abandoned one: the caller knows of those.
    func endApart(_ export: String) {
        guard let entry = apart[export], entry.queues.isEmpty else { return }
        apart[export] = nil
        // Its engines take their time to close.
        Task { await Worker.run { entry.poller.shutdown() } }
    }

    /// The CPUs that a running queue may go to: those of its export, or of the node it belongs to.
    func choices(for queue: QueueIdentity, cpus: [Int]?, memoryNode: Int?, backingNode: Int?) -> [Int] {
        Placement.choices(among: candidates(for: queue), cpus: cpus, memoryNode: memoryNode, backingNode: backingNode).candidates.map(\.cpu)
    }

    /// What there is to choose from for a queue, which itself is not counted anywhere.
    private func candidates(for queue: QueueIdentity) -> [Placement.Candidate] {
        cpus.map { cpu in
            let others = entries[cpu]?.queues.keys.filter { $0 != queue } ?? []
            return Placement.Candidate(
                cpu: cpu, node: topology.node(ofCPU: cpu) ?? 0, queueCount: others.count,
                ownQueueCount: others.count { $0.export == queue.export })
        }
    }

    private func entry(of placement: Placement) throws(SystemError) -> Entry {
        if let entry = entries[placement.cpu] { return entry }
        return Entry(poller: try Poller(cpu: placement.cpu, node: placement.node))
    }

    /// Forgets where a queue ran, once it stopped.
    func release(_ queue: QueueIdentity) {
        for cpu in entries.keys { release(queue, from: cpu) }
        releaseApart(queue)
    }

    /// Forgets that a queue ran on a poller of its export's own, once it has left for another.
    func releaseApart(_ queue: QueueIdentity) {
        apart[queue.export]?.queues[queue] = nil
        apart[queue.export]?.onStall[queue] = nil
    }

    /// Forgets that a queue ran on a CPU, once it has left for another.
    func release(_ queue: QueueIdentity, from cpu: Int) {
        entries[cpu]?.queues[queue] = nil
        entries[cpu]?.onStall[queue] = nil
    }

    /// Ends the pollers' threads, which run no queues any more.
    public func shutdown() {
        for entry in all { entry.poller.shutdown() }
        (entries, apart) = ([:], [:])
    }

    /// A picture of every poller, by CPU.
    public var status: [PollerStatus] {
        all.map { entry in
            let gauges = entry.poller.gauges
            return PollerStatus(
                cpu: entry.poller.cpu, node: entry.poller.node,
                queues: entry.queues.values.sorted { ($0.export, $0.queue) < ($1.export, $1.queue) },
                cpuNanoseconds: entry.poller.cpuNanoseconds, busyLoops: gauges.busyLoops.load(ordering: .relaxed),
                idleLoops: gauges.idleLoops.load(ordering: .relaxed), sleeps: gauges.sleeps.load(ordering: .relaxed))
        }
        .sorted { $0.cpu < $1.cpu }
    }
}
