import LinuxSystem
import Testing
import VhostUser

/// SET_BACKEND_REQ_FD and CONFIG_CHANGE_MSG.
@Suite struct BackendChannelTests {
    private func requests(_ frontend: TestFrontend) -> [Message] {
        frontend.takeOutputs().compactMap { if case .backendRequest(let message) = $0 { message } else { nil } }
    }

    private func openChannel(_ frontend: TestFrontend) throws {
        let socket = try EventFD().descriptor
        #expect(frontend.ask(.setBackendChannel, .none, [socket]) == 0)
        let sockets = frontend.outputs.compactMap { if case .backendChannel(let socket) = $0 { socket } else { nil } }
        #expect(sockets.count == 1 && sockets.first === socket)
        #expect(frontend.session.status.hasBackendChannel)
    }

    @Test("A config change is told once, with need_reply")
    func configChange() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        frontend.session.configDidChange()
        let sent = requests(frontend)
        #expect(sent.map(\.request) == [BackendRequest.configChange.rawValue])
        #expect(sent.first?.flags == [.version1, .needReply])
        #expect(sent.first?.payload == [])
    }

    @Test("Without REPLY_ACK no answer is asked for")
    func withoutReplyAck() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        frontend.negotiate([.backendChannel, .config])
        for _ in 0..<20 {
            _ = frontend.takeOutputs()
            frontend.session.configDidChange()
            #expect(requests(frontend).map(\.flags) == [.version1])
        }
    }

    @Test("A change is not told while no ring runs, nor without channel or feature, but as soon as all is there")
    func deferred() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        try openChannel(frontend)
        frontend.session.configDidChange()
        #expect(requests(frontend).isEmpty, "a suspended device sends nothing")
        try frontend.setKick(0)
        frontend.send(.setVringEnable, .vringState(VringState(index: 0, number: 1)))
        #expect(requests(frontend).count == 1)
        frontend.session.backendChannelDidClose()
        #expect(!frontend.session.status.hasBackendChannel)
        frontend.session.configDidChange()
        #expect(requests(frontend).isEmpty)
        frontend.send(.setBackendChannel, .none, [try EventFD().descriptor])
        #expect(requests(frontend).count == 1)
        frontend.send(.setProtocolFeatures, .u64(ProtocolFeatures.replyAck.rawValue))
        frontend.session.configDidChange()
        #expect(requests(frontend).isEmpty)
    }

    @Test("A front-end that does not answer is not sent more than the limit; the last change is told when it does")
    func unanswered() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        _ = frontend.takeOutputs()
        for _ in 0..<100 { frontend.session.configDidChange() }
        let sent = requests(frontend)
        #expect(sent.count == frontend.session.limits.unansweredRequestCountMax)
        frontend.session.receiveOnBackendChannel(sent[0].reply(.u64(0)))
        #expect(requests(frontend).count == 1)
        frontend.session.receiveOnBackendChannel(sent[0].reply(.u64(0)))
        #expect(requests(frontend).isEmpty)
    }

    @Test("An answer that is an error is told; one that nobody asked for is ignored")
    func answers() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        _ = frontend.takeOutputs()
        let stray = Message(.configChange).reply(.u64(5))
        frontend.session.receiveOnBackendChannel(stray)
        frontend.session.receiveOnBackendChannel(Message(request: 77, flags: [.version1, .reply], payload: []))
        #expect(frontend.outputs.isEmpty)
        frontend.session.configDidChange()
        frontend.session.receiveOnBackendChannel(stray)
        #expect(frontend.notices.map(\.description) == ["the front-end answered CONFIG_CHANGE_MSG with 5"])
    }

    @Test("Another socket takes the place of the first, and its answers are not waited for")
    func replaced() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        for _ in 0..<20 { frontend.session.configDidChange() }
        try openChannel(frontend)
        _ = frontend.takeOutputs()
        frontend.session.configDidChange()
        #expect(requests(frontend).count == 1)
    }

    @Test("After the stream was given up nothing is sent, although rings still run")
    func silentAfterClose() throws {
        let frontend = try TestFrontend.running()
        try openChannel(frontend)
        frontend.device.holds = true
        frontend.send(.setVringEnable, .vringState(VringState(index: 3, number: 0)))
        try frontend.setCall(0)
        while frontend.closure == nil { frontend.send(.getFeatures) }
        _ = frontend.takeOutputs()
        frontend.session.configDidChange()
        frontend.device.release()
        frontend.session.receive(Message(.getFeatures))
        #expect(frontend.outputs.isEmpty)
        #expect(frontend.session.status.rings[0].isRunning)
    }
}
