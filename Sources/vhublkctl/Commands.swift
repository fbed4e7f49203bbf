import ArgumentParser
import ControlAPI
import LinuxSystem

/// `vhublkctl attach`
struct AttachCommand: DaemonCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Prints what to paste to give a virtual machine the disk of an export.")

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
    var name: String
    @Option(help: "The virtual machine monitor.", completion: .list(AttachFormat.allCases.map(\.rawValue)))
    var format: AttachFormat
    @Option(help: ArgumentHelp("QEMU's version, such as 7.2; without it the text tells both ways to reconnect.", valueName: "version"))
    var qemuVersion: String?

    func run() throws {
        try ask(ExportAttach.self, .init(name: name, format: format, qemuVersion: qemuVersion)) { result in
            // What to paste goes to standard output alone, so that it can be piped.
            Terminal.error(result.notes.map { "# \($0)" }.joined(separator: "\n"))
            return result.text
        }
    }
}

/// `vhublkctl stats`
struct StatsCommand: DaemonCommand {
    static let configuration = CommandConfiguration(commandName: "stats", abstract: "Prints the counters of one export or of all.")

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The export's name. (default: all)", completion: ExportCommand.nameCompletion)
    var name: String?

    func run() throws { try ask(StatsGet.self, .init(name: name)) { Self.text($0.exports) } }

    private static func text(_ exports: [ExportStats]) -> String {
        var table = TextTable(
            ["EXPORT", "OPERATION", "REQUESTS", "BYTES", "MEAN", "P50", "P99", "P99.9", "MAX"], rightAligned: [2, 3, 4, 5, 6, 7, 8])
        var other = TextTable(
            ["EXPORT", "IN FLIGHT", "I/O ERRORS", "UNSUPPORTED", "MALFORMED", "NOTIFICATIONS", "BATCHES", "LARGEST BATCH"],
            rightAligned: [1, 2, 3, 4, 5, 6, 7])
        for export in exports {
            let total = export.total
            let rows = [
                ("read", total.read), ("write", total.write), ("flush", total.flush), ("discard", total.discard),
                ("write-zeroes", total.writeZeroes),
                ("other", total.other),
            ]
            for (operation, counters) in rows where counters.requests > 0 || operation == "read" || operation == "write" {
                let mean = counters.requests > 0 ? Quantity.time(counters.latencyNSSum / counters.requests) : "-"
                let latencies = [counters.latencyNS50, counters.latencyNS99, counters.latencyNS999, counters.latencyNSMax]
                table.add(
                    [export.name, operation, "\(counters.requests)", ByteSize(counters.bytes).description, mean]
                        + latencies.map { $0.map(Quantity.time) ?? "-" })
            }
            other.add(
                [export.name]
                    + [
                        total.inFlight, total.ioErrors, total.unsupported, total.malformed, total.notifications, total.dispatches,
                        total.batchMax,
                    ]
                    .map { "\($0)" })
        }
        return [table.text, other.text, failures(exports)].joined(separator: "\n\n")
    }

    /// What did not go straight between the queues and the backing.
    private static func failures(_ exports: [ExportStats]) -> String {
        var table = TextTable(
            [
                "EXPORT", "HELD", "EVER HELD", "HELD TOO LONG", "BACKING ERRORS", "RETRIES", "SHORT", "BOUNCED", "BOUNCE WAITS",
                "ENGINE WAITS", "DISCARDS IGNORED", "ZEROES WRITTEN",
            ], rightAligned: Set(1...11))
        for export in exports {
            let (total, backing) = (export.total, export.total.backing)
            let counts = [
                total.held, total.heldTotal, total.holdTimeouts, backing.errors, backing.retries, backing.shortTransfers, backing.bounced,
                backing.bounceWaits, backing.engineFullWaits, backing.ignoredDiscards, backing.writtenZeroes,
            ]
            table.add([export.name] + counts.map { "\($0)" })
        }
        return table.text
    }
}

/// `vhublkctl version`
struct VersionCommand: DaemonCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the versions of this command and of the daemon.")

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Flag(help: "Also tell what protects the system from the daemon.")
    var verbose = false

    func run() throws {
        if !wantsJSON { Terminal.print("vhublkctl \(Product.version)") }
        try ask(DaemonVersion.self, NoParameters()) { daemon in
            var lines = ["vhublkd   \(daemon.version) (pid \(daemon.pid), up \(Quantity.time(daemon.uptimeNS)), Linux \(daemon.kernel))"]
            if verbose {
                lines.append("mode:      \(daemon.mode)")
                if let directory = daemon.stateDirectory { lines.append("state:     \(directory)") }
                lines.append("sandbox:   \(daemon.sandbox)")
                lines += daemon.hardening.map { "  + \($0)" } + daemon.unprotected.map { "  - \($0)" }
                lines.append("post-copy: " + (daemon.postcopyRefusal.map { "not offered: \($0)" } ?? "offered"))
            }
            return lines.joined(separator: "\n")
        }
    }
}

/// `vhublkctl rpc`
struct RPCCommand: DaemonCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpc", abstract: "Calls a method of the control socket and prints its result as JSON.",
        discussion: "'vhublkctl rpc rpc.discover' prints the OpenRPC document with all methods.")

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The method.", completion: .list(MethodName.allCases.map(\.rawValue)))
    var method: String
    @Argument(help: ArgumentHelp("The parameters, a JSON object.", valueName: "json"))
    var parameters: String?

    func validate() throws {
        guard let parameters else { return }
        do throws(JSONSyntaxError) {
            if case .object = try JSONParser.parse(Array(parameters.utf8)) { return }
        } catch {
            throw ValidationError("the parameters are not JSON that can be sent: \(error)")
        }
        throw ValidationError("the parameters must be a JSON object")
    }

    func run() throws {
        let members = try parameters.flatMap { try JSONParser.parse(Array($0.utf8)).object } ?? [:]
        let client = try connect()
        let result = try CommandFailure.wrapping { () throws(ControlClient.Failure) in try client.call(method, members) }
        Terminal.print(try JSONText.pretty(result))
    }
}
