import ControlAPI
import LinuxSystem

/// Reads configuration files.
public enum ConfigurationFile {
    /// The largest file that is read, in bytes.
    public static let sizeMax = 1 << 20

    /// The shape of the file: its schema is checked like that of a request.
    private struct Shape: DescribedObject {
        var control: String?
        var controlMode: String?
        var controlGroup: String?
        var controlUsers: [String]?
        var stateDir: String?
        var logLevel: LogLevel?
        var drainTimeoutS: Int?
        var sandbox: SandboxMode?
        var coreDumps: Bool?
        var backingFolders: [String]?
        var socketFolders: [String]?
        var pollers: Pollers?
        var defaults: ExportDefaults?
        var exports: [ExportParameters]?

        enum CodingKeys: String, CodingKey {
            case control
            case controlMode = "control_mode"
            case controlGroup = "control_group"
            case controlUsers = "control_users"
            case stateDir = "state_dir"
            case logLevel = "log_level"
            case drainTimeoutS = "drain_timeout_s"
            case sandbox
            case coreDumps = "core_dumps"
            case backingFolders = "backing_folders"
            case socketFolders = "socket_folders"
            case pollers, defaults, exports
        }

        static var fields: [Field] {
            [
                .optional(CodingKeys.control, .string(.socketPath), "the control socket"),
                .optional(CodingKeys.controlMode, .string(.fileMode), "its permission bits"),
                .optional(CodingKeys.controlGroup, .string(.group), "its group"),
                .optional(CodingKeys.controlUsers, .array(of: .string(.user)), "users who may use it too"),
                .optional(CodingKeys.stateDir, .string(.path), "where exports are saved"),
                .optional(CodingKeys.logLevel, .choice(LogLevel.allCases.map(\.rawValue)), "the least important messages logged"),
                .optional(CodingKeys.drainTimeoutS, .integer(DaemonSettings.drainTimeoutS), "how long a stop waits for requests in flight"),
                .optional(CodingKeys.sandbox, .choice(SandboxMode.allCases.map(\.rawValue)), "what the daemon gives up at its start"),
                .optional(CodingKeys.coreDumps, .boolean, "whether a crash may leave a core file"),
                .optional(CodingKeys.backingFolders, .array(of: .string(.path)), "the only folders that backings may be in"),
                .optional(CodingKeys.socketFolders, .array(of: .string(.path)), "more folders that sockets may be in"),
                .optional(CodingKeys.pollers, Pollers.schema, "the pollers"),
                .optional(CodingKeys.defaults, .object("Defaults", ExportDefaults.fields), "for exports that do not say otherwise"),
                .optional(CodingKeys.exports, .array(of: .object("Export", ExportParameters.fields)), "the exports that are always there"),
            ]
        }
    }

    private struct Pollers: DescribedObject {
        var cpus: CPUList?
        enum CodingKeys: String, CodingKey { case cpus }
        static var fields: [Field] { [.optional(CodingKeys.cpus, .cpus, "the CPUs that pollers may use")] }
    }

    /// Reads the file at `path`. Waits for the disk.
    public static func read(_ path: String) throws(ConfigurationError) -> Configuration {
        let bytes: [UInt8]?
        do {
            bytes = try DurableFile.read(path, sizeMax: sizeMax)
        } catch {
            throw ConfigurationError(file: path, reason: "cannot be read: \(error)", hint: "the daemon's user must be able to read it")
        }
        guard let bytes else { throw ConfigurationError(file: path, reason: "does not exist", hint: "make it, or leave --config out") }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError(file: path, reason: "is not valid UTF-8", hint: "save it in UTF-8")
        }
        return try parse(text, file: path)
    }

    /// Reads a document; `file` is its name in errors.
    public static func parse(_ text: String, file: String) throws(ConfigurationError) -> Configuration {
        guard !text.contains("\0") else {
            throw ConfigurationError(file: file, reason: "contains a zero byte", hint: "save it as plain text")
        }
        let document: TOMLDocument
        do throws(TOMLSyntaxError) {
            document = try TOMLDocument(text)
        } catch {
            let reason = error.key == nil ? "is not TOML: \(error.reason)" : error.reason
            throw ConfigurationError(file: file, line: error.line, key: error.key, reason: reason, hint: error.hint)
        }
        do {
            let shape = try Shape(checking: document.root.object ?? [:])
            let configuration = configuration(shape)
            try checkUnique(configuration.exports)
            return configuration
        } catch {
            let key = error.data?.field
            throw ConfigurationError(
                file: file, line: key.flatMap { document.line(of: $0) }, key: key, reason: error.message,
                hint: error.data?.hint ?? "see the annotated configuration file")
        }
    }

    private static func configuration(_ shape: Shape) -> Configuration {
        var configuration = Configuration()
        configuration.control = shape.control
        configuration.controlMode = shape.controlMode
        configuration.controlGroup = shape.controlGroup
        configuration.controlUsers = shape.controlUsers
        configuration.sandbox = shape.sandbox
        configuration.coreDumps = shape.coreDumps
        configuration.backingFolders = shape.backingFolders
        configuration.socketFolders = shape.socketFolders
        configuration.stateDirectory = shape.stateDir
        configuration.logLevel = shape.logLevel
        configuration.drainTimeoutS = shape.drainTimeoutS
        configuration.pollerCPUs = shape.pollers?.cpus
        configuration.defaults = shape.defaults ?? ExportDefaults()
        configuration.exports = shape.exports ?? []
        return configuration
    }

    private static func checkUnique(_ exports: [ExportParameters]) throws(ControlError) {
        var names: Set<String> = []
        var sockets: Set<String> = []
        for (index, export) in exports.enumerated() {
            guard names.insert(export.name).inserted else {
                let hint = "give each export a name of its own"
                throw ControlError(
                    .invalidParameters, "the name '\(export.name)' is used twice", field: "exports[\(index)].name", hint: hint)
            }
            guard let socket = export.socket else { continue }
            guard sockets.insert(socket).inserted else {
                let hint = "give each export a socket of its own"
                throw ControlError(.invalidParameters, "the socket \(socket) is used twice", field: "exports[\(index)].socket", hint: hint)
            }
        }
    }
}
