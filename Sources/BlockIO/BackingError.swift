public import LinuxSystem

/// Why a backing could not be opened or changed. It names the thing, the reason and the way out.
public struct BackingError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The reason in a form that programs compare.
    public enum Kind: String, Sendable {
        /// The text names no backing.
        case badSpecification
        /// Nothing is at the path.
        case notFound
        /// The daemon may not open it.
        case permissionDenied
        /// It is neither a regular file nor a block device.
        case wrongType
        /// Somebody else uses it.
        case busy
        /// It is smaller than one block, or cannot have the size asked for.
        case badSize
        /// The block size asked for cannot be had.
        case badBlockSize
        /// Direct I/O was asked for and is not possible.
        case directUnavailable
        /// Polled completions were asked for and are not possible.
        case pollingUnavailable
        /// The kernel refused for another reason.
        case system
    }

    /// The reason in a form that programs compare.
    public var kind: Kind
    /// The backing as it was given.
    public var path: String
    /// What went wrong with what, and why.
    public var message: String
    /// What to do about it; empty when nothing general can be said.
    public var hint: String
    /// The failed system call, if one failed.
    public var cause: SystemError?

    /// Describes a refusal.
    public init(_ kind: Kind, path: String, _ message: String, hint: String = "", cause: SystemError? = nil) {
        self.kind = kind
        self.path = path
        self.message = message
        self.hint = hint
        self.cause = cause
    }

    /// "MESSAGE (HINT)".
    public var description: String { hint.isEmpty ? message : "\(message) (\(hint))" }
}
