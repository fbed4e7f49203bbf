import LinuxSystem
import Testing
import VhostUser
import Virtio

/// Every message: with need_reply and without, negotiated and not, well formed and not.
@Suite struct AnswerTests {
    /// A payload of the right form for each message, harmless in a fresh session.
    static func payload(_ request: FrontendRequest) -> Payload {
        switch request.shape.payload {
        case .none: .none
        case .u64: .u64(request == .setFeatures ? VirtioFeatures.protocolFeatures.rawValue : 1 << 3)
        case .vringState: .vringState(VringState(index: 0, number: request == .vringKick ? 0 : 1))
        case .vringAddress: .vringAddress(TestFrontend.address(0))
        case .vringDescriptor: .vringDescriptor(VringDescriptorReference(index: 0, hasDescriptor: true))
        case .memoryTable: .memoryTable([TestFrontend.region()])
        case .memoryRegion: .memoryRegion(TestFrontend.region(guest: 1 << 30))
        case .log: .log(LogDescription(size: 4096, offset: 0))
        case .iotlb: .iotlb(IOTLBMessage(iova: 0, size: 4096, frontendAddress: 0, permissions: 3, kind: .update))
        case .config: .config(ConfigAccess(offset: 0, size: 8, bytes: [UInt8](repeating: 0, count: 8)))
        case .inflight: .inflight(InflightDescription(size: 4096, offset: 0, queueCount: 1, queueSize: 1))
        case .deviceState: .deviceState(DeviceStateTransfer(direction: 0, phase: 0))
        case .uuid: .uuid([UInt8](repeating: 1, count: 16))
        default: .opaque(request == .crosvmRestore ? freshSnapshot : [1, 2, 3])
        }
    }

    /// What a session that nothing was done with answers to SNAPSHOT, without the byte in front.
    static let freshSnapshot: [UInt8] = {
        let frontend = TestFrontend()
        frontend.negotiate()
        return Array(frontend.send(.crosvmSnapshot).first?.payload.dropFirst() ?? [])
    }()

    static func descriptors(_ request: FrontendRequest) throws -> [FileDescriptor] {
        let range = request.shape.descriptorCount
        let count = request.shape.payload == .vringDescriptor ? 1 : range.lowerBound
        return try (0..<count).map { _ in try EventFD().descriptor }
    }

    /// Messages that succeed in a fresh session with everything negotiated and one region of memory.
    static let served: Set<FrontendRequest> = [
        .getFeatures, .setFeatures, .setOwner, .resetOwner, .setMemoryTable, .setVringSize, .setVringAddress, .setVringBase, .getVringBase,
        .setVringKick, .setVringCall, .setVringError, .getProtocolFeatures, .setProtocolFeatures, .getQueueCount, .setVringEnable,
        .setBackendChannel, .getConfig, .setConfig, .resetDevice, .getMemorySlotCount, .addMemoryRegion, .setStatus, .getStatus,
        .getInflightDescriptor, .setInflightDescriptor, .vringKick, .getSharedMemoryConfig, .crosvmSleep, .crosvmWake,
        .crosvmSnapshot, .crosvmRestore, .crosvmGetSharedMemoryRegions,
        .getInflightDescriptor, .setInflightDescriptor, .setLogBase, .setLogDescriptor,
        .setDeviceStateDescriptor, .postcopyAdvise,
    ]

    @Test("With REPLY_ACK and need_reply every message is answered, once", arguments: FrontendRequest.allCases)
    func answered(request: FrontendRequest) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        let replies = frontend.send(request, Self.payload(request), try Self.descriptors(request), needReply: true)
        #expect(replies.count == 1)
        let reply = try #require(replies.first)
        #expect(reply.request == request.rawValue)
        #expect(reply.flags == [.version1, .reply])
        #expect(frontend.closure == nil)
        if Self.served.contains(request) {
            if case .always(let kind) = request.shape.answer {
                #expect(throws: Never.self) { try reply.decode(kind) }
            } else {
                #expect(TestFrontend.u64(replies) == 0)
            }
        } else if [.removeMemoryRegion, .checkDeviceState, .postcopyListen, .postcopyEnd].contains(request) {
            #expect(TestFrontend.u64(replies) == Refusal.Code.invalidValue.rawValue)
        } else {
            let code = try #require(TestFrontend.u64(replies).flatMap(Refusal.Code.init))
            #expect(code == .unsupported || code == .notNegotiated)
        }
        // The session is as good as before.
        #expect(frontend.session.isReady)
        #expect(TestFrontend.u64(frontend.send(.getFeatures)) != nil)
    }

    @Test("Without need_reply only messages with an answer of their own are answered", arguments: FrontendRequest.allCases)
    func silent(request: FrontendRequest) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        let replies = frontend.send(request, Self.payload(request), try Self.descriptors(request))
        // CHECK_DEVICE_STATE without a transfer and POSTCOPY_END without a beginning are refused, and a front-end waits for that too.
        let answersItself =
            request.shape.answer != .onRequest && Self.served.contains(request) || [.checkDeviceState, .postcopyEnd].contains(request)
        #expect(replies.count == (answersItself ? 1 : 0))
        #expect(frontend.closure == nil)
        #expect(frontend.notices.count == (Self.served.contains(request) ? 0 : 1))
    }

    @Test("Without REPLY_ACK need_reply means nothing", arguments: FrontendRequest.allCases)
    func notNegotiated(request: FrontendRequest) throws {
        let frontend = TestFrontend()
        let replies = frontend.send(request, Self.payload(request), try Self.descriptors(request), needReply: true)
        let always: Set<FrontendRequest> = [
            .getFeatures, .getProtocolFeatures, .getVringBase, .getQueueCount, .crosvmSleep, .crosvmWake, .crosvmGetSharedMemoryRegions,
            .crosvmSnapshot, .crosvmRestore, .postcopyAdvise, .postcopyEnd,
        ]
        // SET_PROTOCOL_FEATURES above sets REPLY_ACK, and asks for its own answer with it.
        #expect(replies.count == (always.contains(request) || request == .setProtocolFeatures ? 1 : 0))
        #expect(frontend.closure == nil)
    }

    @Test("A message whose feature was not negotiated is refused by that name", arguments: FrontendRequest.allCases)
    func gates(request: FrontendRequest) throws {
        let frontend = TestFrontend()
        frontend.device.offeredProtocolFeatures = [.replyAck]
        frontend.negotiate()
        let answer = frontend.ask(request, Self.payload(request), try Self.descriptors(request))
        if request.shape.gate == .always {
            #expect(answer != Refusal.Code.notNegotiated.rawValue)
        } else {
            #expect(answer == Refusal.Code.notNegotiated.rawValue)
        }
    }

    /// Config messages have no length of their own, nor has RESTORE: `ConfigTests` and `CrosvmTests` have theirs.
    static let fixedLength = FrontendRequest.allCases.filter { served.contains($0) && ![.config, .opaque].contains($0.shape.payload) }

    @Test("A payload one byte short or long is refused and changes nothing", arguments: fixedLength)
    func lengths(request: FrontendRequest) throws {
        for change in [-1, 1] {
            let frontend = TestFrontend()
            frontend.negotiate()
            try frontend.setMemory()
            frontend.device.calls = []
            var message = Message(request, Self.payload(request), descriptors: try Self.descriptors(request), needReply: true)
            if change < 0 {
                if message.payload.isEmpty { continue }
                message.payload.removeLast()
            } else {
                message.payload.append(0)
            }
            frontend.session.receive(message)
            #expect(TestFrontend.code(frontend.takeReplies()) == Refusal.Code.malformed.rawValue)
            #expect(frontend.device.calls.isEmpty)
        }
    }

    @Test("One descriptor too many or too few is refused", arguments: FrontendRequest.allCases.filter(served.contains))
    func descriptorCounts(request: FrontendRequest) throws {
        let range = request.shape.descriptorCount
        for count in [range.lowerBound - 1, range.upperBound + 1] where count >= 0 {
            let frontend = TestFrontend()
            frontend.negotiate()
            let descriptors = try (0..<count).map { _ in try EventFD().descriptor }
            let replies = frontend.send(request, Self.payload(request), descriptors, needReply: true)
            #expect(TestFrontend.code(replies) == Refusal.Code.descriptors.rawValue)
        }
        // What the connection had to drop counts as too many.
        let frontend = TestFrontend()
        frontend.negotiate()
        var message = Message(request, Self.payload(request), descriptors: try Self.descriptors(request), needReply: true)
        message.lostDescriptors = true
        frontend.session.receive(message)
        #expect(TestFrontend.code(frontend.takeReplies()) == Refusal.Code.descriptors.rawValue)
    }

    @Test("Unknown messages are refused and the stream goes on")
    func unknown() {
        let frontend = TestFrontend()
        frontend.negotiate()
        for identifier: UInt32 in [0, 45, 999, 1005, .max] {
            for needReply in [false, true] {
                _ = frontend.takeOutputs()
                frontend.session.receive(
                    Message(request: identifier, flags: needReply ? [.version1, .needReply] : .version1, payload: [1, 2, 3]))
                #expect(TestFrontend.u64(frontend.takeReplies()) == (needReply ? Refusal.Code.unsupported.rawValue : nil))
                #expect(frontend.session.isReady)
            }
        }
    }

    @Test("A refused message is logged once, however often it comes, and all of them a bounded number of times")
    func noticesAreBounded() {
        var limits = SessionLimits()
        limits.noticeCountMax = 10
        let frontend = TestFrontend(limits: limits)
        for _ in 0..<3 {
            for identifier: UInt32 in 100..<200 { frontend.session.receive(Message(request: identifier, flags: .version1, payload: [])) }
        }
        #expect(frontend.notices.count == 11)
        #expect(frontend.notices.first?.description == "message 100 refused: no such message")
        #expect(frontend.notices.last?.description == "further warnings about this front-end are left out")
    }

    @Test func features() {
        let frontend = TestFrontend()
        #expect(TestFrontend.u64(frontend.send(.getFeatures)) == frontend.device.offeredFeatures.union(.protocolFeatures).rawValue)
        #expect(
            TestFrontend.u64(frontend.send(.getProtocolFeatures)) == Session.servedProtocolFeatures.rawValue, "the device offers all bits")
        #expect(TestFrontend.u64(frontend.send(.getQueueCount)) == 4)
        frontend.negotiate()
        #expect(frontend.device.calls == [.features(.version1)])
        #expect(frontend.session.features == .version1)
        #expect(TestFrontend.u64(frontend.send(.getMemorySlotCount)) == 509)
        // The same again is no change.
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
        #expect(frontend.device.calls.count == 1)
    }

    @Test("Bits that were not offered are refused and what was negotiated stays")
    func unknownBits() {
        let frontend = TestFrontend()
        frontend.negotiate([.replyAck, .multiQueue])
        #expect(frontend.ask(.setProtocolFeatures, .u64(1 << 40)) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.session.protocolFeatures == [.replyAck, .multiQueue])
        #expect(frontend.ask(.setFeatures, .u64(1 << 33)) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.session.features == .version1)
    }

    @Test("SET_OWNER twice is as good as once, and messages before it are handled")
    func owner() throws {
        let frontend = TestFrontend()
        try frontend.setMemory()
        frontend.describeRing(0)
        #expect(frontend.session.status.rings[0].size == 256)
        #expect(!frontend.session.isOwned)
        frontend.send(.setProtocolFeatures, .u64(ProtocolFeatures.replyAck.rawValue))
        #expect(frontend.ask(.setOwner) == 0)
        #expect(frontend.ask(.setOwner) == 0)
        #expect(frontend.session.isOwned)
    }
}
