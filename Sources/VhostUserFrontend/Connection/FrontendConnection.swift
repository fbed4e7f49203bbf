public import LinuxSystem
public import VhostUser
public import Virtio

/// A front-end's end of a vhost-user connection: sends any message, well-formed or not, and receives what comes back.
///
/// It waits, with time limits, and belongs to one thread. It does what it is told and nothing by itself: tests use it to send messages in
/// any order. `BlockDriver` is the well-behaved user.
public final class FrontendConnection {
    /// What the back-end offered (GET_FEATURES).
    public internal(set) var offeredFeatures: VirtioFeatures = []
    /// What was acknowledged (SET_FEATURES).
    public internal(set) var features: VirtioFeatures = []
    /// What the back-end offered (GET_PROTOCOL_FEATURES).
    public internal(set) var offeredProtocolFeatures: ProtocolFeatures = []
    /// What was acknowledged (SET_PROTOCOL_FEATURES).
    public internal(set) var protocolFeatures: ProtocolFeatures = []
    /// How long an answer may take.
    public var timeoutNanoseconds: UInt64
    /// Asks for an answer to each message that has none of its own, once REPLY_ACK is negotiated.
    public var asksForAcknowledgement = true
    let socket: MessageSocket

    /// Connects to a back-end that listens at `path`.
    public init(path: String, timeoutNanoseconds: UInt64 = 5_000_000_000) throws(FrontendError) {
        let descriptor: FileDescriptor
        do { descriptor = try UnixSocket.connect(path: path) } catch {
            throw FrontendError(
                .connect, "cannot connect to the back-end at \(path): \(error.reason)",
                hint: "is the export running, and may this user open its socket?")
        }
        socket = try MessageSocket(descriptor)
        self.timeoutNanoseconds = timeoutNanoseconds
    }

    /// Takes over a socket that is connected already.
    public init(socket descriptor: FileDescriptor, timeoutNanoseconds: UInt64 = 5_000_000_000) throws(FrontendError) {
        socket = try MessageSocket(descriptor)
        self.timeoutNanoseconds = timeoutNanoseconds
    }

    /// The socket, to be watched for the end of the connection; do not read from it.
    public var descriptor: FileDescriptor { socket.descriptor }

    /// Ends the connection at once; what is still in the socket is lost.
    public func close() { UnixSocket.shutdown(socket.descriptor) }

    var deadline: UInt64 { MonotonicClock.now() &+ timeoutNanoseconds }

    /// Sends bytes as they are, with descriptors beside the first.
    public func sendRaw(_ bytes: [UInt8], descriptors: [FileDescriptor] = []) throws(FrontendError) {
        try socket.send(bytes, descriptors.map(\.rawValue), until: deadline)
    }

    /// Sends a message; any flags and any payload.
    public func send(_ message: Message) throws(FrontendError) {
        try socket.send(message.encoded, message.descriptors.map(\.rawValue), until: deadline)
    }

    /// The next message from the back-end; nil when none came in time.
    public func receive(timeoutNanoseconds: UInt64? = nil) throws(FrontendError) -> Message? {
        try socket.receive(until: timeoutNanoseconds.map { MonotonicClock.now() &+ $0 } ?? deadline)
    }

    /// The answer to `request`: the next message, which must be one.
    public func receiveReply(to request: FrontendRequest) throws(FrontendError) -> Message {
        guard let message = try receive() else {
            throw FrontendError(.timedOut, "the back-end did not answer \(request.name) within \(timeoutNanoseconds / 1_000_000) ms")
        }
        guard message.isReply, message.request == request.rawValue, message.flags.version == 1 else {
            throw FrontendError(
                .protocolViolation,
                "the back-end answered \(request.name) with \(FrontendRequest.describe(message.request)), flags \(message.flags.rawValue)")
        }
        return message
    }

    /// Sends a message that has an answer of its own and waits for it.
    public func ask(
        _ request: FrontendRequest, _ payload: Payload = .none, descriptors: [FileDescriptor] = []
    ) throws(FrontendError) -> (payload: Payload, descriptors: [FileDescriptor]) {
        guard case .always(let kind) = request.shape.answer else {
            preconditionFailure("\(request.name) has no answer of its own: use tell")
        }
        try send(Message(request, payload, descriptors: descriptors))
        let reply = try receiveReply(to: request)
        do { return (try reply.decode(kind), reply.descriptors) } catch {
            throw FrontendError(.protocolViolation, "the back-end's answer to \(request.name) is malformed: \(error)")
        }
    }

    /// Sends a message that has an answer of its own, a number.
    public func askNumber(_ request: FrontendRequest, _ payload: Payload = .none) throws(FrontendError) -> UInt64 {
        guard case .u64(let value) = try ask(request, payload).payload else {
            preconditionFailure("\(request.name) is not answered with a number")
        }
        return value
    }

    /// Sends a message without an answer of its own; with REPLY_ACK it waits until the back-end has acted on it.
    public func tell(
        _ request: FrontendRequest, _ payload: Payload = .none, descriptors: [FileDescriptor] = []
    ) throws(FrontendError) {
        let needsReply = asksForAcknowledgement && protocolFeatures.contains(.replyAck)
        try send(Message(request, payload, descriptors: descriptors, needReply: needsReply))
        if needsReply { try expectAcknowledgement(of: request) }
    }

    /// Waits for the answer that need_reply asks for; throws `.refused` when it is not 0.
    public func expectAcknowledgement(of request: FrontendRequest) throws(FrontendError) {
        let reply = try receiveReply(to: request)
        guard case .u64(let value)? = try? reply.decode(.u64) else {
            throw FrontendError(
                .protocolViolation, "the back-end acknowledged \(request.name) with \(reply.payload.count) bytes instead of 8")
        }
        if value != 0 { throw FrontendError(.refused, "the back-end refused \(request.name) with \(value)") }
    }
}
