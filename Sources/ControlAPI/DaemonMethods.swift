/// Tells what daemon this is.
public enum DaemonVersion: ControlMethod {
    /// None.
    public typealias Parameters = NoParameters

    /// The daemon.
    public struct Result: DescribedObject {
        /// The product's version.
        public var version: String
        /// Its process id.
        public var pid: Int
        /// How long it has been running.
        public var uptimeNS: UInt64
        /// `exports` or `single`.
        public var mode: String
        /// Where exports are saved.
        public var stateDirectory: String?
        /// The kernel's release.
        public var kernel: String
        /// What the daemon was told to give up.
        public var sandbox: String
        /// What protects the system from this process.
        public var hardening: [String]
        /// What would, but does not, and why.
        public var unprotected: [String]
        /// Why no guest can move here by post-copy.
        public var postcopyRefusal: String?

        /// Names on the wire.
        public enum CodingKeys: String, CodingKey, CaseIterable {
            case version, pid
            case uptimeNS = "uptime_ns"
            case mode
            case stateDirectory = "state_dir"
            case kernel, sandbox, hardening, unprotected
            case postcopyRefusal = "postcopy_refusal"
        }
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.version, .text, "the product's version"),
                .required(CodingKeys.pid, .natural, "its process id"),
                .required(CodingKeys.uptimeNS, .natural, "how long it has been running in nanoseconds"),
                .required(CodingKeys.mode, .choice(["exports", "single"]), "many exports, or the single one of the command line"),
                .optional(CodingKeys.stateDirectory, .text, "where exports are saved"),
                .required(CodingKeys.kernel, .text, "the kernel's release"),
                .required(CodingKeys.sandbox, .choice(["strict", "on", "off"]), "what the daemon was told to give up"),
                .required(
                    CodingKeys.hardening, .array(of: .text),
                    "what the daemon has given up, as the kernel confirms it: core dumps, tracing, capabilities, system calls, files"),
                .required(CodingKeys.unprotected, .array(of: .text), "what it has not given up, and why"),
                .optional(CodingKeys.postcopyRefusal, .text, "why no guest can move here by post-copy, when none can"),
            ]
        }
        /// See `fields`.
        public static var schema: Schema { .object("DaemonVersionResult", fields) }
        /// A daemon.
        public init(
            version: String, pid: Int, uptimeNS: UInt64, mode: String, stateDirectory: String?, kernel: String, sandbox: String,
            hardening: [String], unprotected: [String], postcopyRefusal: String? = nil
        ) {
            self.postcopyRefusal = postcopyRefusal
            self.version = version
            self.pid = pid
            self.uptimeNS = uptimeNS
            self.mode = mode
            self.stateDirectory = stateDirectory
            self.kernel = kernel
            self.sandbox = sandbox
            self.hardening = hardening
            self.unprotected = unprotected
        }
    }

    /// `daemon.version`
    public static var name: MethodName { .daemonVersion }
    /// In one line.
    public static var summary: String { "Tells the daemon's version, process and protections" }
    /// More.
    public static var details: String { "" }
    /// Refusals.
    public static var errors: [ErrorKind] { [] }
    /// None.
    public static var example: NoParameters { NoParameters() }
}

/// Tells this interface.
public enum Discover: ControlMethod {
    /// None.
    public typealias Parameters = NoParameters
    /// An OpenRPC document.
    public typealias Result = JSONValue

    /// `rpc.discover`
    public static var name: MethodName { .discover }
    /// In one line.
    public static var summary: String { "Gives the OpenRPC document of this interface" }
    /// More.
    public static var details: String { "The same document is kept as docs/openrpc.json." }
    /// Refusals.
    public static var errors: [ErrorKind] { [] }
    /// None.
    public static var example: NoParameters { NoParameters() }
}

/// The product.
public enum Product {
    /// Its version; CHANGELOG.md tells what each brought.
    public static let version = "0.1.0"
}
