/// The flags of a message header (vhost-user specification, "Header").
@frozen
public struct MessageFlags: OptionSet, Hashable, Sendable {
    /// The 32 bits of the header's second field.
    public let rawValue: UInt32

    /// Takes the bits as they are.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Version 1 in the two lowest bits; every message has it.
    public static let version1 = MessageFlags(rawValue: 1)
    /// The message answers a request.
    public static let reply = MessageFlags(rawValue: 4)
    /// The sender wants an answer although the message has none of its own (REPLY_ACK).
    public static let needReply = MessageFlags(rawValue: 8)

    /// The version the sender speaks: 1 is the only one there is.
    public var version: UInt32 { rawValue & 3 }
}

/// The 12 bytes every message begins with, in the machine's byte order.
///
///     0        4        8        12
///     | request | flags  | size  | payload, `size` bytes ...
@frozen
public struct MessageHeader: Equatable, Sendable {
    /// Length of an encoded header in bytes.
    public static let byteCount = 12

    /// Which message this is; see `FrontendRequest` and `BackendRequest`.
    public var request: UInt32
    /// Version, reply and need_reply.
    public var flags: MessageFlags
    /// Length of the payload in bytes.
    public var size: UInt32

    /// Gathers the three fields.
    public init(request: UInt32, flags: MessageFlags, size: UInt32) {
        self.request = request
        self.flags = flags
        self.size = size
    }

    /// Reads a header from its 12 bytes.
    public init(decoding bytes: some Collection<UInt8>) throws(PayloadError) {
        var reader = ByteReader(bytes)
        request = try reader.read()
        flags = MessageFlags(rawValue: try reader.read())
        size = try reader.read()
        try reader.finish()
    }

    /// Appends the 12 bytes of the header.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(integer: request)
        bytes.append(integer: flags.rawValue)
        bytes.append(integer: size)
    }
}
