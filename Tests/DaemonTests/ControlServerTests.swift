import ControlAPI
import Foundation
import LinuxSystem
import Logging
import Testing

@testable import Daemon

/// The control server in this process, where its time-outs can be short.
struct ControlServerTests {
    @ControlActor private static func start(_ path: String) throws -> ControlServer {
        try ControlServer(
            path: path, access: ControlAccess(), descriptorLimit: 1024, lineTimeoutNanoseconds: 300_000_000,
            events: EventStream(), log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { _ in .success(.null) }
    }

    private static func send(_ socket: FileDescriptor, _ text: String) throws {
        let bytes = Array(text.utf8)
        _ = try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
    }

    private static func read(_ socket: FileDescriptor) throws -> String {
        guard try socket.wait(for: .readable, nanoseconds: 10_000_000_000) else { return "nothing" }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let part = try unsafe bytes.withUnsafeMutableBytes { try unsafe UnixSocket.receive(socket, into: $0) }
        return String(decoding: bytes[..<(part?.byteCount ?? 0)], as: UTF8.self)
    }

    /// As before Linux 6.16, where the kernel lets them come: the first descriptor ends its connection, with the reason.
    @Test func descriptorsEndTheirConnection() async throws {
        let closing = ClosingQueue()
        let (peer, socket) = try UnixSocket.pair()
        let connection = try await Self.connection(socket, closing: closing)
        let bytes = Array(#"{"jsonrpc":"2.0","id":1,"method":"export.list"}"#.utf8) + [10]
        _ = try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(peer, $0, descriptors: [peer.rawValue, peer.rawValue]) }
        #expect(try Self.read(peer).contains("descriptors were sent along"))
        #expect(try Self.read(peer).isEmpty, "and the connection is closed")
        #expect(waits { closing.count == 0 }, "and they are closed")
        withExtendedLifetime(connection) {}
    }

    @ControlActor private static func connection(_ socket: FileDescriptor, closing: ClosingQueue) throws -> ControlConnection {
        try ControlConnection(
            socket: socket, closing: closing, handler: { _ in .success(.null) }, onSubscribe: { _, _ in nil }, onClose: { _ in })
    }

    /// Half a line, a byte now and then, for ever: the connection is ended, those that are merely quiet are not.
    @Test func halfALineHasAnEnd() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/c.sock"
        let server = try await Self.start(path)
        let quiet = try UnixSocket.connect(path: path)
        let slow = try UnixSocket.connect(path: path)
        let good = try UnixSocket.connect(path: path)
        let start = MonotonicClock.now()
        var sent = 0
        while MonotonicClock.now() - start < 5_000_000_000 {
            // The end comes although every byte is recent.
            guard (try? Self.send(slow, "[")) != nil else { break }
            sent += 1
            if try slow.wait(for: .readable, nanoseconds: 20_000_000) { break }
        }
        #expect(MonotonicClock.now() - start >= 300_000_000 && sent > 3)
        #expect(try Self.read(slow).contains("was not finished within 300 ms"))
        #expect(try Self.read(slow).isEmpty, "and the connection is closed")
        // A line that comes in two parts within the time is a line, and the next one has the whole time again.
        for _ in 0..<2 {
            try Self.send(good, #"{"jsonrpc":"2.0","id":1,"#)
            ProcessSelf.sleep(nanoseconds: 200_000_000)
            try Self.send(good, #""method":"export.list"}"# + "\n")
            #expect(try Self.read(good).contains("result"))
        }
        try Self.send(quiet, #"{"jsonrpc":"2.0","id":1,"method":"export.list"}"# + "\n")
        #expect(try Self.read(quiet).contains("result"))
        await server.stop()
    }
}
