/// The machine's CPUs and NUMA nodes, as sysfs tells them.
public struct Topology: Equatable, Sendable {
    /// Some CPUs and the memory next to them.
    public struct Node: Equatable, Sendable {
        /// The node's number.
        public var id: Int
        /// The node's CPUs that are online and that the process may use; may be empty.
        public var cpus: CPUSet
        /// The cost of reaching each node's memory by the node's number, 10 for its own (ACPI SLIT).
        public var distances: [Int: Int]

        /// Describes a node.
        public init(id: Int, cpus: CPUSet, distances: [Int: Int]) {
            self.id = id
            self.cpus = cpus
            self.distances = distances
        }
    }

    /// The nodes in ascending order, at least one.
    public var nodes: [Node]
    /// All CPUs that are online and that the process may use.
    public var cpus: CPUSet
    /// For each CPU, the CPUs that share its core, itself included.
    private var siblings: [Int: CPUSet]

    /// Reads the topology below `sysfsRoot`, limited to `allowed` (by default what the process's affinity permits). A machine or container
    /// that tells nothing of nodes has one node, 0, with all CPUs.
    public init(sysfsRoot: String = "/sys", allowed: CPUSet? = CPUSet.ofProcess()) {
        let system = sysfsRoot + "/devices/system"
        let fallback = allowed ?? CPUSet([0])
        let online = SystemFile.text("\(system)/cpu/online").flatMap(CPUSet.init(list:)) ?? fallback
        let usable = allowed.map(online.intersection) ?? online
        cpus = usable.isEmpty ? online : usable
        nodes = []
        siblings = [:]
        for cpu in cpus.numbers {
            let list = SystemFile.text("\(system)/cpu/cpu\(cpu)/topology/thread_siblings_list").flatMap(CPUSet.init(list:))
            siblings[cpu] = list?.intersection(cpus) ?? CPUSet([cpu])
        }
        let ids = SystemFile.text("\(system)/node/online").flatMap(CPUSet.init(list:))?.numbers ?? []
        for id in ids {
            let list = SystemFile.text("\(system)/node/node\(id)/cpulist").flatMap(CPUSet.init(list:)) ?? CPUSet([])
            let row = SystemFile.text("\(system)/node/node\(id)/distance") ?? ""
            let values = row.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
            // The row has one figure for each online node, in their order (Linux, drivers/base/node.c).
            let distances = Dictionary(uniqueKeysWithValues: zip(ids, values))
            nodes.append(Node(id: id, cpus: list.intersection(cpus), distances: distances))
        }
        if nodes.isEmpty { nodes = [Node(id: 0, cpus: cpus, distances: [0: 10])] }
    }

    /// The node that has this CPU; nil for a CPU that is not usable.
    public func node(ofCPU cpu: Int) -> Int? {
        nodes.first { $0.cpus.contains(cpu) }?.id
    }

    /// The usable CPUs of a node; empty for a node that is not there.
    public func cpus(ofNode id: Int) -> CPUSet {
        nodes.first { $0.id == id }?.cpus ?? CPUSet([])
    }

    /// The cost for a CPU of node `from` to reach memory of node `to`: 10 within a node; 20 where the machine does not say.
    public func distance(from: Int, to: Int) -> Int {
        if let known = nodes.first(where: { $0.id == from })?.distances[to] { return known }
        return from == to ? 10 : 20
    }

    /// The usable CPUs that share this CPU's core, itself included.
    public func siblings(ofCPU cpu: Int) -> CPUSet { siblings[cpu] ?? CPUSet([cpu]) }
}
