/// A refusal: JSON-RPC's error object, and the error that both ends throw.
///
/// The message names the thing and the reason, the hint the way out.
public struct ControlError: Error, Sendable, Equatable, Codable, CustomStringConvertible {
    /// What accompanies the message, for programs.
    public struct Detail: Sendable, Equatable, Codable {
        /// The kind as a word, one of `ErrorKind`; text, so that a client understands a newer daemon.
        public var kind: String
        /// The parameter that is at fault, when one is.
        public var field: String?
        /// What to do about it.
        public var hint: String?
    }

    /// JSON-RPC's number.
    public var code: Int
    /// The thing and the reason, in one sentence without a full stop.
    public var message: String
    /// The rest.
    public var data: Detail?

    /// An error of `kind`.
    public init(_ kind: ErrorKind, _ message: String, field: String? = nil, hint: String? = nil) {
        code = kind.code
        self.message = message
        data = Detail(kind: kind.rawValue, field: field, hint: hint)
    }

    /// The kind, when this version knows it.
    public var kind: ErrorKind? { data.flatMap { ErrorKind(rawValue: $0.kind) } }

    /// The message, and the hint in brackets.
    public var description: String {
        guard let hint = data?.hint else { return message }
        return "\(message) (\(hint))"
    }
}
