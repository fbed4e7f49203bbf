import ArgumentParser
import ControlAPI
import Daemon
import SharedOptions

/// The options of the one export that a daemon of the second form serves: those of `vhublkctl export create`, and what is served where in the
/// words of QEMU's conventions for back-end programs.
struct SingleExportOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Serve one export, on a socket made at this path.", valueName: "path"), completion: .file())
    var socketPath: String?
    @Option(
        help: ArgumentHelp("Serve one export, on the listening or connected socket that was passed as this descriptor.", valueName: "n"))
    var fd: Int32?
    @Option(
        help: ArgumentHelp("The file or block device of the one export, or null:SIZE.", valueName: "path|null:size"), completion: .file())
    var blkFile: String?
    @Option(help: ArgumentHelp("Request queues of the one export, 1 to 256. (default: 1)", valueName: "n"))
    var numQueues: Int?
    @OptionGroup var options: ExportOptions

    /// Whether one export is to be served.
    var areGiven: Bool { socketPath != nil || fd != nil || blkFile != nil }

    /// Whether any of the other options is given, which say how.
    private var sayHow: Bool {
        get throws {
            let bare = ExportParameters(name: "", backing: "")
            let given = options.parameters(name: "", backing: "", socket: nil, queues: numQueues)
            return try JSONText.value(of: given) != JSONText.value(of: bare)
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
        guard socketPath != nil || options.socketMode == nil && options.socketGroup == nil else {
            throw ValidationError("--socket-mode and --socket-group are for the socket at --socket-path: one that is passed has its own")
        }
    }

    /// The one export, everything in its range; nil when many are to be served.
    func mode() throws -> DaemonOptions.Mode? {
        guard let blkFile else { return nil }
        let socket = socketPath.map(Vhublkd.absolute)
        let parameters = options.parameters(
            name: socket.map { DaemonOptions.exportName(ofSocket: $0) } ?? "fd\(fd ?? 0)",
            backing: blkFile.hasPrefix("null:") ? blkFile : Vhublkd.absolute(blkFile), socket: socket,
            queues: numQueues)
        do {
            _ = try ExportParameters(checking: try JSONText.value(of: parameters).object ?? [:])
        } catch let error as ControlError {
            throw ValidationError(Self.optionNames(error.description))
        }
        return .single(parameters, descriptor: fd)
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
