import ArgumentParser
import ControlAPI
import Daemon
import FoundationEssentials

/// The daemon's command line.
struct Vhublkd: ParsableCommand {
    /// What a management program learns about this back-end (QEMU, docs/interop/vhost-user.json).
    static let capabilities = #"{"type":"block","features":["read-only","blk-file"]}"#

    static let configuration = CommandConfiguration(
        commandName: "vhublkd",
        abstract: "Serves files and block devices to virtual machines as virtio-blk disks over vhost-user.",
        usage: """
            vhublkd [--config FILE] [--control PATH] [--state-dir DIR] [--log-level LEVEL]
            vhublkd (--socket-path PATH | --fd N) --blk-file PATH [--read-only] [options]
            vhublkd --print-capabilities
            """,
        discussion: """
            In the first form the daemon holds many exports: those of the configuration file, and those made with 'vhublkctl export create', \
            which are kept in the state directory. In the second form it serves one export, as QEMU's conventions for back-end programs \
            want it, and has a control socket only when --control is given.

            SIGTERM and SIGINT stop the daemon: it waits for requests in flight, bounded by --drain-timeout; what is not done by then \
            is submitted again by the front-ends. SIGHUP reads the configuration file again: the log level holds at once, new exports are made, failed ones are tried \
            again; running ones are never touched. The daemon never goes to the background by itself.
            """,
        version: Product.version)

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"), completion: .file(extensions: ["toml"]))
    var config: String?
    @Option(
        help: ArgumentHelp(
            "The control socket.",
            discussion:
                """
                By default the value of VHUBLK_CONTROL, else /run/vhublk/control.sock for root and $XDG_RUNTIME_DIR/vhublk/control.sock \
                for others.
                """,
            valueName: "path"), completion: .file())
    var control: String?
    @Option(
        help: ArgumentHelp(
            "Where exports are saved. (default: /var/lib/vhublk for root, ~/.local/state/vhublk for others)", valueName: "dir"),
        completion: .directory)
    var stateDir: String?
    @Option(help: ArgumentHelp("The least important messages that are logged.", valueName: "level"))
    var logLevel: LogLevel?
    @Option(
        help: ArgumentHelp(
            "How long a stop waits for requests in flight, 0 to 600: of the daemon, of an export, of a ring. (default: 10)",
            valueName: "seconds"))
    var drainTimeout: Int?
    @Option(
        help: ArgumentHelp(
            "What the daemon gives up at its start: strict, on or off. (default: on)",
            discussion:
                """
                'on' keeps the capabilities, system calls and files that exports may need; a forbidden system call fails and is written to \
                the kernel's log. 'strict' keeps no capability, ends the daemon at a forbidden call, and does not start where the kernel \
                lacks something. 'vhublkctl version --verbose' tells what is active.
                """,
            valueName: "mode"))
    var sandbox: SandboxMode?
    @Option(
        help: ArgumentHelp(
            "The only folder, file or device that backings may be, may be repeated; landlock holds the daemon to it. (default: any)",
            valueName: "path"), completion: .file())
    var backingFolder: [String] = []
    @Flag(help: "Allow core files and debuggers, which show the data of guests.")
    var coreDumps = false

    @OptionGroup(title: "Options for one export") var single: SingleExportOptions
    @Flag(help: "Print what this back-end can do as JSON and do nothing else.")
    var printCapabilities = false

    func validate() throws {
        if let drainTimeout, !(0...600).contains(drainTimeout) {
            throw ValidationError("--drain-timeout cannot be \(drainTimeout): give 0 to 600 seconds")
        }
        if backingFolder.contains("") { throw ValidationError("--backing-folder is empty: give a path") }
        if single.areGiven, config != nil || stateDir != nil {
            throw ValidationError("--config and --state-dir are for many exports: they do not go with --socket-path, --fd and --blk-file")
        }
        _ = try options()
    }

    /// What the options say, paths made absolute and everything in its range.
    func options() throws -> DaemonOptions {
        var options = DaemonOptions(mode: try mode(), control: control.map(Self.absolute), logLevel: logLevel)
        options.drainTimeoutS = drainTimeout
        options.sandbox = sandbox
        options.allowsCoreDumps = coreDumps
        options.backingFolders = backingFolder.map(Self.absolute)
        return options
    }

    private func mode() throws -> DaemonOptions.Mode {
        try single.mode() ?? .exports(configuration: config.map(Self.absolute), stateDirectory: stateDir.map(Self.absolute))
    }

    /// The daemon keeps paths as they are from the root on, whatever its folder is.
    static func absolute(_ path: String) -> String {
        path.hasPrefix("/") || path.isEmpty ? path : FileManager.default.currentDirectoryPath + "/" + path
    }
}
