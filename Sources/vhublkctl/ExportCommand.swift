import ArgumentParser
import ControlAPI
import FoundationEssentials
import LinuxSystem
import SharedOptions

/// `vhublkctl export ...`
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Makes, shows, changes and removes exports.",
        subcommands: [Create.self, List.self, Show.self, Delete.self, Resize.self, Retry.self])

    func run() throws { throw CommandMissing(help: Vhublkctl.helpMessage(for: Self.self)) }

    /// Names of exports, asked of the daemon.
    static let nameCompletion = CompletionKind.shellCommand("vhublkctl export list --names 2>/dev/null")
}

extension ExportCommand {
    struct Create: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes an export and saves it: it comes back when the daemon starts again.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions

        @Argument(help: "The export's name: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -.")
        var name: String
        @Option(
            help: ArgumentHelp(
                "The file or block device to serve, or null:SIZE for a disk that stores nothing.", valueName: "path|null:size"),
            completion: .file())
        var backing: String
        @Option(
            help: ArgumentHelp("The socket for front-ends. (default: NAME.sock beside the control socket)", valueName: "path"),
            completion: .file())
        var socket: String?
        @Option(help: ArgumentHelp("Request queues, 1 to 256; as many as the guest has CPUs suit best. (default: 1)", valueName: "n"))
        var queues: Int?
        @OptionGroup var options: ExportOptions

        func run() throws {
            let parameters = options.parameters(
                name: name, backing: backing.hasPrefix("null:") ? backing : Self.absolute(backing), socket: socket.map(Self.absolute),
                queues: queues)
            try ask(ExportCreate.self, parameters) {
                "export \($0.name) is ready on \($0.socket ?? "its inherited socket")\n" + ExportText.details($0)
            }
        }

        /// The daemon has another working folder than the person who types.
        private static func absolute(_ path: String) -> String {
            path.hasPrefix("/") || path.isEmpty ? path : FileManager.default.currentDirectoryPath + "/" + path
        }
    }

    struct List: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Lists all exports.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Flag(help: "Print names only, one a line.")
        var names = false

        func run() throws {
            try ask(ExportList.self, NoParameters()) { result in
                names ? result.exports.map(\.name).joined(separator: "\n") : ExportText.table(result.exports)
            }
        }
    }

    struct Show: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one export: what it serves, how, and who is connected.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
        var name: String

        func run() throws {
            try ask(ExportShow.self, ExportReference(name: name), text: ExportText.details)
        }
    }

    struct Delete: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Removes an export; the backing is left as it is.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
        var name: String
        @Flag(help: "Remove it although a virtual machine is connected, which loses its disk.")
        var force = false

        func run() throws {
            try ask(ExportDelete.self, .init(name: name, force: force ? true : nil)) { result in
                let note = result.returnsAtStart ? "; the configuration file brings it back when the daemon starts again" : ""
                return "export \(result.name) is deleted\(note)"
            }
        }
    }

    struct Retry: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tries requests at once that are held because the backing failed them.",
            discussion: "For exports made with --on-error hold; without this they are tried again within five seconds.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
        var name: String

        func run() throws {
            try ask(ExportRetry.self, ExportReference(name: name)) { export in
                export.hold.map { "export \(export.name): \($0.requests) held requests are tried again" }
                    ?? "export \(export.name): no request is held"
            }
        }
    }

    struct Resize: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes the size of an export and tells the guest.",
            discussion: """
                A block device cannot be resized from here: when it has another size the export follows by itself. A file is not made \
                smaller while it holds data beyond the new end.
                """)

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
        var name: String
        @Argument(help: "The new size.")
        var size: ByteSize
        @Flag(help: "Cut off what a file holds beyond the new end; the guest loses it.")
        var force = false

        func run() throws {
            try ask(ExportResize.self, .init(name: name, size: size, force: force ? true : nil)) {
                "export \($0.name) has \(ByteSize($0.size))"
            }
        }
    }
}
