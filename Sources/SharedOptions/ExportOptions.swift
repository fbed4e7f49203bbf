public import ArgumentParser
public import ControlAPI

/// How an export serves, on the command line: the same options for `vhublkctl export create` and for a `vhublkd` with a single export. What is
/// served, where, and by how many queues each of them says in words of its own.
public struct ExportOptions: ParsableArguments {
    /// Permission bits of the socket in octal; nil for the default.
    @Option(help: ArgumentHelp("Permission bits of the socket in octal. (default: 0660)", valueName: "mode"))
    public var socketMode: String?
    /// Name or number of the socket's group; nil for the daemon's.
    @Option(help: ArgumentHelp("Group of the socket. (default: the daemon's group)", valueName: "group"))
    public var socketGroup: String?
    @Option(help: ArgumentHelp("Largest queue, a power of two from 2 to 32768. (default: 256)", valueName: "n"))
    var queueSize: Int?
    @Option(help: "The I/O engine. (default: auto)", completion: .list(EngineChoice.allCases.map(\.rawValue)))
    var engine: EngineChoice?
    @Flag(help: "Refuse writes; open the backing for reading only.")
    var readOnly = false
    @Option(help: ArgumentHelp("Serial number that the guest sees, 1 to 20 printable ASCII characters.", valueName: "s"))
    var serial: String?
    @Option(help: ArgumentHelp("Logical block size: 512 or 4096. (default: the backing's own)", valueName: "bytes"))
    var blockSize: Int?
    @Option(
        help: ArgumentHelp("How pollers wait. (default: adaptive)", valueName: "mode"),
        completion: .list(PollChoice.allCases.map(\.rawValue)))
    var poll: PollChoice?
    @Option(help: ArgumentHelp("CPUs whose pollers run the queues, such as 0-3,6. (default: chosen by NUMA node)", valueName: "list"))
    var cpus: CPUList?
    @Option(
        help: ArgumentHelp("Whether to bypass the page cache. (default: auto)", valueName: "choice"),
        completion: .list(DirectIOChoice.allCases.map(\.rawValue)))
    var direct: DirectIOChoice?
    @Option(
        help: ArgumentHelp(
            "What happens to requests that the backing fails: the guest gets the error (report), or they wait and are tried again, for "
                + "so many seconds or as long as it takes. (default: report)", valueName: "report|hold[:seconds]"),
        completion: .list(["report", "hold"]))
    var onError: ErrorChoice?
    @Option(
        help: ArgumentHelp(
            "The longest that a queue without work is spun for, 0 to 1000, where pollers wait adaptively. (default: 20)",
            valueName: "microseconds"))
    var spinUs: Int?
    @Option(
        help: ArgumentHelp(
            "The longest that a completed request waits for others to be notified with, 0 to 10000. (default: 0, not at all)",
            valueName: "microseconds"))
    var coalesceUs: Int?
    @Option(help: ArgumentHelp("With that, completed requests that wait no longer, 1 to 1024. (default: 32)", valueName: "n"))
    var coalesceCount: Int?
    @Flag(
        help: ArgumentHelp(
            "Poll the device for completions instead of taking interrupts.",
            discussion: "Refused where the device has no poll queues. A poller does not sleep while it waits for one."))
    var ioPoll = false
    @Flag(
        help: ArgumentHelp(
            "Pin guest memory for io_uring.",
            discussion: "Never with a balloon, free page reporting or virtio-mem, which take pages back: data would be lost."))
    var registerMemory = false
    @Flag(
        help: ArgumentHelp(
            "Let guests move here by post-copy.",
            discussion:
                "Only for front-ends that are trusted like the daemon itself: they can stop it, and all it serves, with what they get."))
    var postCopy = false

    /// What no option was given for.
    public init() {}

    /// The parameters of `export.create` with these options; what was not given is left to the daemon.
    public func parameters(name: String, backing: String, socket: String?, queues: Int?) -> ExportParameters {
        var parameters = ExportParameters(
            name: name, backing: backing, socket: socket, queues: queues, queueSize: queueSize, engine: engine,
            readOnly: readOnly ? true : nil, serial: serial, blockSize: blockSize, poll: poll, cpus: cpus)
        parameters.socketMode = socketMode
        parameters.socketGroup = socketGroup
        parameters.directIO = direct
        parameters.onError = onError
        parameters.spinUS = spinUs
        parameters.coalesceUS = coalesceUs
        parameters.coalesceCount = coalesceCount
        parameters.ioPoll = ioPoll ? true : nil
        parameters.registerMemory = registerMemory ? true : nil
        parameters.postCopy = postCopy ? true : nil
        return parameters
    }
}
