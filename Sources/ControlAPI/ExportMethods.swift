public import LinuxSystem

/// Makes an export and saves it.
public enum ExportCreate: ControlMethod {
    /// See `ExportParameters`.
    public typealias Parameters = ExportParameters
    /// The export as it is now.
    public typealias Result = ExportInfo

    /// `export.create`
    public static var name: MethodName { .exportCreate }
    /// In one line.
    public static var summary: String {
        "Makes an export: opens the backing, listens on the socket, saves the export in the state directory"
    }
    /// More.
    public static var details: String {
        """
        When the answer comes the socket can be connected to. A call that is refused leaves nothing behind. \
        Exports made by this call come back, socket included, when the daemon starts again; \
        in the single-export mode nothing is saved.
        """
    }
    /// Refusals.
    public static var errors: [ErrorKind] {
        [.exists, .busy, .backing, .socket, .limit, .unsupported, .permission, .system, .state, .stopping]
    }
    /// A null disk.
    public static var example: ExportParameters {
        ExportParameters(name: "scratch", backing: "null:1G", queues: 2, serial: "SCRATCH-1")
    }
}

/// Tells all exports.
public enum ExportList: ControlMethod {
    /// None.
    public typealias Parameters = NoParameters

    /// The exports in the order of their names.
    public struct Result: DescribedObject {
        /// The exports.
        public var exports: [ExportInfo]
        /// Members.
        public static var fields: [Field] {
            [.required(CodingKeys.exports, .array(of: ExportInfo.schema), "the exports in the order of their names")]
        }
        /// See `fields`.
        public static var schema: Schema { .object("ExportListResult", fields) }
        /// A list.
        public init(exports: [ExportInfo]) { self.exports = exports }
    }

    /// `export.list`
    public static var name: MethodName { .exportList }
    /// In one line.
    public static var summary: String { "Tells all exports in the order of their names" }
    /// More.
    public static var details: String {
        "Exports that cannot be opened are listed too, in state `failed` with the reason and the time until the next attempt."
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [] }
    /// None.
    public static var example: NoParameters { NoParameters() }
}

/// Tells one export.
public enum ExportShow: ControlMethod {
    /// The export's name.
    public typealias Parameters = ExportReference
    /// The export as it is now.
    public typealias Result = ExportInfo

    /// `export.show`
    public static var name: MethodName { .exportShow }
    /// In one line.
    public static var summary: String { "Tells one export: what it serves, how, and who is connected" }
    /// More.
    public static var details: String { "" }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound] }
    /// The example of `export.create`.
    public static var example: ExportReference { ExportReference(name: "scratch") }
}

/// Removes an export.
public enum ExportDelete: ControlMethod {
    /// Which, and how.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var name: String
        /// Whether a connected front-end loses its disk.
        public var force: Bool?
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.name, .string(.exportName), "the export's name"),
                .optional(
                    CodingKeys.force, .boolean, "remove it although a front-end is connected; the guest loses its disk", default: "false"),
            ]
        }
        /// Parameters.
        public init(name: String, force: Bool? = nil) {
            self.name = name
            self.force = force
        }
    }

    /// What was removed.
    public struct Result: DescribedObject {
        /// The export's name.
        public var name: String
        /// Whether the configuration file will bring it back.
        public var returnsAtStart: Bool
        /// Names on the wire.
        public enum CodingKeys: String, CodingKey, CaseIterable {
            case name
            case returnsAtStart = "returns_at_start"
        }
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.name, .string(.exportName), "the export's name"),
                .required(
                    CodingKeys.returnsAtStart, .boolean, "whether the configuration file brings it back when the daemon starts again"),
            ]
        }
        /// See `fields`.
        public static var schema: Schema { .object("ExportDeleteResult", fields) }
        /// A result.
        public init(name: String, returnsAtStart: Bool) {
            self.name = name
            self.returnsAtStart = returnsAtStart
        }
    }

    /// `export.delete`
    public static var name: MethodName { .exportDelete }
    /// In one line.
    public static var summary: String { "Removes an export, its socket and its saved state; the backing is left as it is" }
    /// More.
    public static var details: String {
        "Refused while a front-end is connected unless `force` is true. Requests in flight are waited for, bounded by the drain time-out."
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .busy, .system, .state, .stopping] }
    /// The example of `export.create`.
    public static var example: Parameters { Parameters(name: "scratch") }
}

/// Changes the size of an export.
public enum ExportResize: ControlMethod {
    /// Which, and how large.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var name: String
        /// The new size.
        public var size: ByteSize
        /// Cuts data off.
        public var force: Bool?
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.name, .string(.exportName), "the export's name"),
                .required(CodingKeys.size, .size(512...ByteSize.max.bytes), "the new size in bytes, a multiple of the block size"),
                .optional(CodingKeys.force, .boolean, "make a file smaller although it holds data beyond the new end", default: "false"),
            ]
        }
        /// Parameters.
        public init(name: String, size: ByteSize, force: Bool? = nil) {
            self.name = name
            self.size = size
            self.force = force
        }
    }
    /// The export as it is now.
    public typealias Result = ExportInfo

    /// `export.resize`
    public static var name: MethodName { .exportResize }
    /// In one line.
    public static var summary: String { "Changes the size of an export and tells the guest" }
    /// More.
    public static var details: String {
        """
        A file is made longer, or shorter if it holds no data beyond the new end (or `force` is true). A block device cannot be resized \
        from here: when it has another size the export follows by itself within a second.
        """
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .backing, .unsupported, .permission, .system, .state, .stopping] }
    /// The example of `export.create`, larger.
    public static var example: Parameters { Parameters(name: "scratch", size: ByteSize(2 << 30)) }
}

/// Tries requests again that are held.
public enum ExportRetry: ControlMethod {
    /// The export's name.
    public typealias Parameters = ExportReference
    /// The export as it is now.
    public typealias Result = ExportInfo

    /// `export.retry`
    public static var name: MethodName { .exportRetry }
    /// In one line.
    public static var summary: String { "Tries requests that are held (`on_error` hold) at once rather than when their wait is over" }
    /// More.
    public static var details: String {
        "The answer does not wait for their outcome, which `export.show` tells. Without held requests nothing happens."
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .unsupported] }
    /// The example of `export.create`.
    public static var example: ExportReference { ExportReference(name: "scratch") }
}

/// Names an export.
public struct ExportReference: DescribedObject {
    /// The export's name.
    public var name: String
    /// Members.
    public static var fields: [Field] { [.required(CodingKeys.name, .string(.exportName), "the export's name")] }
    /// A reference.
    public init(name: String) { self.name = name }
}
