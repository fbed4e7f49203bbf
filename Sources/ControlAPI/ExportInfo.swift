/// One export as it is now.
public struct ExportInfo: DescribedObject {
    /// The export's name.
    public var name: String
    /// Whether it serves.
    public var state: ExportState
    /// Why it does not, in state `failed`.
    public var error: ErrorInfo?
    /// When it is tried again, in state `failed`.
    public var retryNS: UInt64?
    /// Where its definition comes from.
    public var origin: ExportOrigin
    /// The backing as it was given.
    public var backing: String
    /// Whether this export holds the backing's lock, as it does while a ring runs.
    public var backingLocked: Bool
    /// Who had the backing when this export wanted it last.
    public var backingConflict: String?
    /// Capacity in bytes.
    public var size: UInt64
    /// The logical block size the guest sees.
    public var blockSize: Int
    /// Whether writes are refused.
    public var readOnly: Bool
    /// The serial number the guest sees.
    public var serial: String
    /// The path of its socket; nil for an inherited one.
    public var socket: String?
    /// The largest number of descriptors in a queue.
    public var queueSize: Int
    /// The engine in use.
    public var engine: String
    /// Why this engine.
    public var engineReason: String
    /// Whether the page cache is bypassed.
    public var directIO: Bool
    /// Why it is not.
    public var bufferedReason: String?
    /// How pollers wait.
    public var poll: PollChoice
    /// Whether completed writes may sit in a volatile cache until a flush.
    public var writeback: Bool
    /// NUMA node of the backing's device.
    public var node: Int?
    /// What happens to requests that the backing fails.
    public var onError: ErrorChoice
    /// The longest that an adaptive queue is spun for, in microseconds.
    public var spinUS: Int
    /// The longest that a completed request waits for its notification, in microseconds.
    public var coalesceUS: Int
    /// Completed requests that wait no longer, where such wait.
    public var coalesceCount: Int?
    /// Whether completions of the device are polled.
    public var ioPoll: Bool
    /// Whether guest memory is registered with io_uring.
    public var registerMemory: Bool
    /// Why guests cannot move here by post-copy.
    public var postcopyRefusal: String?
    /// Requests that are held.
    public var hold: HoldInfo?
    /// What happened between the queues and the backing.
    public var backingStats: BackingStats
    /// Who is connected.
    public var frontend: FrontendInfo?
    /// The queues.
    public var queues: [QueueInfo]

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case name, state, error
        case retryNS = "retry_ns"
        case origin, backing
        case backingLocked = "backing_locked"
        case backingConflict = "backing_conflict"
        case size
        case blockSize = "block_size"
        case readOnly = "read_only"
        case serial, socket
        case queueSize = "queue_size"
        case engine
        case engineReason = "engine_reason"
        case directIO = "direct_io"
        case bufferedReason = "buffered_reason"
        case poll, writeback, node
        case onError = "on_error"
        case spinUS = "spin_us"
        case coalesceUS = "coalesce_us"
        case coalesceCount = "coalesce_count"
        case ioPoll = "io_poll"
        case registerMemory = "register_memory"
        case postcopyRefusal = "postcopy_refusal"
        case hold
        case backingStats = "backing_stats"
        case frontend, queues
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.name, .string(.exportName), "the export's name"),
            .required(CodingKeys.state, .choice(ExportState.allCases.map(\.rawValue)), "whether it serves"),
            .optional(CodingKeys.error, ErrorInfo.schema, "why it does not, in state failed"),
            .optional(CodingKeys.retryNS, .natural, "time in nanoseconds until it is tried again, in state failed"),
            .required(CodingKeys.origin, .choice(ExportOrigin.allCases.map(\.rawValue)), "where its definition comes from"),
            .required(CodingKeys.backing, .text, "the backing as it was given"),
            .required(CodingKeys.backingLocked, .boolean, "whether it holds the backing's lock, as it does while a ring runs"),
            .optional(CodingKeys.backingConflict, .text, "who had the backing when this export wanted it last"),
            .required(CodingKeys.size, .natural, "capacity in bytes"),
            .required(CodingKeys.blockSize, .natural, "the logical block size the guest sees, in bytes"),
            .required(CodingKeys.readOnly, .boolean, "whether writes are refused"),
            .required(CodingKeys.serial, .text, "the serial number the guest sees"),
            .optional(CodingKeys.socket, .text, "the path of its socket; none when the socket was inherited"),
            .required(CodingKeys.queueSize, .natural, "the most descriptors a queue may have"),
            .required(CodingKeys.engine, .text, "the I/O engine in use"),
            .required(CodingKeys.engineReason, .text, "why this engine"),
            .required(CodingKeys.directIO, .boolean, "whether the page cache is bypassed"),
            .optional(CodingKeys.bufferedReason, .text, "why it is not"),
            .required(CodingKeys.poll, .choice(PollChoice.allCases.map(\.rawValue)), "how pollers wait for work"),
            .required(CodingKeys.writeback, .boolean, "whether completed writes may sit in a volatile cache until a flush"),
            .optional(CodingKeys.node, .natural, "NUMA node of the backing's device"),
            .required(CodingKeys.onError, .string(.onError), "what happens to requests that the backing fails"),
            .required(CodingKeys.spinUS, .natural, "the longest that a queue is spun for, in microseconds, where `poll` is adaptive"),
            .required(
                CodingKeys.coalesceUS, .natural, "the longest that a completed request waits for its notification, in microseconds"),
            .optional(CodingKeys.coalesceCount, .natural, "completed requests that wait no longer, where such wait"),
            .required(CodingKeys.ioPoll, .boolean, "whether the device is polled for completions"),
            .required(CodingKeys.registerMemory, .boolean, "whether guest memory is pinned for io_uring"),
            .optional(CodingKeys.postcopyRefusal, .text, "why guests cannot move here by post-copy, when they cannot"),
            .optional(CodingKeys.hold, HoldInfo.schema, "requests that the backing failed and that wait, if any do"),
            .required(CodingKeys.backingStats, BackingStats.schema, "what happened between the queues and the backing so far"),
            .optional(CodingKeys.frontend, FrontendInfo.schema, "who is connected"),
            .required(CodingKeys.queues, .array(of: QueueInfo.schema), "the queues offered"),
        ]
    }

    /// An export that is defined by `parameters`; what only an open backing tells is left empty.
    public init(_ parameters: ExportParameters, state: ExportState, origin: ExportOrigin) {
        name = parameters.name
        self.state = state
        self.origin = origin
        backing = parameters.backing
        backingLocked = false
        size = 0
        blockSize = parameters.blockSize ?? 0
        readOnly = parameters.readOnly ?? false
        serial = parameters.serial ?? parameters.name
        socket = parameters.socket
        queueSize = parameters.queueSize ?? ExportParameters.queueSizeDefault
        engine = ""
        engineReason = ""
        directIO = false
        poll = parameters.poll ?? .adaptive
        writeback = false
        onError = parameters.onError ?? .report
        spinUS = parameters.spinUS ?? ExportParameters.spinUSDefault
        coalesceUS = parameters.coalesceUS ?? 0
        if coalesceUS > 0 { coalesceCount = parameters.coalesceCount ?? ExportParameters.coalesceCountDefault }
        ioPoll = parameters.ioPoll ?? false
        registerMemory = parameters.registerMemory ?? false
        backingStats = BackingStats()
        queues = []
    }
}

/// Whether an export serves.
public enum ExportState: String, Codable, Sendable, CaseIterable {
    /// Its socket is there and its backing is being opened: who connects is served when that is done.
    case starting
    /// Front-ends can connect.
    case ready
    /// It could not be made when the daemon started; its definition is kept, and it is tried again from time to time.
    case failed
    /// It is being removed.
    case stopping
}

/// Where the definition of an export comes from.
public enum ExportOrigin: String, Codable, Sendable, CaseIterable {
    /// A call of `export.create`; kept in the state directory.
    case control
    /// The configuration file.
    case configuration
    /// The command line of a daemon with a single export.
    case commandLine = "command_line"
}
