/// One poller: a thread on one CPU that runs queues.
public struct PollerInfo: DescribedObject {
    /// The CPU it is pinned to.
    public var cpu: Int
    /// That CPU's NUMA node.
    public var node: Int
    /// Processor time the thread has used in nanoseconds.
    public var cpuTimeNS: UInt64
    /// Loops that found work.
    public var busyLoops: UInt64
    /// Loops that found none.
    public var idleLoops: UInt64
    /// Times it went to sleep.
    public var sleeps: UInt64
    /// The queues it runs.
    public var queues: [PollerQueueInfo]

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case cpu, node
        case cpuTimeNS = "cpu_time_ns"
        case busyLoops = "busy_loops"
        case idleLoops = "idle_loops"
        case sleeps, queues
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.cpu, .natural, "the CPU it is pinned to"),
            .required(CodingKeys.node, .natural, "that CPU's NUMA node"),
            .required(CodingKeys.cpuTimeNS, .natural, "processor time the thread has used in nanoseconds"),
            .required(CodingKeys.busyLoops, .natural, "loops that found work"),
            .required(CodingKeys.idleLoops, .natural, "loops that found none"),
            .required(CodingKeys.sleeps, .natural, "times it went to sleep"),
            .required(CodingKeys.queues, .array(of: PollerQueueInfo.schema), "the queues it runs"),
        ]
    }

    /// A poller.
    public init(
        cpu: Int, node: Int, cpuTimeNS: UInt64, busyLoops: UInt64, idleLoops: UInt64, sleeps: UInt64, queues: [PollerQueueInfo]
    ) {
        self.cpu = cpu
        self.node = node
        self.cpuTimeNS = cpuTimeNS
        self.busyLoops = busyLoops
        self.idleLoops = idleLoops
        self.sleeps = sleeps
        self.queues = queues
    }
}

/// A queue on a poller.
public struct PollerQueueInfo: DescribedObject {
    /// The export's name.
    public var export: String
    /// The queue's index.
    public var queue: Int
    /// Why it was placed here.
    public var reason: String
    /// What crosses nodes.
    public var crossesNodes: [String]

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case export, queue, reason
        case crossesNodes = "crosses_nodes"
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.export, .string(.exportName), "the export's name"),
            .required(CodingKeys.queue, .natural, "the queue's index"),
            .required(CodingKeys.reason, .text, "why it was placed here"),
            .required(CodingKeys.crossesNodes, .array(of: .text), "what lies on another node than the poller: memory, backing"),
        ]
    }

    /// A queue's place.
    public init(export: String, queue: Int, reason: String, crossesNodes: [String]) {
        self.export = export
        self.queue = queue
        self.reason = reason
        self.crossesNodes = crossesNodes
    }
}

/// Tells the pollers.
public enum PollerList: ControlMethod {
    /// None.
    public typealias Parameters = NoParameters

    /// The pollers in the order of their CPUs.
    public struct Result: DescribedObject {
        /// The pollers.
        public var pollers: [PollerInfo]
        /// Members.
        public static var fields: [Field] {
            [.required(CodingKeys.pollers, .array(of: PollerInfo.schema), "the pollers in the order of their CPUs")]
        }
        /// See `fields`.
        public static var schema: Schema { .object("PollerListResult", fields) }
        /// A list.
        public init(pollers: [PollerInfo]) { self.pollers = pollers }
    }

    /// `poller.list`
    public static var name: MethodName { .pollerList }
    /// In one line.
    public static var summary: String { "Tells the pollers, the queues they run and what crosses NUMA nodes" }
    /// More.
    public static var details: String { "" }
    /// Refusals.
    public static var errors: [ErrorKind] { [] }
    /// None.
    public static var example: NoParameters { NoParameters() }
}
