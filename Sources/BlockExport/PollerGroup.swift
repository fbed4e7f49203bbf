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
    func assign(
        _ queue: QueueIdentity, cpus: [Int]?, memoryNode: Int?, backingNode: Int?, isByHand: Bool = false,
        onStall: @escaping @ControlActor () -> Void
    ) throws(SystemError) -> (poller: Poller, place: PollerStatus.QueuePlace) {
        let chosen = Placement.choose(among: candidates(for: queue), cpus: cpus, memoryNode: memoryNode, backingNode: backingNode)
        guard var placement = chosen else { preconditionFailure("the CPU list of an export was checked when it was made") }
        if isByHand { placement.reason = .hand }
        var crosses: [String] = []
        if let memoryNode, memoryNode != placement.node { crosses.append("memory") }
        if let backingNode, backingNode != placement.node { crosses.append("backing") }
        let place = PollerStatus.QueuePlace(
            export: queue.export, queue: queue.index, crossesNodes: crosses, reason: placement.reason.rawValue)
        var entry = try entry(of: placement)
        entry.queues[queue] = place
        entry.onStall[queue] = onStall
        entries[placement.cpu] = entry
        watch.start(
            pollers: { [weak self] in self?.entries.values.filter { !$0.queues.isEmpty }.map(\.poller) ?? [] },
            onFreed: { [weak self] cpu in for told in self?.entries[cpu]?.onStall.values ?? [:].values { told() } })
        return (entry.poller, place)
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
    }

    /// Forgets that a queue ran on a CPU, once it has left for another.
    func release(_ queue: QueueIdentity, from cpu: Int) {
        entries[cpu]?.queues[queue] = nil
        entries[cpu]?.onStall[queue] = nil
    }

    /// Ends the pollers' threads, which run no queues any more.
    public func shutdown() {
        for entry in entries.values { entry.poller.shutdown() }
        entries = [:]
    }

    /// A picture of every poller, by CPU.
    public var status: [PollerStatus] {
        entries.values.map { entry in
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
