import LinuxSystem
import Testing
import VhostUser
import Virtio

/// A session with its sockets, pumped by hand.
@Suite struct SessionConnectionTests {
    @Test("Requests are answered over the socket")
    func answers() throws {
        let server = try TestServer()
        try server.front.send(Message(.getFeatures))
        try server.front.send(Message(.getQueueCount))
        server.pump()
        #expect(try server.front.receive()?.decode(.u64) == .u64(server.device.offeredFeatures.union(.protocolFeatures).rawValue))
        #expect(try server.front.receive()?.decode(.u64) == .u64(4))
        #expect(server.events.isEmpty)
        #expect(server.connection.socket.rawValue >= 0)
    }

    @Test("A flood is handled in bursts, so that others get their turn")
    func bursts() throws {
        let server = try TestServer()
        for _ in 0..<100 { try server.front.send(Message(.getQueueCount)) }
        var answered: [Int] = []
        for _ in 0..<4 {
            server.pump()
            var count = 0
            while try server.front.receive() != nil { count += 1 }
            answered.append(count)
        }
        #expect(answered == [32, 32, 32, 4])
    }

    @Test("While an answer is pending nothing is read, and the end is noticed all the same")
    func pending() throws {
        let server = try TestServer()
        try server.negotiate()
        try server.startRing()
        server.device.holds = true
        try server.front.send(Message(.getVringBase, .vringState(VringState(index: 0, number: 0))))
        try server.front.send(Message(.getQueueCount))
        server.pump()
        #expect(try server.front.receive() == nil)
        #expect(server.interests.map(\.0) == [false])
        server.pump()
        #expect(server.interests.count == 1)
        server.device.release()
        #expect(server.interests.map(\.0) == [false, true])
        server.pump()
        #expect(try server.front.receive()?.request == FrontendRequest.getVringBase.rawValue)
        #expect(try server.front.receive()?.request == FrontendRequest.getQueueCount.rawValue)

        try server.startRing()
        try server.front.send(Message(.getVringBase, .vringState(VringState(index: 0, number: 0))))
        server.pump()
        UnixSocket.shutdown(server.front.socket)
        server.pump(hungUp: true)
        #expect(server.closure == .closed(insideMessage: false))
        var isDone = false
        server.connection.disconnect { isDone = true }
        #expect(!isDone)
        server.device.release()
        #expect(isDone)
    }

    @Test("However many messages come while an answer is pending, they stay in the socket")
    func floodWhilePending() throws {
        let server = try TestServer()
        try server.negotiate()
        try server.startRing()
        server.device.holds = true
        try server.front.send(Message(.getVringBase, .vringState(VringState(index: 0, number: 0))))
        for _ in 0..<50 { try server.front.send(Message(.getQueueCount)) }
        for _ in 0..<5 { server.pump() }
        #expect(server.closure == nil)
        server.device.release()
        for _ in 0..<5 { server.pump() }
        var answers = 0
        while try server.front.receive() != nil { answers += 1 }
        #expect(answers == 51)
    }

    @Test("Messages sent before the end are handled before it")
    func lastWords() throws {
        let server = try TestServer()
        try server.front.send(Message(.setOwner))
        UnixSocket.shutdown(server.front.socket)
        server.pump(hungUp: true)
        #expect(server.connection.session.isOwned)
        #expect(server.closure == .closed(insideMessage: false))
        server.pump()
        #expect(server.events.count == 1, "it ends once")
    }

    @Test("A front-end that does not read its answers is not read either, and goes on when it does")
    func backpressure() throws {
        let server = try TestServer()
        try server.negotiate()
        let question = Message(.getConfig, .config(ConfigAccess(offset: 0, size: 60, bytes: [])))
        var sent = 0
        var rounds = 0
        while server.interests.isEmpty, rounds < 100_000 {
            while !server.front.hasOutgoing {
                try server.front.send(question)
                sent += 1
            }
            server.pump()
            try server.front.flush()
            rounds += 1
        }
        #expect(server.interests.count == 1)
        #expect(server.interests.first.map { !$0.0 && $0.1 } == true, "no reading, but waiting to write")
        var received = 0
        while received < sent {
            let before = received
            while try server.front.receive() != nil { received += 1 }
            server.pump()
            try server.front.flush()
            if received == before, server.closure != nil { break }
        }
        #expect(received == sent)
        #expect(server.interests.last.map { $0.0 && !$0.1 } == true)
        #expect(server.closure == nil)
    }

    @Test("A stream that cannot be trusted is closed")
    func untrusted() throws {
        let server = try TestServer()
        #expect(try rawSend(server.front.socket, [UInt8](repeating: 0xff, count: 12), []) == 12)
        server.pump()
        #expect(server.closure == .version(3))
    }

    @Test("The back-end channel: requests go out, answers come in, its end is survived")
    func backendChannel() throws {
        let server = try TestServer()
        try server.negotiate()
        try server.startRing()
        let ours = try server.openBackendChannel()
        let channel = MessageConnection(ours, receiving: .requests)
        server.connection.session.configDidChange()
        let request = try #require(try channel.receive())
        #expect(request.request == BackendRequest.configChange.rawValue && request.needsReply)
        try channel.send(request.reply(.u64(1)))
        server.connection.backendSocketIsReady(canRead: true, canWrite: true)
        let notices = server.events.compactMap { if case .notice(let notice) = $0 { notice.description } else { nil } }
        #expect(notices == ["the front-end answered CONFIG_CHANGE_MSG with 1"])
        UnixSocket.shutdown(ours)
        server.connection.backendSocketIsReady(canRead: true, canWrite: true)
        #expect(server.closure == nil)
        guard case .backendSocket(nil)? = server.events.last else {
            Issue.record("the watch on the channel is not ended: \(server.events)")
            return
        }
        server.connection.session.configDidChange()
        try server.front.send(Message(.getQueueCount))
        server.pump()
        #expect(try server.front.receive() != nil)
    }

    @Test("A request on the back-end channel where answers belong ends the channel only")
    func requestOnBackendChannel() throws {
        let server = try TestServer()
        try server.negotiate()
        let ours = try server.openBackendChannel()
        #expect(try rawSend(ours, Message(.getFeatures).encoded, []) == 12)
        server.connection.backendSocketIsReady(canRead: true, canWrite: false)
        #expect(!server.connection.session.status.hasBackendChannel)
        #expect(server.closure == nil)
    }

    @Test("A descriptor on the back-end channel, which no answer has, ends the channel only", arguments: [12, 1])
    func descriptorsOnBackendChannel(byteCount: Int) throws {
        let server = try TestServer()
        try server.negotiate()
        try server.startRing()
        let ours = try server.openBackendChannel()
        let answer = Message(.configChange).reply(.u64(0)).encoded
        #expect(try rawSend(ours, Array(answer.prefix(byteCount)), [ours]) == byteCount)
        server.connection.backendSocketIsReady(canRead: true, canWrite: false)
        #expect(!server.connection.session.status.hasBackendChannel)
        #expect(server.closure == nil)
    }

    @Test("A channel whose other end is closed is noticed when something is sent")
    func sendOnClosedChannel() throws {
        let server = try TestServer()
        try server.negotiate()
        try server.startRing()
        let ours = try server.openBackendChannel()
        UnixSocket.shutdown(ours)
        server.connection.session.configDidChange()
        #expect(!server.connection.session.status.hasBackendChannel)
        #expect(server.closure == nil)
    }
}
