/// Tells how a virtual machine gets the disk.
public enum ExportAttach: ControlMethod {
    /// Which, and for whom.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var name: String
        /// The virtual machine monitor.
        public var format: AttachFormat
        /// QEMU's version, when it is known.
        public var qemuVersion: String?

        /// Names on the wire.
        public enum CodingKeys: String, CodingKey, CaseIterable {
            case name, format
            case qemuVersion = "qemu_version"
        }
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.name, .string(.exportName), "the export's name"),
                .required(CodingKeys.format, .choice(AttachFormat.allCases.map(\.rawValue)), "the virtual machine monitor"),
                .optional(
                    CodingKeys.qemuVersion, .string(.version), "QEMU's version, such as 7.2",
                    default: "text for all, arguments for 9.2 and later"),
            ]
        }
        /// Parameters.
        public init(name: String, format: AttachFormat, qemuVersion: String? = nil) {
            self.name = name
            self.format = format
            self.qemuVersion = qemuVersion
        }
    }

    /// What to paste.
    public struct Result: DescribedObject {
        /// The export's name.
        public var name: String
        /// The virtual machine monitor.
        public var format: AttachFormat
        /// What to paste.
        public var text: String
        /// The same for programs: arguments of a command line.
        public var arguments: [String]
        /// What to know about it.
        public var notes: [String]
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.name, .string(.exportName), "the export's name"),
                .required(CodingKeys.format, .choice(AttachFormat.allCases.map(\.rawValue)), "the virtual machine monitor"),
                .required(CodingKeys.text, .text, "what to paste: options of a command line, or XML"),
                .required(CodingKeys.arguments, .array(of: .text), "the same as arguments, empty for XML"),
                .required(CodingKeys.notes, .array(of: .text), "what to know about it"),
            ]
        }
        /// See `fields`.
        public static var schema: Schema { .object("ExportAttachResult", fields) }
        /// A result.
        public init(name: String, format: AttachFormat, text: String, arguments: [String], notes: [String]) {
            self.name = name
            self.format = format
            self.text = text
            self.arguments = arguments
            self.notes = notes
        }
    }

    /// `export.attach`
    public static var name: MethodName { .exportAttach }
    /// In one line.
    public static var summary: String { "Tells how a virtual machine gets the disk: what to paste into a command line or a domain" }
    /// More.
    public static var details: String { "" }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .unsupported] }
    /// The example of `export.create`.
    public static var example: Parameters { Parameters(name: "scratch", format: .qemu) }
}

/// A virtual machine monitor that attaches vhost-user disks.
public enum AttachFormat: String, Codable, Sendable, CaseIterable {
    /// QEMU's command line.
    case qemu
    /// A libvirt domain.
    case libvirt
    /// Cloud Hypervisor's command line.
    case cloudHypervisor = "cloud-hypervisor"
}

/// A version of QEMU, as far as its options differ.
public struct QEMUVersion: Sendable, Comparable {
    private let numbers: [Int]

    /// The first with `reconnect-ms`.
    static let withReconnectMilliseconds = QEMUVersion(parsing: "9.2")!

    /// Reads `7.2`, `10.0.3`; nil when it is no version.
    public init?(parsing text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { UInt16($0).map(Int.init) }
        guard (1...3).contains(parts.count), numbers.count == parts.count else { return nil }
        self.numbers = numbers
    }

    /// Orders by age.
    public static func < (left: QEMUVersion, right: QEMUVersion) -> Bool { left.numbers.lexicographicallyPrecedes(right.numbers) }
}
