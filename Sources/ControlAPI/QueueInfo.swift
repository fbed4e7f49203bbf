/// One queue of an export.
public struct QueueInfo: DescribedObject {
    /// Its index.
    public var index: Int
    /// `stopped`, `running` or `failed: reason`.
    public var state: String
    /// Entries of its ring.
    public var size: Int
    /// The front-end started it.
    public var started: Bool
    /// The front-end enabled it.
    public var enabled: Bool
    /// `split` or `packed`.
    public var format: String?
    /// The CPU of its poller.
    public var cpu: Int?
    /// NUMA node of that CPU.
    public var node: Int?
    /// NUMA node of the guest's ring.
    public var memoryNode: Int?
    /// What crosses nodes on the way of a request.
    public var crossesNodes: [String]
    /// Requests taken and not yet completed.
    public var inFlight: Int
    /// Those of them that are held.
    public var held: Int
    /// Age of the oldest such request in nanoseconds.
    public var oldestInFlightNS: UInt64?
    /// Bytes of guest memory that are pinned for it.
    public var registeredBytes: UInt64
    /// Why not all that was to be is.
    public var unregisteredReason: String?

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case index, state, size, started, enabled, format, cpu, node
        case memoryNode = "memory_node"
        case crossesNodes = "crosses_nodes"
        case inFlight = "in_flight"
        case held
        case oldestInFlightNS = "oldest_in_flight_ns"
        case registeredBytes = "registered_bytes"
        case unregisteredReason = "unregistered_reason"
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.index, .natural, "its index"),
            .required(CodingKeys.state, .text, "stopped, waiting (and for what), running, moving, or failed and why"),
            .required(CodingKeys.size, .natural, "entries of its ring, 0 before the front-end told"),
            .required(CodingKeys.started, .boolean, "whether the front-end started it (SET_VRING_KICK)"),
            .required(CodingKeys.enabled, .boolean, "whether the front-end enabled it (SET_VRING_ENABLE); it runs when it is both"),
            .optional(CodingKeys.format, .choice(["split", "packed"]), "the ring's format, once the front-end told"),
            .optional(CodingKeys.cpu, .natural, "the CPU of its poller while it runs"),
            .optional(CodingKeys.node, .natural, "NUMA node of that CPU"),
            .optional(CodingKeys.memoryNode, .natural, "NUMA node of the guest's ring, where known"),
            .required(CodingKeys.crossesNodes, .array(of: .text), "what lies on another node than the poller: memory, backing"),
            .required(CodingKeys.inFlight, .natural, "requests taken and not yet completed"),
            .required(CodingKeys.held, .natural, "those of them that the backing failed and that wait to be tried again"),
            .optional(CodingKeys.oldestInFlightNS, .natural, "age of the oldest request in flight in nanoseconds"),
            .required(CodingKeys.registeredBytes, .natural, "bytes of guest memory that are pinned for its poller's io_uring"),
            .optional(CodingKeys.unregisteredReason, .text, "why not all that was to be pinned is, with register_memory"),
        ]
    }

    /// A queue that has not been set up.
    public init(index: Int, state: String, size: Int, format: String?) {
        self.index = index
        self.state = state
        self.size = size
        self.format = format
        (started, enabled) = (false, false)
        crossesNodes = []
        inFlight = 0
        held = 0
        registeredBytes = 0
    }
}
