import LinuxSystem
import Testing
import VhostUser

/// Framing and descriptors over a real socket pair.
@Suite struct ConnectionTests {
    private struct Ends {
        var here: MessageConnection
        var peer: FileDescriptor

        init(receiving: MessageConnection.Incoming = .requests) throws {
            let (first, second) = try UnixSocket.pair()
            here = MessageConnection(first, receiving: receiving)
            peer = second
        }

        /// Sends bytes as the peer; all of them fit into the socket's buffer.
        func send(_ bytes: [UInt8], _ descriptors: [FileDescriptor] = []) throws {
            let sent = try rawSend(peer, bytes, descriptors)
            #expect(sent == bytes.count)
        }
    }

    private let enable = Message(.setVringEnable, .vringState(VringState(index: 1, number: 1)))

    @Test("A message may come byte by byte, and nobody waits for it")
    func byteByByte() throws {
        let ends = try Ends()
        #expect(try ends.here.receive() == nil)
        for (index, byte) in enable.encoded.enumerated() {
            try ends.send([byte])
            let message = try ends.here.receive()
            #expect((message != nil) == (index == enable.encoded.count - 1))
            if let message { #expect(message.encoded == enable.encoded) }
        }
        #expect(try ends.here.receive() == nil)
    }

    @Test("Messages that lie in the socket together come out one by one, each with its own descriptors")
    func attribution() throws {
        let ends = try Ends()
        let events = try (0..<4).map { _ in try EventFD() }
        let without = Message(.getFeatures).encoded
        let kick = Message(.setVringKick, .u64(0)).encoded
        try ends.send(without)
        try ends.send(kick, [events[0].descriptor])
        try ends.send(without + without)
        try ends.send(kick, [events[1].descriptor, events[2].descriptor])
        // The peer's write ends in the middle of a message that the next one, which has the descriptor of another, ends.
        try ends.send(without + Array(without.prefix(5)))
        try ends.send(Array(without.dropFirst(5)))
        try ends.send(kick, [events[3].descriptor])
        var counts: [Int] = []
        var received: [FileDescriptor] = []
        while let message = try ends.here.receive() {
            counts.append(message.descriptors.count)
            received += message.descriptors
        }
        #expect(counts == [0, 1, 0, 0, 2, 0, 0, 1])
        for (event, descriptor) in zip(events, received) {
            EventFD(adopting: descriptor).signal()
            #expect(event.drain() == 1)
        }
    }

    @Test("Descriptors that come with a later byte of the message are its own too")
    func lateDescriptors() throws {
        let ends = try Ends()
        let bytes = Message(.setVringKick, .u64(0)).encoded
        try ends.send(Array(bytes.prefix(15)))
        #expect(try ends.here.receive() == nil)
        try ends.send(Array(bytes.dropFirst(15)), [try EventFD().descriptor])
        #expect(try ends.here.receive()?.descriptors.count == 1)
    }

    @Test("More descriptors than any message has are counted as lost, not kept", arguments: [32, 33, 253])
    func tooManyDescriptors(count: Int) throws {
        let ends = try Ends()
        let event = try EventFD().descriptor
        try ends.send(Message(.getFeatures).encoded, Array(repeating: event, count: count))
        let message = try #require(try ends.here.receive())
        #expect(message.lostDescriptors == (count > MessageLimits.descriptorCountMax))
        #expect(message.descriptors.count <= MessageLimits.descriptorCountMax)
        try ends.send(Message(.getFeatures).encoded)
        #expect(try ends.here.receive()?.lostDescriptors == false, "the next message is not blamed")
    }

    @Test("Descriptors that come in several parts are limited together")
    func descriptorsInParts() throws {
        let ends = try Ends()
        let event = try EventFD().descriptor
        let bytes = Message(.setVringKick, .u64(0)).encoded
        for byte in bytes { try ends.send([byte], Array(repeating: event, count: 10)) }
        let message = try #require(try ends.here.receive())
        #expect(message.lostDescriptors && message.descriptors.count <= 32)
    }

    static let untrusted: [(String, [UInt8], StreamError)] = [
        ("version 0", header(1, 0, 0), .version(0)), ("version 2", header(1, 2, 0), .version(2)),
        ("version 3", header(1, 0xb, 0), .version(3)), ("reply bit", header(1, 5, 0), .wrongDirection(request: 1)),
        ("too long", header(1, 1, 4097), .payloadTooLong(4097)), ("far too long", header(1, 1, .max), .payloadTooLong(.max)),
    ]

    static func header(_ request: UInt32, _ flags: UInt32, _ size: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        MessageHeader(request: request, flags: MessageFlags(rawValue: flags), size: size).encode(into: &bytes)
        return bytes
    }

    @Test("A stream with such a header is not trusted", arguments: untrusted)
    func isNotTrusted(name: String, bytes: [UInt8], error: StreamError) throws {
        let ends = try Ends()
        try ends.send(bytes)
        #expect(throws: error) { try ends.here.receive() }
    }

    @Test("The longest message is received; flags nobody defined do not matter")
    func longest() throws {
        let ends = try Ends()
        try ends.send(Self.header(1, 0xffff_fff9, 4096) + [UInt8](repeating: 7, count: 4096))
        #expect(try ends.here.receive()?.payload.count == 4096)
    }

    @Test("Where answers come, a request is not trusted")
    func repliesOnly() throws {
        let ends = try Ends(receiving: .replies)
        try ends.send(Message(.configChange).reply(.u64(0)).encoded)
        #expect(try ends.here.receive()?.isReply == true)
        try ends.send(enable.encoded)
        #expect(throws: StreamError.wrongDirection(request: 18)) { try ends.here.receive() }
    }

    @Test("The peer's end is told, and whether it came in the middle of a message", arguments: [0, 5, 12, 15])
    func closed(byteCount: Int) throws {
        let (first, second) = try UnixSocket.pair()
        let here = MessageConnection(first, receiving: .requests)
        if byteCount > 0 { #expect(try rawSend(second, Array(enable.encoded.prefix(byteCount)), []) == byteCount) }
        UnixSocket.shutdown(second)
        #expect(throws: StreamError.closed(insideMessage: byteCount > 0)) { try here.receive() }
    }

    @Test("Sending to a peer that is gone tells so")
    func sendToNobody() throws {
        var ends: Ends? = try Ends()
        let here = try #require(ends).here
        ends = nil
        #expect(throws: StreamError.closed(insideMessage: false)) { try here.send(enable) }
    }

    @Test("What the socket does not take waits, is sent later in order, and its descriptors go once")
    func backlog() throws {
        let (first, second) = try UnixSocket.pair()
        let here = MessageConnection(first, receiving: .requests)
        let peer = MessageConnection(second, receiving: .replies)
        let event = try EventFD()
        var sent = 0
        while !here.hasOutgoing {
            let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: sent), count: 4000)
            try here.send(Message(.getConfig).reply(.opaque(payload), descriptors: [event.descriptor]))
            sent += 1
        }
        for _ in 0..<5 {
            try here.send(Message(.getConfig).reply(.opaque([UInt8(truncatingIfNeeded: sent)]), descriptors: [event.descriptor]))
            sent += 1
        }
        var received = 0
        while received < sent {
            while let message = try peer.receive() {
                #expect(message.payload.first == UInt8(truncatingIfNeeded: received))
                #expect(message.descriptors.count == 1)
                received += 1
            }
            try here.flush()
        }
        #expect(!here.hasOutgoing)
        #expect(received == sent)
    }

    @Test("A message larger than the socket's buffer goes in parts, and its descriptors go with the first only")
    func parts() throws {
        let (first, second) = try UnixSocket.pair()
        let here = MessageConnection(first, receiving: .requests)
        let peer = MessageConnection(second, receiving: .replies, payloadByteCountMax: 4 << 20)
        let payload = (0..<2 << 20).map { UInt8(truncatingIfNeeded: $0 >> 8) }
        try here.send(Message(.getConfig).reply(.opaque(payload), descriptors: [try EventFD().descriptor]))
        #expect(here.hasOutgoing)
        var message = try peer.receive()
        while message == nil {
            try here.flush()
            message = try peer.receive()
        }
        #expect(message?.payload == payload)
        #expect(message?.descriptors.count == 1)
    }

    @Test("A peer that does not read loses the connection, not our memory")
    func outgoingLimit() throws {
        let (first, second) = try UnixSocket.pair()
        let here = MessageConnection(first, receiving: .requests)
        let big = Message(.getConfig).reply(.opaque([UInt8](repeating: 0, count: 4096)))
        #expect(throws: StreamError.tooManyMessages) {
            for _ in 0..<100_000 { try here.send(big) }
        }
        withExtendedLifetime(second) {}
    }
}

/// Sends bytes with descriptors in one go; nil when the socket is full.
func rawSend(_ socket: FileDescriptor, _ bytes: [UInt8], _ descriptors: [FileDescriptor]) throws -> Int? {
    // The array is only read, during the call.
    try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: descriptors.map(\.rawValue)) }
}
