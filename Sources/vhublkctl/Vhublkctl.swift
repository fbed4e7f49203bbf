import ArgumentParser
import ControlAPI

/// The whole command.
struct Vhublkctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vhublkctl",
        abstract: "Controls vhublkd, which serves files and block devices to virtual machines.",
        discussion: """
            Sizes take the suffixes K, M, G and T, powers of 1024. CPUs are listed like 0-3,6.
            The exit status is 0 when done, 1 when refused or when the daemon cannot be reached, 2 when the command line is wrong.
            """,
        version: Product.version,
        subcommands: [
            ExportCommand.self, AttachCommand.self, PollerCommand.self, StatsCommand.self, TopCommand.self, EventsCommand.self,
            VersionCommand.self, RPCCommand.self,
        ])

    @OptionGroup var connection: ConnectionOptions

    func run() throws { throw CommandMissing(help: Self.helpMessage()) }
}

/// A command line that ends before it says what to do.
struct CommandMissing: Error {
    var help: String
}

/// How the daemon is reached and how results are printed; may stand before or after the command.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The daemon's control socket.",
            discussion:
                """
                By default the value of VHUBLK_CONTROL, else /run/vhublk/control.sock for root and $XDG_RUNTIME_DIR/vhublk/control.sock \
                for others.
                """,
            valueName: "path"),
        completion: .file())
    var control: String?

    @Flag(help: "Print the result as JSON.")
    var json = false
}

/// A command that asks the daemon.
protocol DaemonCommand: ParsableCommand {
    /// The options given to `vhublkctl` itself.
    var root: Vhublkctl { get }
    /// The options given to this command.
    var connection: ConnectionOptions { get }
}

extension DaemonCommand {
    /// Whether JSON was asked for, before or after the command's name.
    var wantsJSON: Bool { connection.json || root.connection.json }

    /// Connects to the daemon.
    func connect() throws -> ControlClient {
        try CommandFailure.wrapping { () throws(ControlClient.Failure) in
            try ControlClient(path: ControlPath.resolve(option: connection.control ?? root.connection.control))
        }
    }

    /// Asks the daemon and prints the result: as JSON, or as `text` makes it.
    func ask<Method: ControlMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters, text: (Method.Result) -> String
    ) throws {
        let client = try connect()
        let result = try CommandFailure.wrapping { () throws(ControlClient.Failure) in try client.call(method, parameters) }
        Terminal.print(wantsJSON ? try JSONText.pretty(result) : text(result))
    }
}

/// Why a command ends with status 1, as it is printed.
struct CommandFailure: Error {
    var text: String

    static func wrapping<Value>(_ body: () throws(ControlClient.Failure) -> Value) throws -> Value {
        do {
            return try body()
        } catch {
            switch error {
            case .refused(let refusal):
                let hint = refusal.data?.hint.map { "\nhint: \($0)" } ?? ""
                throw CommandFailure(text: "vhublkctl: \(refusal.message)\(hint)")
            case .notRunning, .broken: throw CommandFailure(text: "vhublkctl: \(error)")
            }
        }
    }
}
