public import LinuxSystem

/// One message, framed: a header's fields, the payload's bytes, and the descriptors that came or go with it.
///
/// Whoever lets go of a message without taking its descriptors closes them.
public struct Message: Sendable {
    /// Which message this is; see `FrontendRequest` and `BackendRequest`.
    public var request: UInt32
    /// Version, reply and need_reply.
    public var flags: MessageFlags
    /// The payload as it is on the wire.
    public var payload: [UInt8]
    /// The descriptors, in order.
    public var descriptors: [FileDescriptor]
    /// Some descriptors did not fit and were closed by the kernel, or by the connection because they were too many.
    public var lostDescriptors: Bool

    /// A message as it came from the wire.
    public init(
        request: UInt32, flags: MessageFlags, payload: [UInt8], descriptors: [FileDescriptor] = [], lostDescriptors: Bool = false
    ) {
        self.request = request
        self.flags = flags
        self.payload = payload
        self.descriptors = descriptors
        self.lostDescriptors = lostDescriptors
    }

    /// A request to a back-end.
    public init(_ request: FrontendRequest, _ payload: Payload = .none, descriptors: [FileDescriptor] = [], needReply: Bool = false) {
        self.init(
            request: request.rawValue, flags: needReply ? [.version1, .needReply] : .version1, payload: MessageCodec.encode(payload),
            descriptors: descriptors)
    }

    /// A request to a front-end, over the back-end channel.
    public init(_ request: BackendRequest, _ payload: Payload = .none, descriptors: [FileDescriptor] = [], needReply: Bool = false) {
        self.init(
            request: request.rawValue, flags: needReply ? [.version1, .needReply] : .version1, payload: MessageCodec.encode(payload),
            descriptors: descriptors)
    }

    /// The answer to this message.
    public func reply(_ payload: Payload, descriptors: [FileDescriptor] = []) -> Message {
        Message(request: request, flags: [.version1, .reply], payload: MessageCodec.encode(payload), descriptors: descriptors)
    }

    /// Whether the sender wants an answer.
    public var needsReply: Bool { flags.contains(.needReply) }
    /// Whether this is an answer.
    public var isReply: Bool { flags.contains(.reply) }

    /// The payload, read as one of the given kind.
    public func decode(_ kind: Payload.Kind) throws(PayloadError) -> Payload {
        try MessageCodec.decode(kind, from: payload)
    }

    /// Header and payload as they go over the wire.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(MessageHeader.byteCount + payload.count)
        MessageHeader(request: request, flags: flags, size: UInt32(payload.count)).encode(into: &bytes)
        bytes.append(contentsOf: payload)
        return bytes
    }
}

/// Bounds on a single message.
public enum MessageLimits {
    /// Descriptors that may come with one message. Front-ends send at most 32 (one per region of SET_MEM_TABLE).
    public static let descriptorCountMax = 32
    /// Bytes of a payload that a connection takes unless told otherwise: more than any message of the protocol has.
    public static let payloadByteCountMax = 4096
}
