/// What an export is made of: the parameters of `export.create`, the keys of an export in the configuration file, and what the state
/// directory keeps.
public struct ExportParameters: DescribedObject {
    /// The export's name.
    public var name: String
    /// The path of a file or block device, or `null:SIZE`.
    public var backing: String
    /// The socket front-ends connect to.
    public var socket: String?
    /// Permission bits of the socket in octal.
    public var socketMode: String?
    /// Group of the socket.
    public var socketGroup: String?
    /// The number of request queues.
    public var queues: Int?
    /// The largest number of descriptors in a queue.
    public var queueSize: Int?
    /// The I/O engine.
    public var engine: EngineChoice?
    /// Whether writes are refused.
    public var readOnly: Bool?
    /// The serial number the guest sees.
    public var serial: String?
    /// The logical block size in bytes.
    public var blockSize: Int?
    /// How pollers wait.
    public var poll: PollChoice?
    /// The CPUs whose pollers run the queues.
    public var cpus: CPUList?
    /// Whether the page cache is bypassed.
    public var directIO: DirectIOChoice?
    /// What happens to requests that the backing fails.
    public var onError: ErrorChoice?
    /// The longest that an adaptive queue is spun for, in microseconds.
    public var spinUS: Int?
    /// The longest that a completed request waits for its notification, in microseconds.
    public var coalesceUS: Int?
    /// Completed requests that wait no longer.
    public var coalesceCount: Int?
    /// Whether completions of the device are polled.
    public var ioPoll: Bool?
    /// Whether guest memory is registered with io_uring.
    public var registerMemory: Bool?
    /// Whether guests may move here by post-copy.
    public var postCopy: Bool?

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case name, backing, socket
        case socketMode = "socket_mode"
        case socketGroup = "socket_group"
        case queues
        case queueSize = "queue_size"
        case engine
        case readOnly = "read_only"
        case serial
        case blockSize = "block_size"
        case poll, cpus
        case directIO = "direct_io"
        case onError = "on_error"
        case spinUS = "spin_us"
        case coalesceUS = "coalesce_us"
        case coalesceCount = "coalesce_count"
        case ioPoll = "io_poll"
        case registerMemory = "register_memory"
        case postCopy = "post_copy"
    }

    /// The most queues of an export.
    public static let queuesMax = 256
    /// The queue sizes there are (virtio 1.3, section 2.7: a split queue has a power of two, at most 32768 descriptors).
    public static let queueSizes: [Int64] = (1...15).map { 1 << $0 }
    /// The number of queues when none is given.
    public static let queuesDefault = 1
    /// The queue size when none is given.
    public static let queueSizeDefault = 256

    /// The longest spins there may be, in microseconds.
    public static let spinsUS: ClosedRange<Int64> = 0...1000
    /// The longest spin when none is given.
    public static let spinUSDefault = 20
    /// How long notifications may wait, in microseconds; 0: not at all.
    public static let coalesceUS: ClosedRange<Int64> = 0...10_000
    /// Numbers of completed requests that may wait for one notification.
    public static let coalesceCounts: ClosedRange<Int64> = 1...1024
    /// That number when none is given.
    public static let coalesceCountDefault = 32

    /// Members.
    public static var fields: [Field] { required + defaultable + own }

    private static var required: [Field] {
        [
            .required(CodingKeys.name, .string(.exportName), "the export's name"),
            .required(
                CodingKeys.backing, .string(.backing), "the file or block device to serve, or a disk of that size that stores nothing"),
            .optional(
                CodingKeys.socket, .string(.socketPath), "the socket that front-ends connect to",
                default: "NAME.sock beside the control socket"),
        ]
    }

    /// The members that the configuration file may set for all exports.
    public static var defaultable: [Field] {
        [
            .optional(CodingKeys.socketMode, .string(.fileMode), "permission bits of the socket", default: "0660"),
            .optional(CodingKeys.socketGroup, .string(.group), "group of the socket", default: "the daemon's group"),
            .optional(CodingKeys.queues, .count(1...queuesMax), "the number of request queues", default: "\(queuesDefault)"),
            .optional(
                CodingKeys.queueSize, .integers(queueSizes), "the most descriptors a queue may have", default: "\(queueSizeDefault)"),
            .optional(
                CodingKeys.engine, .choice(EngineChoice.allCases.map(\.rawValue)), "the I/O engine; auto looks at the backing",
                default: "auto"),
            .optional(CodingKeys.poll, .choice(PollChoice.allCases.map(\.rawValue)), "how pollers wait for work", default: "adaptive"),
            .optional(CodingKeys.cpus, .cpus, "the CPUs whose pollers run the queues", default: "chosen by NUMA node"),
            .optional(
                CodingKeys.directIO, .choice(DirectIOChoice.allCases.map(\.rawValue)), "whether the page cache is bypassed (O_DIRECT)",
                default: "auto"),
            .optional(
                CodingKeys.onError, .string(.onError),
                "what happens to requests that the backing fails: the guest gets the error, or they wait and are tried again, up to that age",
                default: "report"),
        ] + tuning
    }

    /// Those of them that trade one cost for another.
    private static var tuning: [Field] {
        [
            .optional(
                CodingKeys.spinUS, .integer(spinsUS),
                "the longest that a queue without work is spun for before it sleeps, in microseconds, where `poll` is adaptive",
                default: "\(spinUSDefault)"),
            .optional(
                CodingKeys.coalesceUS, .integer(coalesceUS),
                "the longest that a completed request waits for others to be notified with, in microseconds, while more are in flight",
                default: "0: not at all"),
            .optional(
                CodingKeys.coalesceCount, .integer(coalesceCounts), "completed requests that wait no longer, with `coalesce_us`",
                default: "\(coalesceCountDefault)"),
            .optional(
                CodingKeys.ioPoll, .boolean,
                "poll the device for completions instead of taking interrupts (IOPOLL); refused where the device has no poll queues",
                default: "false"),
            .optional(
                CodingKeys.registerMemory, .boolean,
                "pin guest memory for io_uring; not for guests whose memory is taken back while they run (balloon, free page reporting, virtio-mem)",
                default: "false"),
            .optional(
                CodingKeys.postCopy, .boolean,
                "let guests move here by post-copy; only for front-ends that are trusted like the daemon itself, which they can stop then",
                default: "false"),
        ]
    }

    private static var own: [Field] {
        [
            .optional(CodingKeys.readOnly, .boolean, "refuse writes; the backing is opened for reading only", default: "false"),
            .optional(CodingKeys.serial, .string(.serial), "the serial number the guest sees", default: "the export's name, cut to 20"),
            .optional(
                CodingKeys.blockSize, .integers([512, 4096]), "the logical block size in bytes", default: "the backing's own"),
        ]
    }

    /// The parameters of an export; what is nil takes its default.
    public init(
        name: String, backing: String, socket: String? = nil, queues: Int? = nil, queueSize: Int? = nil, engine: EngineChoice? = nil,
        readOnly: Bool? = nil, serial: String? = nil, blockSize: Int? = nil, poll: PollChoice? = nil, cpus: CPUList? = nil
    ) {
        self.name = name
        self.backing = backing
        self.socket = socket
        self.queues = queues
        self.queueSize = queueSize
        self.engine = engine
        self.readOnly = readOnly
        self.serial = serial
        self.blockSize = blockSize
        self.poll = poll
        self.cpus = cpus
    }
}

/// Which I/O engine an export uses.
public enum EngineChoice: String, Codable, Sendable, CaseIterable {
    /// The one that suits the backing.
    case auto
    /// io_uring(7)
    case ioURing = "io_uring"
    /// Linux's native AIO, io_submit(2).
    case libaio
}

/// How the pollers of an export wait for work.
public enum PollChoice: String, Codable, Sendable, CaseIterable {
    /// Never sleep.
    case busy
    /// Spin a little after the last work, then sleep.
    case adaptive
    /// Sleep at once.
    case interrupt
}

/// Whether an export bypasses the page cache.
public enum DirectIOChoice: String, Codable, Sendable, CaseIterable {
    /// Where the backing can.
    case auto
    /// Or refuse.
    case on
    /// Never.
    case off
}
