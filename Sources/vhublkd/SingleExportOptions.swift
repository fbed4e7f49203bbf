import ArgumentParser
import ControlAPI
import Daemon

/// The options of the one export that a daemon of the second form serves: those of `vhublkctl export create`, in the words of QEMU's
/// conventions for back-end programs where these have some.
struct SingleExportOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Serve one export, on a socket made at this path.", valueName: "path"), completion: .file())
    var socketPath: String?
    @Option(
        help: ArgumentHelp("Serve one export, on the listening or connected socket that was passed as this descriptor.", valueName: "n"))
    var fd: Int32?
    @Option(
        help: ArgumentHelp("The file or block device of the one export, or null:SIZE.", valueName: "path|null:size"), completion: .file())
    var blkFile: String?
    @Option(help: ArgumentHelp("Permission bits of the socket at --socket-path in octal. (default: 0660)", valueName: "mode"))
    var socketMode: String?
    @Option(help: ArgumentHelp("Group of the socket at --socket-path. (default: the daemon's group)", valueName: "group"))
    var socketGroup: String?
    @Flag(help: "The one export refuses writes.")
    var readOnly = false
    @Option(help: ArgumentHelp("Request queues of the one export, 1 to 256. (default: 1)", valueName: "n"))
    var numQueues: Int?
    @Option(help: ArgumentHelp("Its largest queue, a power of two from 2 to 32768. (default: 256)", valueName: "n"))
    var queueSize: Int?
    @Option(help: ArgumentHelp("Its serial number, 1 to 20 printable ASCII characters.", valueName: "s"))
    var serial: String?
    @Option(help: ArgumentHelp("Its logical block size: 512 or 4096. (default: the backing's own)", valueName: "bytes"))
    var blockSize: Int?
    @Option(help: "Its I/O engine. (default: auto)")
    var engine: EngineChoice?
    @Option(help: ArgumentHelp("How its pollers wait. (default: adaptive)", valueName: "mode"))
    var poll: PollChoice?
    @Option(help: ArgumentHelp("CPUs whose pollers run its queues, such as 0-3,6.", valueName: "list"))
    var cpus: CPUList?
    @Option(help: ArgumentHelp("Whether it bypasses the page cache. (default: auto)", valueName: "choice"))
    var direct: DirectIOChoice?
    @Option(
        help: ArgumentHelp(
            "What happens to requests that its backing fails: the guest gets the error, or they wait and are tried again. (default: report)",
            valueName: "report|hold[:seconds]"), completion: .list(["report", "hold"]))
    var onError: ErrorChoice?
    @Option(
        help: ArgumentHelp(
            "The longest that a queue of its without work is spun for, 0 to 1000, where pollers wait adaptively. (default: 20)",
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
            "Poll its device for completions instead of taking interrupts.",
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

    /// Whether one export is to be served.
    var areGiven: Bool { socketPath != nil || fd != nil || blkFile != nil }

    /// Whether any of the other options is given, which say how.
    private var sayHow: Bool {
        get throws {
            let bare = ExportParameters(name: "", backing: "")
            return try JSONText.value(of: parameters(name: "", backing: "", socket: nil)) != JSONText.value(of: bare)
        }
    }

    func validate() throws {
        guard areGiven else {
            if try sayHow { throw ValidationError("an option for a single export is given, but neither --socket-path nor --fd") }
            return
        }
        guard blkFile != nil else { throw ValidationError("--blk-file is missing: what is to be served?") }
        guard (socketPath != nil) != (fd != nil) else {
            throw ValidationError("give one of --socket-path and --fd: where do front-ends connect?")
        }
        guard socketPath != nil || socketMode == nil && socketGroup == nil else {
            throw ValidationError("--socket-mode and --socket-group are for the socket at --socket-path: one that is passed has its own")
        }
    }

    /// The one export, everything in its range; nil when many are to be served.
    func mode() throws -> DaemonOptions.Mode? {
        guard let blkFile else { return nil }
        let socket = socketPath.map(Vhublkd.absolute)
        let parameters = parameters(
            name: socket.map { DaemonOptions.exportName(ofSocket: $0) } ?? "fd\(fd ?? 0)",
            backing: blkFile.hasPrefix("null:") ? blkFile : Vhublkd.absolute(blkFile), socket: socket)
        do {
            _ = try ExportParameters(checking: try JSONText.value(of: parameters).object ?? [:])
        } catch let error as ControlError {
            throw ValidationError(Self.optionNames(error.description))
        }
        return .single(parameters, descriptor: fd)
    }

    private func parameters(name: String, backing: String, socket: String?) -> ExportParameters {
        var parameters = ExportParameters(
            name: name, backing: backing, socket: socket, queues: numQueues, queueSize: queueSize, engine: engine,
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

    /// A refusal by `export.create` in the words of this command line: `--num-queues` for `queues`.
    private static func optionNames(_ text: String) -> String {
        let own: [ExportParameters.CodingKeys: String] = [
            .backing: "--blk-file", .socket: "--socket-path", .queues: "--num-queues", .directIO: "--direct",
        ]
        guard let word = text.split(separator: " ").first, let key = ExportParameters.CodingKeys(rawValue: String(word)) else {
            return text
        }
        let option = own[key] ?? "--" + key.rawValue.map { $0 == "_" ? "-" : String($0) }.joined()
        return option + text.dropFirst(word.count)
    }
}
