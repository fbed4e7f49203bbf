public import ControlAPI

/// What the command line of `vhublkd` says.
public struct DaemonOptions: Sendable {
    /// What the daemon serves.
    public enum Mode: Sendable {
        /// Many exports: those of a configuration file, and those of a state directory.
        case exports(configuration: String?, stateDirectory: String?)
        /// One export with its socket's path, or on the socket that was inherited as this descriptor (QEMU's back-end program conventions).
        case single(ExportParameters, descriptor: Int32?)
    }

    /// What the daemon serves.
    public var mode: Mode
    /// The control socket; a daemon with a single export has none unless it is given.
    public var control: String?
    /// The least important messages that are logged.
    public var logLevel: LogLevel?
    /// How long a stop waits for requests in flight, in seconds.
    public var drainTimeoutS: Int?
    /// What the daemon gives up at its start.
    public var sandbox: SandboxMode?
    /// Whether a crash may leave a core file and debuggers may attach.
    public var allowsCoreDumps = false
    /// The only folders that backings may be in; empty: as the configuration file says.
    public var backingFolders: [String] = []

    /// Options.
    public init(mode: Mode, control: String? = nil, logLevel: LogLevel? = nil) {
        self.mode = mode
        self.control = control
        self.logLevel = logLevel
    }

    /// The name of a single export: its socket's file name without the suffix, characters that no name has replaced by `_`.
    public static func exportName(ofSocket path: String) -> String {
        var file = path.split(separator: "/").last.map(String.init) ?? ""
        if let dot = file.lastIndex(of: "."), dot != file.startIndex { file = String(file[..<dot]) }
        var name = String(file.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) ? $0 : "_" })
        if name.isEmpty || name.hasPrefix(".") || name.hasPrefix("-") { name = "_" + name.dropFirst() }
        return String(name.prefix(TextRule.exportNameLengthMax))
    }
}
