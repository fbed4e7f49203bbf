import LinuxSystem
import Testing
import VhostUser
import Virtio

/// INBAND_NOTIFICATIONS: VRING_KICK, VRING_CALL and VRING_ERR; GPA_ADDRESSES, SHMEM.
@Suite struct InbandTests {
    /// Ring 0 is described and enabled; nothing has started it.
    private func described(_ protocolFeatures: ProtocolFeatures? = nil) throws -> TestFrontend {
        let frontend = TestFrontend()
        frontend.negotiate(protocolFeatures)
        try frontend.setMemory()
        frontend.describeRing(0)
        frontend.enable(0)
        frontend.send(.setBackendChannel, .none, [try EventFD().descriptor])
        return frontend
    }

    private func kick(_ frontend: TestFrontend, _ index: UInt32 = 0, number: UInt32 = 0) -> UInt64? {
        frontend.ask(.vringKick, .vringState(VringState(index: index, number: number)))
    }

    private func requests(_ frontend: TestFrontend) -> [Message] {
        frontend.takeOutputs().compactMap { if case .backendRequest(let message) = $0 { message } else { nil } }
    }

    @Test("The first VRING_KICK starts a ring that sleeps between kicks; later ones have it looked at")
    func kicks() throws {
        let frontend = try described()
        #expect(!frontend.session.status.rings[0].isStarted)
        #expect(kick(frontend) == 0)
        let ring = try #require(frontend.device.configurations[0])
        #expect(!ring.isPolled && ring.kick != nil)
        #expect(kick(frontend) == 0)
        #expect(frontend.device.calls.suffix(2) == [.start(0), .kicked(0)])
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        #expect(!frontend.session.status.rings[0].isStarted)
        #expect(kick(frontend) == 0)
        #expect(frontend.session.status.rings[0].isRunning, "a kick after GET_VRING_BASE starts it again")
    }

    @Test("A kick before the ring is enabled is not lost; a descriptor or polling that was set stays in force")
    func kickOrder() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        #expect(kick(frontend) == 0)
        #expect(frontend.session.status.rings[0].isStarted && !frontend.session.status.rings[0].isRunning)
        frontend.enable(0)
        #expect(frontend.session.status.rings[0].isRunning)
        frontend.describeRing(1)
        #expect(frontend.ask(.setVringKick, .vringDescriptor(.init(index: 1, hasDescriptor: false))) == 0)
        #expect(kick(frontend, 1) == 0)
        frontend.enable(1)
        #expect(frontend.device.configurations[1]?.isPolled == true)
    }

    @Test("VRING_KICK for a ring there is not, with a number, or without the feature is refused")
    func refusedKicks() throws {
        let frontend = try described()
        #expect(kick(frontend, 4) == Refusal.Code.queueIndex.rawValue)
        #expect(kick(frontend, .max) == Refusal.Code.queueIndex.rawValue)
        #expect(kick(frontend, 0, number: 1) == Refusal.Code.invalidValue.rawValue)
        let without = try described([.replyAck, .backendChannel])
        #expect(kick(without) == Refusal.Code.notNegotiated.rawValue)
        #expect(!without.session.status.rings[0].isStarted)
    }

    @Test("A ring without SET_VRING_CALL signals a descriptor of the session's, and the front-end gets VRING_CALL")
    func calls() throws {
        let frontend = try described()
        _ = kick(frontend)
        let call = try #require(frontend.device.configurations[0]?.call)
        let watched = frontend.outputs.compactMap { if case .inbandCall(0, let descriptor) = $0 { descriptor } else { nil } }
        #expect(watched.count == 1 && watched.first === call)
        _ = frontend.takeOutputs()
        frontend.session.callWasSignalled(0)
        #expect(requests(frontend).isEmpty, "nothing was signalled")
        EventFD(adopting: call).signal()
        EventFD(adopting: call).signal()
        frontend.session.callWasSignalled(0)
        let sent = requests(frontend)
        #expect(sent.map(\.request) == [BackendRequest.vringCall.rawValue])
        #expect(try sent[0].decode(.vringState) == .vringState(VringState(index: 0, number: 0)))
        #expect(sent[0].flags == [.version1, .needReply])
        frontend.session.callWasSignalled(7)
        #expect(requests(frontend).isEmpty)
    }

    @Test("A front-end that does not answer its calls is told of the last one when it does")
    func unansweredCalls() throws {
        let frontend = try described()
        _ = kick(frontend)
        let call = EventFD(adopting: try #require(frontend.device.configurations[0]?.call))
        var sent: [Message] = []
        for _ in 0..<100 {
            call.signal()
            frontend.session.callWasSignalled(0)
            sent += requests(frontend)
        }
        #expect(sent.count == frontend.session.limits.unansweredRequestCountMax)
        frontend.session.receiveOnBackendChannel(sent[0].reply(.u64(0)))
        #expect(requests(frontend).count == 1)
        frontend.session.receiveOnBackendChannel(sent[0].reply(.u64(0)))
        #expect(requests(frontend).isEmpty, "no further one is due")
    }

    @Test("What was used last is told before GET_VRING_BASE is answered")
    func lastCall() throws {
        let frontend = try described()
        _ = kick(frontend)
        EventFD(adopting: try #require(frontend.device.configurations[0]?.call)).signal()
        _ = frontend.takeOutputs()
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        let kinds = frontend.outputs.map { output -> String in
            switch output {
            case .backendRequest(let message): BackendRequest(rawValue: message.request)?.name ?? "?"
            case .reply: "reply"
            default: "other"
            }
        }
        #expect(kinds == ["VRING_CALL", "reply"])
    }

    @Test("SET_VRING_CALL, with a descriptor or to say that the driver polls, is preferred", arguments: [true, false])
    func preferredCall(hasDescriptor: Bool) throws {
        let frontend = try described()
        let own = try EventFD().descriptor
        frontend.send(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: hasDescriptor)), hasDescriptor ? [own] : [])
        _ = kick(frontend)
        #expect(frontend.device.configurations[0]?.call === (hasDescriptor ? own : nil))
        #expect(!frontend.outputs.contains { if case .inbandCall = $0 { true } else { false } })
    }

    @Test("A ring that breaks is told with VRING_ERR where there is no descriptor for it", arguments: [true, false])
    func errors(hasDescriptor: Bool) throws {
        let frontend = try described()
        if hasDescriptor {
            frontend.send(.setVringError, .vringDescriptor(.init(index: 0, hasDescriptor: true)), [try EventFD().descriptor])
        }
        _ = kick(frontend)
        _ = frontend.takeOutputs()
        frontend.session.ringDidBreak(0, reason: "test")
        #expect(requests(frontend).map(\.request) == (hasDescriptor ? [] : [BackendRequest.vringError.rawValue]))
    }

    @Test("With GPA_ADDRESSES ring addresses are guest-physical")
    func guestAddresses() throws {
        for isGuestPhysical in [true, false] {
            let frontend = TestFrontend()
            frontend.negotiate(isGuestPhysical ? [.replyAck, .guestPhysicalAddresses] : [.replyAck])
            try frontend.setMemory([TestFrontend.region(guest: 1 << 32)])
            frontend.send(.setVringSize, .vringState(VringState(index: 0, number: 256)))
            let base: UInt64 = isGuestPhysical ? 1 << 32 : TestFrontend.frontendBase
            let address = VringAddress(index: 0, flags: 0, descriptor: base, used: base + 0x8000, available: base + 0x4000, log: 0)
            #expect(frontend.ask(.setVringAddress, .vringAddress(address)) == 0)
            try frontend.setKick(0)
            #expect(frontend.enable(0) == 0)
            let ring = try #require(frontend.device.configurations[0])
            let memory = try #require(ring.memory.regions.first)
            #expect(unsafe ring.addresses.driver == memory.hostBase + 0x4000)
        }
    }

    @Test("With GPA_ADDRESSES the front-end's own addresses mean nothing")
    func foreignAddresses() throws {
        let frontend = TestFrontend()
        frontend.negotiate([.replyAck, .guestPhysicalAddresses])
        try frontend.setMemory()
        frontend.describeRing(0)
        try frontend.setKick(0)
        #expect(frontend.enable(0) == Refusal.Code.memory.rawValue)
    }

    @Test("GET_SHMEM_CONFIG tells of no region")
    func sharedMemory() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        let replies = frontend.send(.getSharedMemoryConfig)
        #expect(try #require(replies.first).decode(.sharedMemoryConfig) == .sharedMemoryConfig(SharedMemoryConfig(sizes: [])))
    }
}
