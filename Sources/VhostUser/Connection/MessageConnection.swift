public import LinuxSystem

/// Messages over one non-blocking socket, in either role.
///
/// Incremental and bounded: `receive` takes what is there and keeps a half message for later; a message's length and descriptors are
/// limited; what cannot be sent at once waits in a queue of limited length. Belongs to one thread at a time.
public final class MessageConnection {
    /// What the peer may send here.
    public enum Incoming: Sendable {
        /// Requests: the main socket of a back-end, the back-end channel of a front-end.
        case requests
        /// Answers: the main socket of a front-end, the back-end channel of a back-end.
        case replies
    }

    /// Messages that may wait to be sent. A peer that lets more pile up does not read, and loses the connection.
    public static let outgoingCountMax = 64

    /// The socket, for the event loop.
    public let socket: FileDescriptor
    private let incoming: Incoming
    private let payloadByteCountMax: Int
    private let closing: ClosingQueue?
    private let takesDescriptors: Bool

    /// The message being received: its bytes so far, header included, and what came along.
    private var bytes: [UInt8] = []
    private var header: MessageHeader?
    private var descriptors: [FileDescriptor] = []
    private var lostDescriptors = false

    private struct Outgoing {
        var bytes: [UInt8]
        var sentCount = 0
        var descriptors: [FileDescriptor]
    }
    private var outgoing: [Outgoing] = []

    /// Takes over a connected, non-blocking socket. Descriptors that come over it are closed by `closing`, where one is given, or by whoever
    /// lets go of them, who may have to wait then. Without `takesDescriptors` the first one that comes ends the stream.
    public init(
        _ socket: FileDescriptor, receiving incoming: Incoming, payloadByteCountMax: Int = MessageLimits.payloadByteCountMax,
        closing: ClosingQueue? = nil, takesDescriptors: Bool = true
    ) {
        self.socket = socket
        self.incoming = incoming
        self.payloadByteCountMax = payloadByteCountMax
        self.closing = closing
        self.takesDescriptors = takesDescriptors
    }

    /// Whether messages wait to be sent: wait for the socket to become writable, then `flush`.
    public var hasOutgoing: Bool { !outgoing.isEmpty }

    /// The next whole message; nil when it is not there yet. Throws when the stream is at its end or cannot be trusted any more.
    ///
    /// No read goes past the end of the message it is for. A descriptor belongs to the message whose first byte it came with, and the
    /// kernel hands descriptors out with whatever read takes that byte: a read over two messages could not tell whose they are.
    public func receive() throws(StreamError) -> Message? {
        if header == nil {
            guard try fill(to: MessageHeader.byteCount) else { return nil }
            header = try checkedHeader()
        }
        guard let header, try fill(to: MessageHeader.byteCount + Int(header.size)) else { return nil }
        let message = Message(
            request: header.request, flags: header.flags, payload: Array(bytes[MessageHeader.byteCount...]), descriptors: descriptors,
            lostDescriptors: lostDescriptors)
        self.header = nil
        bytes = []
        descriptors = []
        lostDescriptors = false
        return message
    }

    /// Reads until `bytes` has `count` of them; false when that many are not there yet.
    private func fill(to count: Int) throws(StreamError) -> Bool {
        while bytes.count < count {
            // Each byte may bring descriptors: within a message too nothing is read that could bring more than may wait.
            if let closing, closing.isFull { return false }
            let received = try receive(upTo: count - bytes.count)
            guard let received else { return false }
            if !takesDescriptors, received.lostDescriptors || !received.descriptors.isEmpty { throw .unexpectedDescriptors }
            descriptors.append(contentsOf: received.descriptors)
            lostDescriptors = lostDescriptors || received.lostDescriptors
            if received.byteCount == 0 { throw .closed(insideMessage: !bytes.isEmpty) }
        }
        return true
    }

    /// One read of at most `count` bytes, which are appended to `bytes`.
    private func receive(upTo count: Int) throws(StreamError) -> UnixSocket.Received? {
        let room = MessageLimits.descriptorCountMax - descriptors.count
        var chunk = [UInt8](repeating: 0, count: count)
        do throws(SystemError) {
            // The buffer lives for the call only, and the socket writes no more than its size.
            var span = chunk.mutableSpan
            let received = try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe UnixSocket.receive(socket, into: buffer, maximumDescriptors: room, closing: closing)
            }
            bytes.append(contentsOf: chunk.prefix(received?.byteCount ?? 0))
            return received
        } catch {
            throw StreamError(error, insideMessage: !bytes.isEmpty)
        }
    }

    private func checkedHeader() throws(StreamError) -> MessageHeader {
        // The 12 bytes are there, so that this cannot fail.
        guard let header = try? MessageHeader(decoding: bytes) else { throw .closed(insideMessage: true) }
        if header.flags.version != 1 { throw .version(header.flags.version) }
        if header.flags.contains(.reply) != (incoming == .replies) { throw .wrongDirection(request: header.request) }
        if header.size > UInt32(payloadByteCountMax) { throw .payloadTooLong(header.size) }
        return header
    }

    /// Sends a message now or, when the socket takes no more, keeps it for `flush`.
    public func send(_ message: Message) throws(StreamError) {
        if outgoing.count >= Self.outgoingCountMax { throw .tooManyMessages }
        outgoing.append(Outgoing(bytes: message.encoded, descriptors: message.descriptors))
        try flush()
    }

    /// Sends what waits, as far as the socket takes it.
    public func flush() throws(StreamError) {
        while let first = outgoing.first {
            let raw = first.descriptors.map(\.rawValue)
            var taken: Int?
            do throws(SystemError) {
                // The socket only reads the array, during the call.
                let rest = first.bytes.span.extracting(droppingFirst: first.sentCount)
                taken = try unsafe rest.withUnsafeBytes { buffer throws(SystemError) in
                    try unsafe UnixSocket.send(socket, buffer, descriptors: raw)
                }
            } catch {
                throw StreamError(error, insideMessage: false)
            }
            guard let sent = taken else { return }
            if first.sentCount + sent == first.bytes.count {
                outgoing.removeFirst()
            } else {
                outgoing[0].sentCount += sent
                // They have gone with the first byte.
                outgoing[0].descriptors = []
            }
        }
    }
}
