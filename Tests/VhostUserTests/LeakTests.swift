import Glibc
import LinuxSystem
import Testing
import VhostUser
import Virtio

/// What a front-end can make this process hold, counted over a hundred thousand messages of a kind. Each runs in a process of its own, in
/// which nobody else opens or maps anything.
@Suite struct LeakTests {
    static let messageCount = 100_000

    /// Descriptors that are open, mappings that exist, threads that run, and memory that is resident.
    struct Usage {
        var descriptorCount: Int
        var mappingCount: Int
        var residentPageCount: Int
        var threadCount: Int

        static func now() throws -> Usage {
            let pages = try text("/proc/self/statm").split(separator: " ")
            return Usage(
                descriptorCount: try entryCount("/proc/self/fd"), mappingCount: try text("/proc/self/maps").count { $0 == "\n" },
                residentPageCount: Int(pages[1])!, threadCount: try entryCount("/proc/self/task"))
        }

        private static func entryCount(_ path: String) throws -> Int {
            // The handle is opened, read and closed here.
            guard let folder = unsafe opendir(path) else { throw TestFailure() }
            var count = 0
            while unsafe readdir(folder) != nil { count += 1 }
            unsafe closedir(folder)
            return count
        }

        private static func text(_ path: String) throws -> String {
            let file = try FileDescriptor.open(path, flags: O_RDONLY)
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            var count = 0
            // The buffer lives for the call only, and the file writes no more than its size.
            while let got = try unsafe bytes[count...].withUnsafeMutableBytes({ try unsafe file.read(into: $0) }), got > 0 { count += got }
            return String(decoding: bytes.prefix(count), as: UTF8.self)
        }
    }

    /// Runs `body`, which sends so many messages of the kind that is tried, some times to warm up, then until `messageCount` have been sent,
    /// and compares. Allocators keep a little for themselves.
    static func expectFlat(messages: Int, closing: ClosingQueue? = nil, _ body: () throws -> Void) throws {
        for _ in 0..<500 { try body() }
        settle(closing)
        let before = try Usage.now()
        precondition(before.descriptorCount > 3 && before.mappingCount > 3 && before.residentPageCount > 100, "/proc can be read")
        for _ in 0..<(messageCount + messages - 1) / messages { try body() }
        settle(closing)
        let after = try Usage.now()
        precondition(after.descriptorCount == before.descriptorCount, "descriptors: \(before) became \(after)")
        precondition(after.threadCount <= before.threadCount, "threads: \(before) became \(after)")
        if isAddressSanitized { return }
        precondition(after.mappingCount <= before.mappingCount + 8, "mappings: \(before) became \(after)")
        precondition(after.residentPageCount <= before.residentPageCount + 1024, "pages: \(before) became \(after)")
    }

    /// The address sanitizer keeps what is freed for a while, to notice its use: memory and mappings say nothing then
    /// (sanitizers.sh).
    private static var isAddressSanitized: Bool { unsafe getenv("VHUBLK_TEST_SANITIZER").map { unsafe String(cString: $0) } == "address" }

    /// Descriptors that are closed on a thread of their own are closed soon.
    private static func settle(_ closing: ClosingQueue?) {
        for _ in 0..<10_000 where (closing?.count ?? 0) > 0 { usleep(1000) }
    }

    /// A server whose session has everything negotiated and the real host behind it.
    static func server(closing: ClosingQueue? = nil) throws -> TestServer {
        let server = try TestServer(host: LinuxSessionHost(), closing: closing)
        try server.negotiate()
        return server
    }

    static func deliver(_ server: TestServer, _ messages: [Message]) throws {
        for message in messages { try server.front.send(message) }
        server.pump()
        while try server.front.receive() != nil {}
        precondition(server.closure == nil, "the session goes on: \(String(describing: server.closure))")
    }

    @Test("Descriptors on messages that take none, too few, or too many are closed")
    func strayDescriptors() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            let event = try EventFD().descriptor
            let many = Array(repeating: event, count: 33)
            try LeakTests.expectFlat(messages: 8) {
                try LeakTests.deliver(
                    server,
                    [
                        Message(.getFeatures, descriptors: [event]), Message(.setOwner, descriptors: many),
                        Message(.setVringKick, .u64(0x100), descriptors: [event]), Message(.setVringCall, .u64(0), descriptors: many),
                        Message(.setMemoryTable, .memoryTable([]), descriptors: [event]), Message(.setBackendChannel, descriptors: [event]),
                        Message(.removeMemoryRegion, .memoryRegion(TestFrontend.region()), descriptors: [event]),
                    ])
                var unknown = Message(.getFeatures, descriptors: [event, event])
                unknown.request = 77
                try LeakTests.deliver(server, [unknown])
            }
        }
    }

    @Test("253 descriptors at once, the most the kernel passes")
    func mostDescriptors() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            let many = Array(repeating: try EventFD().descriptor, count: 253)
            // The descriptors are what counts here: 253 of them each time.
            try LeakTests.expectFlat(messages: 25) { try LeakTests.deliver(server, [Message(.setVringKick, .u64(0), descriptors: many)]) }
        }
    }

    @Test("The same where descriptors are closed on a thread of their own, and never many of them wait for it")
    func closedElsewhere() async {
        await #expect(processExitsWith: .success) {
            let closing = ClosingQueue()
            let server = try LeakTests.server(closing: closing)
            let event = try EventFD().descriptor
            let messages = [
                Message(.getFeatures, descriptors: [event, event]), Message(.setVringKick, .u64(1), descriptors: [event]),
                Message(.setOwner, descriptors: Array(repeating: event, count: 33)),
            ]
            try LeakTests.expectFlat(messages: 3, closing: closing) {
                for message in messages { try server.front.send(message) }
                // While the queue is full nothing is read.
                repeat { server.pump() } while closing.isFull
                while try server.front.receive() != nil {}
                precondition(closing.count < ClosingQueue.countMax + 64, "\(closing.count) descriptors wait to be closed")
                precondition(server.closure == nil, "the session goes on: \(String(describing: server.closure))")
                server.forgetEvents()
            }
        }
    }

    @Test("Kick, call and error descriptors replace one another")
    func vringDescriptors() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            try LeakTests.expectFlat(messages: 3) {
                let event = try EventFD().descriptor
                try LeakTests.deliver(
                    server,
                    [FrontendRequest.setVringKick, .setVringCall, .setVringError].map { Message($0, .u64(1), descriptors: [event]) })
            }
        }
    }

    @Test("SET_VRING_NUM, over and over")
    func ringSizes() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            let messages = (0..<32).map { Message(.setVringSize, .vringState(VringState(index: UInt32($0 % 4), number: 256))) }
            try LeakTests.expectFlat(messages: messages.count) { try LeakTests.deliver(server, messages) }
        }
    }

    @Test("Memory tables and regions come and go")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            let guest = try MemoryFile.create(name: "guest", size: 1 << 20)
            let second = TestFrontend.region(guest: 1 << 30, frontend: 1 << 30)
            try LeakTests.expectFlat(messages: 4) {
                try LeakTests.deliver(
                    server,
                    [
                        Message(.setMemoryTable, .memoryTable([TestFrontend.region()]), descriptors: [guest]),
                        Message(.addMemoryRegion, .memoryRegion(second), descriptors: [guest]),
                        Message(.addMemoryRegion, .memoryRegion(second), descriptors: [guest]),
                        Message(.removeMemoryRegion, .memoryRegion(second), descriptors: [guest]),
                    ])
            }
        }
    }

    @Test("Inflight regions are asked for and given")
    func inflight() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            let file = try MemoryFile.create(name: "region", size: 1 << 20)
            let description = InflightDescription(size: 1 << 20, offset: 0, queueCount: 4, queueSize: 256)
            try LeakTests.expectFlat(messages: 3) {
                try LeakTests.deliver(
                    server,
                    [
                        Message(.getInflightDescriptor, .inflight(description)),
                        Message(.setInflightDescriptor, .inflight(description), descriptors: [file]),
                        Message(.setInflightDescriptor, .inflight(description), descriptors: [file, file]),
                    ])
            }
        }
    }

    @Test("Back-end channels replace one another")
    func backendChannels() async {
        await #expect(processExitsWith: .success) {
            let server = try LeakTests.server()
            try LeakTests.expectFlat(messages: 5) {
                let (theirs, ours) = try UnixSocket.pair()
                try LeakTests.deliver(server, [Message(.setBackendChannel, descriptors: [theirs])])
                server.forgetEvents()
                withExtendedLifetime(ours) {}
            }
        }
    }

    @Test("Front-ends connect, set up a ring, and go, in the middle of a message with descriptors")
    func connections() async {
        await #expect(processExitsWith: .success) {
            let device = TestDevice()
            let guest = try MemoryFile.create(name: "guest", size: 1 << 20)
            // Nine messages and a connection each.
            try LeakTests.expectFlat(messages: 9) {
                let server = try TestServer(device: device, host: LinuxSessionHost())
                try server.negotiate()
                try server.startRing(memory: guest)
                let event = try EventFD().descriptor
                _ = try rawSend(server.front.socket, Array(Message(.setVringCall, .u64(0)).encoded.prefix(14)), [event])
                server.pump()
                UnixSocket.shutdown(server.front.socket)
                server.pump(hungUp: true)
                precondition(server.closure == .closed(insideMessage: true))
                var isDone = false
                server.connection.disconnect { isDone = true }
                precondition(isDone && device.configurations.isEmpty)
                device.calls = []
                device.stopModes = []
            }
        }
    }

    @Test("A hundred thousand front-ends connect, speak, and go")
    func bareConnections() async {
        await #expect(processExitsWith: .success) {
            let device = TestDevice()
            try LeakTests.expectFlat(messages: 1) {
                let server = try TestServer(device: device, host: LinuxSessionHost())
                try server.negotiate()
                UnixSocket.shutdown(server.front.socket)
                server.pump()
                precondition(server.closure == .closed(insideMessage: false))
                server.connection.disconnect {}
                device.calls = []
            }
        }
    }
}
