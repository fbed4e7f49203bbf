/// Why a front-end could not go on: the thing, the reason, and where there is one the way out.
public struct FrontendError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kinds that a caller may want to tell apart.
    public enum Kind: Sendable, Equatable {
        /// The back-end's socket cannot be reached.
        case connect
        /// The back-end closed the connection or the connection failed.
        case disconnected
        /// No answer within the time allowed.
        case timedOut
        /// The back-end answered something that the protocol does not allow.
        case protocolViolation
        /// The back-end answered that it refuses a message.
        case refused
        /// What was asked for is not offered.
        case notOffered
        /// Guest memory is too small or unusable.
        case memory
        /// The device broke the rules of a ring.
        case ring
        /// A request ended with an error.
        case request
        /// The operating system refused something.
        case system
    }

    /// Which kind it is.
    public var kind: Kind
    /// What happened.
    public var message: String
    /// What can be done, if anything is known.
    public var hint: String?

    /// An error of a kind.
    public init(_ kind: Kind, _ message: String, hint: String? = nil) {
        self.kind = kind
        self.message = message
        self.hint = hint
    }

    /// Message and hint on one line.
    public var description: String { hint.map { "\(message) (\($0))" } ?? message }
}
