import BlockExport
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend

/// Descriptors of a front-end's whose close(2) waits hold up that front-end at most. One test after the other: without what they test each
/// of them would wait for the others' descriptors as well.
@Suite(.serialized) struct ClosingTests {
    /// Two exports of one process, of which the good one has a front-end.
    private struct Pair {
        let bad: ServedExport
        let good: ServedExport
        let neighbour: BlockDriver

        init() async throws {
            bad = try await ServedExport.start()
            good = try await ServedExport.start(beside: bad)
            neighbour = try BlockDriver(
                path: good.path, options: BlockDriver.options(isPacked: false) { $0.patienceNanoseconds = 60_000_000_000 })
        }

        /// The longest that the control thread takes to answer the neighbour, for a while.
        func slowestAnswer() throws -> UInt64 {
            let end = MonotonicClock.now() + 400_000_000
            var slowest: UInt64 = 0
            while MonotonicClock.now() < end {
                let before = MonotonicClock.now()
                _ = try neighbour.connection.readConfig(size: 60)
                slowest = max(slowest, MonotonicClock.now() - before)
            }
            return slowest
        }

        func stop() async throws {
            neighbour.close()
            try await good.stopExport()
            try await bad.stop()
        }
    }

    /// The descriptors wait for 20 s; a busy machine adds a good deal to nothing.
    private static let slowestAllowed: UInt64 = 8_000_000_000

    /// Messages that bring a descriptor, and what becomes of it.
    enum Way: CaseIterable, Sendable {
        case kickRefused, errorRefused, memoryRefused, logRefused, inflightRefused, strayRefused, mostOfThem
        case backendChannelKept, stateChannelKept
        case leftUnread, ofTheFrontendTurnedAway

        var message: Message {
            switch self {
            case .kickRefused, .leftUnread, .ofTheFrontendTurnedAway, .mostOfThem: Message(.setVringKick, .u64(0))
            case .errorRefused: Message(.setVringError, .u64(0))
            case .memoryRefused:
                Message(
                    .setMemoryTable,
                    .memoryTable([MemoryRegionDescription(guestAddress: 0, size: 4096, frontendAddress: 0, mapOffset: 0)]))
            case .logRefused: Message(.setLogBase, .log(LogDescription(size: 4096, offset: 0)))
            case .inflightRefused:
                Message(.setInflightDescriptor, .inflight(InflightDescription(size: 4096, offset: 0, queueCount: 1, queueSize: 64)))
            case .strayRefused: Message(.setOwner)
            case .backendChannelKept: Message(.setBackendChannel)
            case .stateChannelKept: Message(.setDeviceStateDescriptor, .deviceState(DeviceStateTransfer(direction: 1, phase: 0)))
            }
        }
    }

    @Test(arguments: Way.allCases)
    func aDescriptorThatLingersHoldsUpNobody(way: Way) async throws {
        let pair = try await Pair()
        var first: FileDescriptor?
        if way == .ofTheFrontendTurnedAway {
            first = try UnixSocket.connect(path: pair.bad.path)
            #expect(pair.bad.waitFor { if case .connected = $0 { true } else { false } })
        }
        let lingering = try LingeringSocket()
        if way == .ofTheFrontendTurnedAway {
            try await Self.connectAndSend(path: pair.bad.path, lingering)
            #expect(pair.bad.waitFor { if case .refusedSecondFrontend = $0 { true } else { false } })
        }
        let socket = try UnixSocket.connect(path: pair.bad.path)
        let front = MessageConnection(socket, receiving: .replies)
        if way != .ofTheFrontendTurnedAway {
            try front.send(
                Message(.setProtocolFeatures, .u64(Session.servedProtocolFeatures.subtracting(.guestPhysicalAddresses).rawValue)))
        }
        if way == .leftUnread {
            var spoilt = Message(.getFeatures).encoded
            spoilt[4] = 2  // a version that ends the session
            _ = try unsafe spoilt.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        }
        // Of a session that ended already nothing more can be sent, which is as good.
        try? lingering.send(with: way.message.encoded, copies: way == .mostOfThem ? 253 : 1, over: socket)
        let slowest = try pair.slowestAnswer()
        #expect(slowest < Self.slowestAllowed, "\(slowest / 1_000_000) ms while the message is read")
        UnixSocket.shutdown(socket)
        first.map(UnixSocket.shutdown)
        let after = try pair.slowestAnswer()
        #expect(after < Self.slowestAllowed, "\(after / 1_000_000) ms while the session ends")
        let next = try BlockDriver(path: pair.bad.path, options: BlockDriver.options(isPacked: false))
        #expect(try #require(next.request(.read, length: 512)).status == .ok, "the next front-end is served meanwhile")
        next.close()
        lingering.release()
        try await pair.stop()
    }

    /// On the control thread, so that it cannot turn the connection away before there is something in it.
    @ControlActor
    private static func connectAndSend(path: String, _ lingering: LingeringSocket) throws {
        try lingering.send(with: Message(.setOwner).encoded, over: try UnixSocket.connect(path: path))
    }

    /// Each byte of a message may bring as many descriptors as one can.
    @Test func insideAMessageNoMoreAreTakenThanMayWait() throws {
        let closing = ClosingQueue()
        let (ours, theirs) = try UnixSocket.pair()
        let connection = MessageConnection(theirs, receiving: .requests, closing: closing)
        let lingering = try LingeringSocket()
        try lingering.send(with: Message(.setOwner).encoded, over: ours)
        #expect(try connection.receive() != nil)
        let event = try EventFD().descriptor
        let batch = Array(repeating: event.rawValue, count: 200)
        for byte in Message(.setOwner).encoded {
            let sent = try unsafe [byte].withUnsafeBytes { try unsafe UnixSocket.send(ours, $0, descriptors: batch) }
            #expect(sent == 1)
        }
        #expect(try connection.receive() == nil)
        #expect(closing.isFull && closing.count < ClosingQueue.countMax + 200)
        lingering.release()
        for _ in 0..<1000 where closing.count > 0 { pause(milliseconds: 10) }
        #expect(try connection.receive()?.lostDescriptors == true, "the rest when there is room")
    }

    @Test func whoseDescriptorsPileUpIsReadNoMore() async throws {
        let pair = try await Pair()
        let socket = try UnixSocket.connect(path: pair.bad.path)
        let front = MessageConnection(socket, receiving: .replies)
        try front.send(Message(.setProtocolFeatures, .u64(ProtocolFeatures.replyAck.rawValue)))
        let lingering = try LingeringSocket()
        try lingering.send(with: Message(.setVringKick, .u64(0), needReply: true).encoded, over: socket)
        let event = try EventFD().descriptor
        let message = Message(.setOwner, descriptors: Array(repeating: event, count: 8), needReply: true)
        let enough = ClosingQueue.countMax / 8
        var sent = 0
        var answered = -1  // the first one is that of the descriptor that lingers
        func exchange(_ count: Int, milliseconds: UInt64) throws {
            let end = MonotonicClock.now() + milliseconds * 1_000_000
            while MonotonicClock.now() < end, answered < count {
                if sent < count {
                    try front.send(message)
                    sent += 1
                }
                while try front.receive() != nil { answered += 1 }
                if sent == count { pause(milliseconds: 1) }
            }
        }
        try exchange(enough + 20, milliseconds: 3000)
        #expect(answered >= enough - 1 && answered <= enough, "\(answered) of \(sent) messages with 8 descriptors were read")
        #expect(try pair.slowestAnswer() < Self.slowestAllowed)
        lingering.release()
        try exchange(enough + 20, milliseconds: 20_000)
        #expect(answered == enough + 20, "and the rest when the descriptor is closed")
        UnixSocket.shutdown(socket)
        try await pair.stop()
    }
}
