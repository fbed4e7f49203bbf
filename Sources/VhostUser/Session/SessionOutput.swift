public import LinuxSystem

/// What a session wants done. It does no I/O itself.
public enum SessionOutput {
    /// Send this over the connection.
    case reply(Message)
    /// The session takes messages again, after a time in which `isReady` was false.
    case ready
    /// The front-end gave the socket of the back-end channel, or another in place of the one before.
    case backendChannel(FileDescriptor)
    /// Send this over the back-end channel.
    case backendRequest(Message)
    /// Calls of this ring go in-band: hand each readiness of the descriptor in with `callWasSignalled`, until the connection ends.
    case inbandCall(ring: Int, FileDescriptor)
    /// Something worth a line in the log; a session makes a bounded number of them.
    case notice(SessionNotice)
    /// The stream can no longer be trusted: drop the connection and call `disconnect`.
    case close(StreamError)
}

/// A line for the log.
public struct SessionNotice: Equatable, Sendable, CustomStringConvertible {
    /// How much it matters.
    public enum Level: Sendable {
        /// What every session does.
        case info
        /// A message was refused, or a ring broke.
        case warning
    }

    /// How much it matters.
    public var level: Level
    /// The line, without the export's name.
    public var description: String

    /// Gathers the two.
    public init(_ level: Level, _ description: String) {
        self.level = level
        self.description = description
    }
}

/// Why a stream of messages can no longer be trusted, or has ended.
public enum StreamError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The peer closed its side; in the middle of a message if `insideMessage`.
    case closed(insideMessage: Bool)
    /// The header has another version than 1.
    case version(UInt32)
    /// The header announces more bytes than any message has.
    case payloadTooLong(UInt32)
    /// An answer came where requests come, or a request where answers come.
    case wrongDirection(request: UInt32)
    /// A descriptor came where no message has one.
    case unexpectedDescriptors
    /// The peer does not take its answers, or sends on while one is pending.
    case tooManyMessages
    /// Protocol features were set that may not be set together.
    case illegalProtocolFeatures(ProtocolFeatures)
    /// POSTCOPY_END came, and a ring waits for a page that is not there.
    case pagesMissing
    /// The socket failed.
    case system(SystemError)

    /// A failed send or receive: the peer's going is told by several errors.
    init(_ error: SystemError, insideMessage: Bool) {
        self = ["EPIPE", "ECONNRESET", "ENOTCONN"].contains(error.name) ? .closed(insideMessage: insideMessage) : .system(error)
    }

    /// The reason as a person reads it.
    public var description: String {
        switch self {
        case .closed(insideMessage: false): "the peer closed the connection"
        case .closed(insideMessage: true): "the peer closed the connection in the middle of a message"
        case .version(let version): "a message of version \(version); only version 1 exists"
        case .payloadTooLong(let size): "a message with a payload of \(size) bytes, longer than any message of the protocol"
        case .wrongDirection(let request): "message \(request) has the reply flag wrong"
        case .unexpectedDescriptors: "a message with descriptors, which no answer has"
        case .tooManyMessages: "too many messages wait: the peer does not read its answers or does not wait for them"
        case .illegalProtocolFeatures(let features): "INBAND_NOTIFICATIONS needs BACKEND_REQ and REPLY_ACK; set were: \(features)"
        case .pagesMissing: "POSTCOPY_END came while a ring waits for a page of guest memory that never came"
        case .system(let error): error.description
        }
    }
}

/// Why a message was refused. With need_reply the front-end gets the code as its answer, which the specification wants to be non-zero.
public struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kinds of refusal; the raw value is the answer's u64.
    public enum Code: UInt64, CaseIterable, Sendable {
        /// Nobody here serves the message.
        case unsupported = 1
        /// The message needs a feature that was not negotiated.
        case notNegotiated = 2
        /// The payload has not the message's length.
        case malformed = 3
        /// Too many descriptors, too few, or one of the wrong kind.
        case descriptors = 4
        /// There is no ring with this index.
        case queueIndex = 5
        /// A field has a value it may not have.
        case invalidValue = 6
        /// This is not possible while the ring runs.
        case ringRuns = 7
        /// The memory cannot be mapped, or a ring would not lie in it.
        case memory = 8
        /// A limit of this back-end is reached.
        case limit = 9
        /// The device refused.
        case device = 10
    }

    /// The kind.
    public var code: Code
    /// The reason as a person reads it.
    public var description: String

    /// Gathers the two.
    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
