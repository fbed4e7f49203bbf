internal import BlockIO

/// Why an export could not be made, changed or removed, in words for the person who asked.
public struct ExportError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The small stable set that callers match on.
    public enum Kind: String, Sendable, CaseIterable {
        /// A field of the configuration is out of range.
        case invalid
        /// The backing or another named thing does not exist.
        case notFound
        /// The name or the socket is taken.
        case exists
        /// Somebody uses it: a lock on the backing, a connected front-end.
        case busy
        /// The operating system refuses by permission.
        case permission
        /// The export's backing or the kernel cannot do it.
        case unsupported
        /// The operating system failed.
        case system
    }

    /// What sort of refusal it is.
    public var kind: Kind
    /// The field of the configuration it is about, by its control-API name, or nil.
    public var field: String?
    /// The thing and the reason, one sentence without a full stop.
    public var message: String
    /// The way out.
    public var hint: String

    /// An error in the caller's words.
    public init(kind: Kind, field: String?, message: String, hint: String) {
        self.kind = kind
        self.field = field
        self.message = message
        self.hint = hint
    }

    /// The message and the way out on one line.
    public var description: String { "\(message) (\(hint))" }
}

extension ExportError {
    /// A backing's refusal as an export's.
    init(_ error: BackingError) {
        let (kind, field): (Kind, String?) =
            switch error.kind {
            case .badSpecification, .badSize, .wrongType: (.invalid, "backing")
            case .badBlockSize: (.invalid, "blockSize")
            case .notFound: (.notFound, "backing")
            case .permissionDenied: (.permission, "backing")
            case .busy: (.busy, "backing")
            case .directUnavailable: (.unsupported, "direct")
            case .pollingUnavailable: (.unsupported, "ioPoll")
            case .system: (.system, "backing")
            }
        self.init(kind: kind, field: field, message: error.message, hint: error.hint)
    }
}
