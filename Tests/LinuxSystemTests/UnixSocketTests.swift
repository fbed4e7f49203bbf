import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("Unix sockets")
struct UnixSocketTests {
    private static func send(_ socket: FileDescriptor, _ bytes: [UInt8], _ descriptors: [Int32] = []) throws -> Int? {
        try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: descriptors) }
    }

    private static func receive(
        _ socket: FileDescriptor, _ size: Int, _ descriptors: Int = UnixSocket.descriptorCountMax
    ) throws -> (bytes: [UInt8], received: UnixSocket.Received)? {
        var bytes = [UInt8](repeating: 0, count: size)
        let received = try unsafe bytes.withUnsafeMutableBytes {
            try unsafe UnixSocket.receive(socket, into: $0, maximumDescriptors: descriptors)
        }
        return received.map { (Array(bytes.prefix($0.byteCount)), $0) }
    }

    @Test("Bytes and descriptors arrive together; the descriptors are open and close-on-exec")
    func descriptorsArrive() throws {
        let (near, far) = try UnixSocket.pair()
        let event = try EventFD()
        #expect(try Self.send(near, [1, 2, 3], [event.descriptor.rawValue, event.descriptor.rawValue]) == 3)
        let answer = try #require(try Self.receive(far, 16))
        #expect(answer.bytes == [1, 2, 3])
        #expect(answer.received.descriptors.count == 2)
        #expect(!answer.received.lostDescriptors)
        EventFD(adopting: answer.received.descriptors[1]).signal()
        #expect(event.drain() == 1)
        withExtendedLifetime(answer) { #expect(fcntl(answer.received.descriptors[0].rawValue, F_GETFD) == FD_CLOEXEC) }
    }

    /// In a process of its own, in which nobody else opens anything.
    @Test("Descriptors beyond those asked for are closed and reported as lost")
    func surplusDescriptors() async {
        await #expect(processExitsWith: .success) {
            let (near, far) = try UnixSocket.pair()
            let event = try EventFD()
            let count = UnixSocket.descriptorCountMax
            let sent = try UnixSocketTests.send(near, [7], Array(repeating: event.descriptor.rawValue, count: count))
            precondition(sent == 1)
            let before = SystemFile.names(inFolder: "/proc/self/fd")?.count ?? 0
            guard let answer = try UnixSocketTests.receive(far, 1, 8) else { fatalError("nothing was received") }
            precondition(answer.received.descriptors.count == 8 && answer.received.lostDescriptors)
            let after = SystemFile.names(inFolder: "/proc/self/fd")?.count ?? 0
            // 245 would be lost; the test runner opens and closes some of its own.
            precondition(before > 3 && after < before + 40, "\(before) descriptors became \(after)")
        }
    }

    @Test("Nothing to read is nil, the peer's end is 0 bytes, a closed peer is EPIPE and no signal")
    func ends() throws {
        let (near, far) = try UnixSocket.pair()
        #expect(try Self.receive(far, 4) == nil)
        UnixSocket.shutdown(near)
        #expect(try #require(try Self.receive(far, 4)).received.byteCount == 0)
        #expect(throws: SystemError("send", errno: EPIPE)) { _ = try Self.send(far, [1]) }
    }

    @Test("A full socket takes nothing instead of waiting")
    func fullSocket() throws {
        let (near, far) = try UnixSocket.pair()
        let block = [UInt8](repeating: 1, count: 65536)
        var sends = 0
        while try Self.send(near, block) != nil {
            sends += 1
            try #require(sends < 1000)
        }
        #expect(sends > 0)
        #expect(try UnixSocket.isListening(far) == false)
    }

    @Test("A listener has its mode before anybody connects, accepts, and knows its peer")
    func listens() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/a.sock"
        let listener = try UnixSocket.listen(path: path, mode: 0o640, group: "\(getgid())")
        let status = try #require(try FileStatus.atPath(path))
        #expect(status.kind == .socket)
        #expect(status.permissions == 0o640)
        #expect(status.group == getgid())
        #expect(try UnixSocket.isListening(listener))
        #expect(try UnixSocket.accept(listener) == nil)
        let client = try UnixSocket.connect(path: path)
        let server = try #require(try UnixSocket.accept(listener))
        #expect(try UnixSocket.peer(of: server) == UnixSocket.Peer(process: getpid(), user: getuid(), group: getgid()))
        #expect(try Self.send(client, [9]) == 1)
        #expect(try Self.receive(server, 1)?.bytes == [9])
    }

    @Test("A dead socket is replaced; a living one and any other file are refused and kept")
    func existingFiles() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/a.sock"
        do {
            let first = try UnixSocket.listen(path: path)
            #expect(throws: UnixListenerError.inUse(path: path)) { _ = try UnixSocket.listen(path: path) }
            #expect(try UnixSocket.isListening(first))
            // A program that another test starts at this instant holds a copy until its exec: closing alone might not end the socket yet.
            UnixSocket.shutdown(first)
        }
        #expect(try FileStatus.atPath(path)?.kind == .socket)
        let second = try UnixSocket.listen(path: path)
        #expect(try UnixSocket.isListening(second))
        _ = try UnixSocket.connect(path: path)

        folder.write("file", "precious")
        #expect(throws: UnixListenerError.notASocket(path: folder.path + "/file", kind: .regular)) {
            _ = try UnixSocket.listen(path: folder.path + "/file")
        }
        #expect(SystemFile.text(folder.path + "/file") == "precious")
        unsafe symlink(path, folder.path + "/link")
        #expect(throws: UnixListenerError.notASocket(path: folder.path + "/link", kind: .symbolicLink)) {
            _ = try UnixSocket.listen(path: folder.path + "/link")
        }
        UnixSocket.removeSocketFile(path: folder.path + "/file")
        #expect(SystemFile.text(folder.path + "/file") == "precious")
        UnixSocket.removeSocketFile(path: path)
        #expect(try FileStatus.atPath(path) == nil)
    }

    @Test("Paths that are too long, missing folders and unknown groups are refused with their names")
    func refusals() throws {
        let folder = TemporaryFolder()
        let long = folder.path + "/" + String(repeating: "x", count: 108)
        #expect(throws: UnixListenerError.pathTooLong(path: long)) { _ = try UnixSocket.listen(path: long) }
        #expect(throws: UnixListenerError.unknownGroup(name: "no-such-group")) {
            _ = try UnixSocket.listen(path: folder.path + "/a", group: "no-such-group")
        }
        #expect(try FileStatus.atPath(folder.path + "/a") == nil)
        #expect(throws: UnixListenerError.system(SystemError("open \(folder.path)/none", errno: ENOENT))) {
            _ = try UnixSocket.listen(path: folder.path + "/none/a")
        }
    }
}
