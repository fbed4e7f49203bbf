public import ControlAPI

/// The configuration file, read and checked: TOML whose keys are those of `export.create` where an export is described.
///
/// docs: deploy/vhublkd.toml holds every key with its meaning.
public struct Configuration: Equatable, Sendable {
    /// The control socket, unless the command line names one.
    public var control: String?
    /// Its permission bits.
    public var controlMode: String?
    /// Its group, whose members may use it.
    public var controlGroup: String?
    /// Users who may use it beside them; then a mode for everybody admits nobody else.
    public var controlUsers: [String]?
    /// Where exports made at run time are saved.
    public var stateDirectory: String?
    /// The least important messages that are logged.
    public var logLevel: LogLevel?
    /// How long a stop waits for requests in flight.
    public var drainTimeoutS: Int?
    /// What the daemon gives up at its start.
    public var sandbox: SandboxMode?
    /// Whether a crash may leave a core file and debuggers may attach.
    public var coreDumps: Bool?
    /// The only folders that backings may be in.
    public var backingFolders: [String]?
    /// Folders that sockets may be in beside those that are known at the start; for who gives `backingFolders`.
    public var socketFolders: [String]?
    /// The CPUs that pollers may use.
    public var pollerCPUs: CPUList?
    /// What exports take that do not say otherwise.
    public var defaults = ExportDefaults()
    /// The exports that are always there.
    public var exports: [ExportParameters] = []

    /// An empty file's.
    public init() {}
}

/// How important a message is; the names are those of journald's priorities that are in use.
public enum LogLevel: String, Codable, Sendable, CaseIterable {
    /// For finding bugs.
    case debug
    /// What happens.
    case info
    /// Worth knowing, like a front-end that was turned away.
    case notice
    /// Something is not as it should be.
    case warning
    /// Something failed.
    case error
}

/// What the daemon gives up at its start.
public enum SandboxMode: String, Codable, Sendable, CaseIterable {
    /// All it can; a forbidden system call ends the daemon, and what the kernel lacks keeps it from starting.
    case strict
    /// What breaks no export; a forbidden system call fails and is written to the kernel's log.
    case on
    /// Nothing but new privileges and core dumps.
    case off
}

/// Settings that the configuration file makes for all exports.
public struct ExportDefaults: DescribedObject {
    var socketMode: String?
    var socketGroup: String?
    var queues: Int?
    var queueSize: Int?
    var engine: EngineChoice?
    var poll: PollChoice?
    var cpus: CPUList?
    var directIO: DirectIOChoice?
    var onError: ErrorChoice?
    var spinUS: Int?
    var coalesceUS: Int?
    var coalesceCount: Int?
    var ioPoll: Bool?
    var registerMemory: Bool?
    var postCopy: Bool?

    enum CodingKeys: String, CodingKey {
        case socketMode = "socket_mode"
        case socketGroup = "socket_group"
        case queues
        case queueSize = "queue_size"
        case engine, poll, cpus
        case directIO = "direct_io"
        case onError = "on_error"
        case spinUS = "spin_us"
        case coalesceUS = "coalesce_us"
        case coalesceCount = "coalesce_count"
        case ioPoll = "io_poll"
        case registerMemory = "register_memory"
        case postCopy = "post_copy"
    }

    /// Those of `export.create` that make sense for several.
    public static var fields: [Field] { ExportParameters.defaultable }

    /// No settings.
    public init() {}

    /// `parameters`, with these settings where they say nothing.
    public func completing(_ parameters: ExportParameters) -> ExportParameters {
        var result = parameters
        result.socketMode = parameters.socketMode ?? socketMode
        result.socketGroup = parameters.socketGroup ?? socketGroup
        result.queues = parameters.queues ?? queues
        result.queueSize = parameters.queueSize ?? queueSize
        result.engine = parameters.engine ?? engine
        result.poll = parameters.poll ?? poll
        result.cpus = parameters.cpus ?? cpus
        result.directIO = parameters.directIO ?? directIO
        result.onError = parameters.onError ?? onError
        result.spinUS = parameters.spinUS ?? spinUS
        result.coalesceUS = parameters.coalesceUS ?? coalesceUS
        result.coalesceCount = parameters.coalesceCount ?? coalesceCount
        result.ioPoll = parameters.ioPoll ?? ioPoll
        result.registerMemory = parameters.registerMemory ?? registerMemory
        result.postCopy = parameters.postCopy ?? postCopy
        return result
    }
}
