import ControlAPI
import Foundation
import LinuxSystem
import Testing

/// The hostile peers of the control socket: each harms at most its own connection.
struct ControlSocketTests {
    private static let list = Array(#"{"jsonrpc":"2.0","id":1,"method":"export.list"}"#.utf8) + [UInt8(ascii: "\n")]

    private static func deadline(_ seconds: UInt64 = 20) -> UInt64 { MonotonicClock.now() + seconds * 1_000_000_000 }

    /// A connection, waiting while the listener's backlog is full.
    private static func connect(_ daemon: RunningDaemon) throws -> FileDescriptor {
        var socket: FileDescriptor?
        _ = waits {
            socket = try? UnixSocket.connect(path: daemon.control)
            return socket != nil
        }
        return try #require(socket)
    }

    /// The answer to bytes that are sent as they are.
    private static func answer(_ client: ControlClient, _ bytes: [UInt8]) throws -> RPCResponse {
        try client.send(bytes, deadline: deadline())
        return try #require(RPCResponse(line: try client.receiveLine(deadline: deadline())))
    }

    private static func error(_ response: RPCResponse) -> ControlError? {
        if case .failure(let error) = response.outcome { error } else { nil }
    }

    static let badLines: [([UInt8], ErrorKind, String)] = [
        (Array("nonsense".utf8), .parse, "not JSON"),
        (Array(#"{"jsonrpc":"2.0","id":1,"id":2,"method":"export.list"}"#.utf8), .parse, "occurs twice"),
        (Array(#"{"jsonrpc":"2.0","id":1,"method":"export.show","params":{"name":"a","name":"b"}}"#.utf8), .parse, "occurs twice"),
        (Array(String(repeating: "[", count: 60_000).utf8), .parse, "deeper"),
        (Array(#"{"a":"#.utf8) + [0xFF, 0xFE] + Array("}".utf8), .parse, "not JSON"),
        ([UInt8(ascii: "\""), 0xC0, 0x80, UInt8(ascii: "\"")], .parse, "UTF-8"),
        ([0], .parse, "not JSON"),
        (Array("[]".utf8), .invalidRequest, "must be an object"),
        (Array(#"{"jsonrpc":"2.0","id":1,"method":"export.explode"}"#.utf8), .methodNotFound, "export.explode"),
        (Array(#"{"jsonrpc":"2.0","id":1,"method":"export.show","params":{}}"#.utf8), .invalidParameters, "'name' is missing"),
        (Array(#"{"jsonrpc":"2.0","id":1,"method":"export.show","params":{"name":7}}"#.utf8), .invalidParameters, "name cannot be 7"),
        (
            Array(#"{"jsonrpc":"2.0","id":1,"method":"export.show","params":{"name":"../../etc/passwd"}}"#.utf8), .invalidParameters,
            "starts with '.'"
        ),
        (Array(#"{"jsonrpc":"2.0","id":1,"method":"export.list","params":{"x":1}}"#.utf8), .invalidParameters, "unknown"),
    ]

    @Test func badLinesAreAnsweredAndTheConnectionGoesOn() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        for (line, kind, reason) in Self.badLines {
            let error = Self.error(try Self.answer(client, line + [UInt8(ascii: "\n")]))
            #expect(error?.kind == kind && error?.message.contains(reason) == true, "\(String(describing: error))")
            #expect(error?.data?.hint?.isEmpty == false)
            #expect(Self.error(try Self.answer(client, Self.list)) == nil)
        }
    }

    @Test func longLineEndsItsConnectionAlone() throws {
        let daemon = try RunningDaemon()
        let other = try daemon.client()
        let client = try daemon.client()
        let longest = Array(#"{"jsonrpc":"2.0","id":1,"method":"export.list","#.utf8)
        let padding = [UInt8](repeating: UInt8(ascii: " "), count: RPCRequest.lineLengthMax - longest.count - 12)
        #expect(Self.error(try Self.answer(client, longest + padding + Array(#""params":{}}"#.utf8) + [10])) == nil)
        let error = Self.error(try Self.answer(client, [UInt8](repeating: UInt8(ascii: "x"), count: RPCRequest.lineLengthMax + 1)))
        #expect(error?.kind == .parse && error?.message.contains("too long") == true)
        #expect(throws: ControlClient.Failure.self) { try client.receiveLine(deadline: Self.deadline()) }
        #expect(Self.error(try Self.answer(other, Self.list)) == nil)
        // A peer that pours bytes without an end gets no memory for them.
        let pouring = try daemon.client()
        #expect(throws: (any Error).self) {
            try pouring.send([UInt8](repeating: UInt8(ascii: "y"), count: 64 << 20), deadline: Self.deadline())
        }
        #expect(try Self.residentKiB(daemon.pid) < 200_000)
    }

    private static func residentKiB(_ pid: Int32) throws -> Int {
        let status = try String(contentsOf: URL(filePath: "/proc/\(pid)/status"), encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        return try #require(line.split(separator: " ").compactMap { Int($0) }.first)
    }

    @Test func manyRequestsAtOnceAreAnsweredInOrder() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        var lines: [UInt8] = []
        for number in 1...500 { lines += try RPCRequest(id: .integer(Int64(number)), method: "export.list").line() }
        // Blank lines and a carriage return before the line feed are fine.
        try client.send(lines + Array("\n\r\n".utf8) + Self.list.dropLast() + Array("\r\n".utf8), deadline: Self.deadline())
        for number in 1...500 {
            #expect(RPCResponse(line: try client.receiveLine(deadline: Self.deadline()))?.id == .integer(Int64(number)))
        }
        #expect(RPCResponse(line: try client.receiveLine(deadline: Self.deadline()))?.id == .integer(1))
    }

    @Test func notificationsGetNoAnswer() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        try client.send(
            try RPCRequest(id: nil, method: "export.create", parameters: ["name": "n", "backing": "null:1M"]).line(),
            deadline: Self.deadline())
        try client.send(try RPCRequest(id: nil, method: "no.such").line(), deadline: Self.deadline())
        let answer = try Self.answer(client, Self.list)
        #expect(answer.id == .integer(1))
        guard case .success(let result) = answer.outcome else { return #expect(Bool(false)) }
        #expect(result["exports"]?[0]?["name"] == "n")
    }

    @Test func whatWasSentBeforeTheEndIsAnswered() throws {
        let daemon = try RunningDaemon()
        let socket = try Self.connect(daemon)
        let bytes = Self.list + Self.list + Array("half a li".utf8)
        _ = try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        _ = Foundation.shutdown(socket.rawValue, Int32(SHUT_WR))
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 4096)
        while try socket.wait(for: .readable, nanoseconds: 10_000_000_000) {
            let part = try unsafe chunk.withUnsafeMutableBytes { try unsafe UnixSocket.receive(socket, into: $0) }
            guard let part, part.byteCount > 0 else { break }
            text += String(decoding: chunk[..<part.byteCount], as: UTF8.self)
        }
        #expect(text.split(separator: "\n").count == 2)
    }

    @Test func idleClientsAndHalfLinesAreHarmless() throws {
        let daemon = try RunningDaemon()
        let before = try Self.descriptorCount(daemon.pid)
        var idle = try (0..<1000).map { _ in try Self.connect(daemon) }
        for (index, socket) in idle.enumerated() where index.isMultiple(of: 2) {
            let half = Array(#"{"jsonrpc":"2.0","id":1,"method":"export.li"#.utf8)
            _ = try unsafe half.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        }
        let start = MonotonicClock.now()
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(MonotonicClock.now() - start < 2_000_000_000)
        // More than the bound: those that were silent longest go, and a newcomer is always served.
        idle += try (0..<200).map { _ in try Self.connect(daemon) }
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(waits { (try? Self.descriptorCount(daemon.pid)) ?? 9999 <= before + 1024 + 2 })
        idle = []
        #expect(waits { (try? Self.descriptorCount(daemon.pid)) ?? 9999 <= before + 2 })
        #expect(try Self.residentKiB(daemon.pid) < 200_000)
    }

    /// With few descriptors the connections leave enough for exports.
    @Test func idleClientsLeaveDescriptorsForExports() throws {
        let folder = try TemporaryFolder()
        let program = Program.folder.appending(path: "vhublkd").path
        let line = "ulimit -n 256; exec '\(program)' --control \(folder.path)/control.sock --state-dir \(folder.path)/state"
        let daemon = try RunningDaemon(folder: folder, arguments: ["-c", line], program: "/bin/sh")
        let idle = try (0..<400).map { _ in try Self.connect(daemon) }
        for number in 0..<20 { _ = try daemon.call(ExportCreate.self, ExportParameters(name: "e\(number)", backing: "null:1G")) }
        #expect(try Self.descriptorCount(daemon.pid) < 256)
        withExtendedLifetime(idle) {}
    }

    private static func descriptorCount(_ pid: Int32) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
    }

    @Test func peerThatTakesNoAnswersStopsItself() throws {
        let daemon = try RunningDaemon()
        let socket = try Self.connect(daemon)
        // rpc.discover answers with tens of kilobytes; nobody reads them.
        let line = try RPCRequest(id: .integer(1), method: "rpc.discover").line()
        var sent = 0
        for _ in 0..<20_000 {
            guard let count = try unsafe line.withUnsafeBytes({ try unsafe UnixSocket.send(socket, $0) }) else { break }
            sent += count
        }
        #expect(sent < 20_000 * line.count)
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(try Self.residentKiB(daemon.pid) < 200_000)
    }

    /// Nothing has a use for them, and to close one may take as long as its owner likes: from Linux 6.16 on the kernel does not let them
    /// come, not even to the connection of a peer that would be turned away; before, the first ends its connection.
    @Test func whoPassesDescriptorsIsSentAway() throws {
        let daemon = try RunningDaemon()
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        let before = try Self.descriptorCount(daemon.pid)
        for _ in 0..<20 {
            let socket = try Self.connect(daemon)
            do {
                _ = try unsafe Self.list.withUnsafeBytes {
                    try unsafe UnixSocket.send(socket, $0, descriptors: [Int32](repeating: socket.rawValue, count: 100))
                }
                #expect(!Self.kernelRefusesDescriptors)
                let answer = try #require(RPCResponse(line: Array(try Self.readToEnd(socket).prefix { $0 != 10 })))
                #expect(Self.error(answer)?.message.contains("descriptors") == true)
            } catch let error as SystemError {
                #expect(error.errno == EPERM && Self.kernelRefusesDescriptors)
            }
        }
        #expect(waits { (try? Self.descriptorCount(daemon.pid)) ?? 9999 <= before })
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
    }

    /// Whether this kernel has SO_PASSRIGHTS.
    private static var kernelRefusesDescriptors: Bool {
        let release = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? ""
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 16)
    }

    private static func readToEnd(_ socket: FileDescriptor) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while try socket.wait(for: .readable, nanoseconds: 10_000_000_000) {
            guard let count = try unsafe chunk.withUnsafeMutableBytes({ try unsafe socket.read(into: $0) }) else { continue }
            if count == 0 { return bytes }
            bytes += chunk.prefix(count)
        }
        Issue.record("the connection stays open")
        return bytes
    }

    @Test func connectionsComeAndGo() throws {
        let daemon = try RunningDaemon()
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        let before = try Self.descriptorCount(daemon.pid)
        for round in 0..<2000 {
            let socket = try Self.connect(daemon)
            if round.isMultiple(of: 3) { _ = try unsafe Self.list.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) } }
        }
        #expect(waits { (try? Self.descriptorCount(daemon.pid)) ?? 9999 <= before })
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
    }
}
