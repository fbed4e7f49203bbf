import LinuxSystem
import Testing
import VhostUser

/// A session with its sockets, pumped by hand, and a front-end's connection to it.
final class TestServer {
    let device: TestDevice
    let front: MessageConnection
    private(set) var connection: SessionConnection!
    private(set) var events: [SessionConnection.Event] = []

    init(device: TestDevice = TestDevice(), host: any SessionHost = TestHost(), closing: ClosingQueue? = nil) throws {
        let (here, there) = try UnixSocket.pair()
        self.device = device
        front = MessageConnection(there, receiving: .replies)
        connection = SessionConnection(here, device: device, host: host, closing: closing) { [unowned self] in events.append($0) }
    }

    func pump(hungUp: Bool = false) { connection.mainSocketIsReady(canRead: true, canWrite: true, isHungUp: hungUp) }

    var interests: [(Bool, Bool)] {
        events.compactMap { if case .interest(let read, let write) = $0 { (read, write) } else { nil } }
    }
    var closure: StreamError? {
        events.lazy.compactMap { if case .closed(let error) = $0 { error } else { nil } }.first
    }

    /// Gives the back-end a channel, and answers the front-end's end of it.
    func openBackendChannel() throws -> FileDescriptor {
        let (theirs, ours) = try UnixSocket.pair()
        try front.send(Message(.setBackendChannel, descriptors: [theirs]))
        pump()
        return ours
    }

    func negotiate() throws {
        try front.send(Message(.setProtocolFeatures, .u64(Session.servedProtocolFeatures.subtracting(.guestPhysicalAddresses).rawValue)))
        try front.send(Message(.setFeatures, .u64(1 << 30 | 1 << 32)))
        pump()
    }

    /// Events hold descriptors.
    func forgetEvents() { events = [] }

    func startRing(memory: FileDescriptor? = nil) throws {
        let event = try EventFD().descriptor
        try front.send(Message(.setMemoryTable, .memoryTable([TestFrontend.region()]), descriptors: [memory ?? event]))
        try front.send(Message(.setVringSize, .vringState(VringState(index: 0, number: 256))))
        try front.send(Message(.setVringAddress, .vringAddress(TestFrontend.address(0))))
        try front.send(Message(.setVringKick, .u64(0), descriptors: [event]))
        try front.send(Message(.setVringEnable, .vringState(VringState(index: 0, number: 1))))
        pump()
        #expect(device.configurations[0] != nil)
    }
}
