import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

@Suite struct FrontendConnectionTests {
    typealias Sent = ScriptedBackend.Sent
    static let replyAck: UInt64 = 1 << 3
    static let config: UInt64 = 1 << 9

    private func kind(_ body: () throws -> Void) -> FrontendError.Kind? {
        do { try body() } catch { return (error as? FrontendError)?.kind }
        return nil
    }

    @Test func openingIsQEMUs() throws {
        let backend = try ScriptedBackend()
        // MQ, REPLY_ACK, CONFIG and a bit that nobody knows.
        try backend.offer(features: 1 << 30 | 1 << 9, protocolFeatures: 1 << 40 | 1 << 9 | 1 << 3 | 1, acknowledgesOwner: true)
        try backend.connection.open()
        #expect(
            try backend.sent() == [
                Sent(request: 1, flags: 1, payload: [], descriptorCount: 0), Sent(request: 15, flags: 1, payload: [], descriptorCount: 0),
                Sent(request: 16, flags: 1, payload: ScriptedBackend.bytes(UInt64(0x209)), descriptorCount: 0),
                Sent(request: 3, flags: 9, payload: [], descriptorCount: 0),
            ])
        #expect(backend.connection.protocolFeatures == [.multiQueue, .replyAck, .config])
        try backend.acknowledge(2)
        try backend.connection.acknowledge([.blockFlush, .blockMultiQueue])
        let features = try #require(try backend.sent().first)
        #expect(features.payload == ScriptedBackend.bytes(UInt64(1 << 30 | 1 << 9)), "only what is offered, and the protocol bit")
    }

    @Test func withoutProtocolFeaturesNothingIsAsked() throws {
        let backend = try ScriptedBackend()
        try backend.offer(features: 1 << 32)
        try backend.connection.open()
        #expect(try backend.sent().map(\.request) == [1, 3])
        #expect(try backend.connection.queueCountMax() == 1)
        #expect(kind { _ = try backend.connection.readBlockConfig() } == .notOffered)
    }

    @Test func acknowledgements() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: Self.replyAck)
        try backend.acknowledge(8)
        try backend.connection.setRingSize(2, 256)
        #expect(
            try backend.sent() == [Sent(request: 8, flags: 9, payload: ScriptedBackend.bytes(UInt32(2), UInt32(256)), descriptorCount: 0)])
        try backend.acknowledge(18, 7)
        #expect(kind { try backend.connection.setEnabled(0, true) } == .refused)
        try backend.answer(18, [0])
        #expect(kind { try backend.connection.setEnabled(0, true) } == .protocolViolation, "an acknowledgement has 8 bytes")
        _ = try backend.sent()
        backend.connection.asksForAcknowledgement = false
        try backend.connection.setEnabled(1, false)
        #expect(try backend.sent().map(\.flags) == [1])
    }

    @Test func silenceTimesOut() throws {
        let backend = try ScriptedBackend(timeoutMilliseconds: 20)
        #expect(kind { try backend.connection.open() } == .timedOut)
        try backend.write(ScriptedBackend.bytes(UInt32(1), 5, 8) + [1, 2, 3])
        #expect(kind { _ = try backend.connection.askNumber(.getFeatures) } == .timedOut, "half an answer is none")
        try backend.write([4, 5, 6, 7, 8])
        #expect(try backend.connection.askNumber(.getFeatures) == 0x0807_0605_0403_0201)
    }

    @Test func theEndIsTold() throws {
        let backend = try ScriptedBackend()
        try backend.write([1, 0, 0, 0])
        backend.close()
        var error: FrontendError?
        do { _ = try backend.connection.receive() } catch let caught { error = caught }
        #expect(error?.kind == .disconnected)
        #expect(error?.message == "the back-end closed the connection in the middle of a message")
        #expect(kind { try backend.connection.send(Message(.setOwner)) } == .disconnected)
    }

    @Test(arguments: [(2, 5), (1, 1), (1, 7), (1, 4)] as [(UInt32, UInt32)])
    func answersThatAreNone(request: UInt32, flags: UInt32) throws {
        let backend = try ScriptedBackend()
        try backend.answer(request, ScriptedBackend.bytes(UInt64(0)), flags: flags)
        #expect(kind { _ = try backend.connection.askNumber(.getFeatures) } == .protocolViolation)
    }

    @Test func answersOfTheWrongSize() throws {
        let backend = try ScriptedBackend()
        try backend.answer(1, [1, 2, 3])
        #expect(kind { _ = try backend.connection.askNumber(.getFeatures) } == .protocolViolation)
        try backend.write(ScriptedBackend.bytes(UInt32(1), 5, 0xffff_ffff))
        #expect(kind { _ = try backend.connection.askNumber(.getFeatures) } == .protocolViolation)
    }

    @Test func configSpace() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: Self.config)
        let connection = backend.connection
        // A refusal of 72 bytes in either form, then 60 bytes.
        try backend.answer(24, ScriptedBackend.bytes(UInt32(0), 0, 0))
        try backend.answer(24, ScriptedBackend.bytes(UInt32(0), 60, 0) + [0, 8] + [UInt8](repeating: 0, count: 58))
        #expect(try connection.readBlockConfig().byteCount == 1 << 20)
        let asked = try backend.sent()
        #expect(asked.map { Array($0.payload[4..<8]) } == [[72, 0, 0, 0], [60, 0, 0, 0]])
        #expect(asked.map(\.payload.count) == [84, 72])
        try backend.answer(24)
        #expect(try connection.readConfig(size: 8) == nil)
        try backend.answer(24, ScriptedBackend.bytes(UInt32(0), 4, 0) + [1, 2, 3, 4])
        #expect(kind { _ = try connection.readConfig(size: 8) } == .protocolViolation, "fewer bytes than were asked for")
        _ = try backend.sent()
        try connection.writeConfig(offset: 32, bytes: [1])
        #expect(try backend.sent().map(\.payload) == [ScriptedBackend.bytes(UInt32(32), 1, 0) + [1]])
    }

    @Test func memoryTable() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: 0)
        let memory = try DriverMemory(shared: [
            .init(guestAddress: 0x1000, size: 4096, frontendAddress: 0x7000_0000),
            .init(guestAddress: 0x10_0000, size: 8192, fileOffset: 4096),
        ])
        try backend.connection.setMemory(memory, oneByOne: true)
        let message = try #require(try backend.sent().first)
        #expect((message.request, message.descriptorCount) == (5, 2), "one by one only when slots are negotiated")
        #expect(Array(message.payload[0..<8]) == [2, 0, 0, 0, 0, 0, 0, 0])
        #expect(Array(message.payload[8..<40]) == ScriptedBackend.bytes(UInt64(0x1000), 4096, 0x7000_0000, 0))
        #expect(Array(message.payload[40..<56]) == ScriptedBackend.bytes(UInt64(0x10_0000), 8192))
        #expect(Array(message.payload[64..<72]) == ScriptedBackend.bytes(UInt64(4096)))
    }

    @Test func memorySlots() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: 1 << 15)
        let memory = try DriverMemory(shared: [.init(guestAddress: 0x1000, size: 4096), .init(guestAddress: 0x10_0000, size: 8192)])
        try backend.connection.setMemory(memory, oneByOne: true)
        try backend.connection.removeRegion(1, of: memory)
        let sent = try backend.sent()
        #expect(sent.map(\.request) == [37, 37, 38])
        #expect(sent.map(\.descriptorCount) == [1, 1, 0])
        #expect(sent.map(\.payload.count) == [40, 40, 40])
        #expect(sent[1].payload == sent[2].payload)
    }

    @Test func ringInQEMUsOrder() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: 0)
        let memory = try DriverMemory(shared: [.init(guestAddress: 0x4000_0000, size: 1 << 20, frontendAddress: 0x5000_0000)])
        let options = DriverRingOptions()
        let area = try #require(DriverRingArea(size: 128, format: .split, options: options, memory: memory))
        let call = try EventFD()
        try backend.connection.setRing(1, RingEndpoint(area: area, kick: nil, call: call.descriptor), base: 17)
        try backend.connection.setEnabled(1, true)
        let sent = try backend.sent()
        #expect(sent.map(\.request) == [8, 10, 9, 12, 13, 18])
        #expect(sent[0].payload == ScriptedBackend.bytes(UInt32(1), 128))
        #expect(sent[1].payload == ScriptedBackend.bytes(UInt32(1), 17))
        #expect(
            sent[2].payload == ScriptedBackend.bytes(UInt32(1), 0)
                + ScriptedBackend.bytes(
                    area.descriptors.frontendAddress, area.device.frontendAddress, area.driver.frontendAddress, UInt64(0)))
        #expect(area.descriptors.frontendAddress == 0x5000_0000)
        #expect((sent[3].payload, sent[3].descriptorCount) == (ScriptedBackend.bytes(UInt64(0x101)), 0), "no kick: the back-end polls")
        #expect((sent[4].payload, sent[4].descriptorCount) == (ScriptedBackend.bytes(UInt64(1)), 1))
    }

    @Test func stoppingAndInflight() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: 1 << 12)
        try backend.answer(11, ScriptedBackend.bytes(UInt32(3), 77))
        #expect(try backend.connection.stopRing(3) == 77)
        try backend.answer(11, ScriptedBackend.bytes(UInt32(2), 77))
        #expect(kind { _ = try backend.connection.stopRing(3) } == .protocolViolation, "another ring's base")
        let file = try MemoryFile.create(name: "inflight", size: 4096)
        let description = ScriptedBackend.bytes(UInt64(4096), 0) + ScriptedBackend.bytes(UInt16(2), 128, 0, 0)
        try backend.answer(31, description, descriptors: [file])
        let region = try backend.connection.inflightRegion(queueCount: 2, queueSize: 128)
        try backend.connection.setInflightRegion(region)
        let sent = try backend.sent()
        #expect(sent.last == Sent(request: 32, flags: 1, payload: description, descriptorCount: 1))
        try backend.answer(31, description)
        #expect(kind { _ = try backend.connection.inflightRegion(queueCount: 2, queueSize: 128) } == .refused, "no file came")
    }

    @Test func anyBytesCanBeSent() throws {
        let backend = try ScriptedBackend()
        let event = try EventFD()
        try backend.connection.sendRaw(
            ScriptedBackend.bytes(UInt32(999), 0xc, 2) + [1, 2], descriptors: [event.descriptor, event.descriptor])
        #expect(try backend.sent() == [Sent(request: 999, flags: 12, payload: [1, 2], descriptorCount: 2)])
    }

    @Test func backendChannel() throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: 1 << 5)
        let channel = try backend.connection.openBackendChannel()
        #expect(try backend.sent().map { [$0.request, UInt32($0.descriptorCount)] } == [[21, 1]])
        #expect(try channel.receive(timeoutNanoseconds: 0) == nil)
        // CONFIG_CHANGE_MSG with need_reply.
        let request = ScriptedBackend.bytes(UInt32(2), 9, 0)
        let sent = try unsafe request.withUnsafeBytes { try unsafe UnixSocket.send(backend.kept[0], $0) }
        #expect(sent == 12)
        let message = try #require(try channel.receive(timeoutNanoseconds: 1_000_000_000))
        #expect(message.request == BackendRequest.configChange.rawValue && message.needsReply)
        try channel.reply(to: message)
        let reply = try unsafe withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            let part = try unsafe UnixSocket.receive(backend.kept[0], into: buffer)
            return unsafe Array(buffer.prefix(part?.byteCount ?? 0))
        }
        #expect(reply == ScriptedBackend.bytes(UInt32(2), 5, 8) + ScriptedBackend.bytes(UInt64(0)))
    }

    /// A payload of each form.
    private static func payload(_ kind: Payload.Kind) -> Payload {
        switch kind {
        case .none: .none
        case .u64: .u64(1)
        case .vringState: .vringState(VringState(index: 1, number: 2))
        case .vringAddress: .vringAddress(VringAddress(index: 1, descriptor: 16, used: 32, available: 64))
        case .vringDescriptor: .vringDescriptor(VringDescriptorReference(index: 1, hasDescriptor: false))
        case .vringArea: .vringArea(VringArea(reference: 1, size: 4096, offset: 8192))
        case .memoryTable: .memoryTable([MemoryRegionDescription(guestAddress: 0, size: 4096, frontendAddress: 1 << 40, mapOffset: 0)])
        case .memoryRegion: .memoryRegion(MemoryRegionDescription(guestAddress: 0, size: 4096, frontendAddress: 1 << 40, mapOffset: 0))
        case .log: .log(LogDescription(size: 4096, offset: 0))
        case .iotlb: .iotlb(IOTLBMessage(iova: 1, size: 2, frontendAddress: 3, permissions: 3, kind: .update))
        case .config: .config(ConfigAccess(offset: 0, size: 1, bytes: [7]))
        case .inflight: .inflight(InflightDescription(size: 1, offset: 2, queueCount: 3, queueSize: 4))
        case .deviceState: .deviceState(DeviceStateTransfer(direction: 1, phase: 0))
        case .sharedMemoryConfig: .sharedMemoryConfig(SharedMemoryConfig(sizes: [4096]))
        case .sharedMemoryMapping:
            .sharedMemoryMapping(SharedMemoryMapping(identifier: 1, descriptorOffset: 0, regionOffset: 4096, size: 8192, flags: 1))
        case .uuid: .uuid([UInt8](repeating: 3, count: 16))
        case .opaque: .opaque([1, 2, 3])
        }
    }

    @Test("Every message is sent as it is meant, and its answer is read", arguments: FrontendRequest.allCases)
    func everyMessage(request: FrontendRequest) throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: Self.replyAck)
        let payload = Self.payload(request.shape.payload)
        let descriptors = try (0..<request.shape.descriptorCount.lowerBound).map { _ in try EventFD().descriptor }
        if case .always(let kind) = request.shape.answer {
            let answer = Self.payload(kind)
            try backend.answer(request.rawValue, MessageCodec.encode(answer))
            #expect(try backend.connection.ask(request, payload, descriptors: descriptors).payload == answer)
        } else {
            try backend.acknowledge(request.rawValue)
            try backend.connection.tell(request, payload, descriptors: descriptors)
        }
        let sent = try #require(try backend.sent().first)
        #expect(sent.request == request.rawValue && sent.payload == MessageCodec.encode(payload))
        #expect(sent.descriptorCount == descriptors.count)
    }

    @Test("Every request of a back-end is received, and answered", arguments: BackendRequest.allCases)
    func everyBackendRequest(request: BackendRequest) throws {
        let backend = try ScriptedBackend()
        try backend.open(protocolFeatures: Self.replyAck | 1 << 5)
        try backend.acknowledge(21)
        let channel = try backend.connection.openBackendChannel()
        _ = try backend.sent()
        let socket = try #require(backend.kept.last)
        let payload = Self.payload(request.shape.payload)
        let file = try EventFD().descriptor
        let bytes = MessageCodec.encode(payload)
        let message = ScriptedBackend.bytes(request.rawValue, UInt32(9), UInt32(bytes.count)) + bytes
        // The buffer is only read, during the call.
        _ = try unsafe message.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: [file.rawValue]) }
        let received = try #require(try channel.receiveRequest(timeoutNanoseconds: 2_000_000_000))
        #expect(received.request == request && received.payload == payload && received.message.descriptors.count == 1)
        try channel.reply(to: received.message, 5)
        var answer = [UInt8](repeating: 0, count: 64)
        let part = try unsafe answer.withUnsafeMutableBytes { try unsafe UnixSocket.receive(socket, into: $0) }
        #expect(
            Array(answer.prefix(part?.byteCount ?? 0)) == ScriptedBackend.bytes(request.rawValue, UInt32(5), UInt32(8)) + [5]
                + [UInt8](repeating: 0, count: 7))
        #expect(try channel.receive(timeoutNanoseconds: 1_000_000) == nil)
        let unknown = ScriptedBackend.bytes(UInt32(99), 1, 0)
        _ = try unsafe unknown.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        #expect(kind { _ = try channel.receiveRequest(timeoutNanoseconds: 2_000_000_000) } == .protocolViolation)
    }
}
