import ControlAPI
import Foundation
import Glibc
import LinuxSystem
import Testing

/// Wrong input: the error names the thing, the reason and the way out, and nothing half-made remains.
struct ExportRefusalTests {
    private static func create(_ name: String, _ backing: String, _ more: [String: JSONValue] = [:]) -> [String: JSONValue] {
        ["name": .string(name), "backing": .string(backing)].merging(more) { $1 }
    }

    private static func expectRefused(
        _ daemon: RunningDaemon, _ parameters: [String: JSONValue], _ kind: ErrorKind, field: String?, names thing: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let names = try daemon.folder.names
        let before = try daemon.call(ExportList.self, NoParameters()).exports.map(\.name)
        let error = try daemon.refusal(.exportCreate, parameters)
        #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
        #expect(error.data?.field == field, "\(error)", sourceLocation: sourceLocation)
        #expect(error.message.contains(thing), "\(error)", sourceLocation: sourceLocation)
        #expect(error.data?.hint?.isEmpty == false, "\(error)", sourceLocation: sourceLocation)
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.map(\.name) == before, sourceLocation: sourceLocation)
        #expect(try daemon.folder.names == names, sourceLocation: sourceLocation)
        let saved = try FileManager.default.contentsOfDirectory(atPath: daemon.stateFolder).filter { $0.hasSuffix(".json") }
        #expect(Set(saved) == Set(before.map { "\($0).json" }), sourceLocation: sourceLocation)
    }

    @Test func backings() throws {
        let daemon = try RunningDaemon()
        let folder = daemon.folder
        try Self.expectRefused(daemon, Self.create("a", "/nonexistent/x"), .backing, field: "backing", names: "/nonexistent/x")
        try Self.expectRefused(daemon, Self.create("a", folder.path), .backing, field: "backing", names: folder.path)
        try Self.expectRefused(daemon, Self.create("a", "/dev/null"), .backing, field: "backing", names: "/dev/null")
        try Self.expectRefused(daemon, Self.create("a", "disk.raw"), .invalidParameters, field: "backing", names: "disk.raw")
        let empty = try folder.write("empty.raw", "")
        try Self.expectRefused(daemon, Self.create("a", empty), .backing, field: "backing", names: empty)
    }

    /// Two exports of one image are no error, in one daemon or two: a virtual machine that migrates needs them. Whose rings run has the lock.
    @Test func sharedBackings() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        let second = try RunningDaemon()
        for (daemon, name) in [(daemon, "a"), (daemon, "b"), (second, "a")] {
            let made = try daemon.call(ExportCreate.self, ExportParameters(name: name, backing: image))
            #expect(!made.backingLocked && made.backingConflict == nil, "no ring runs")
        }
        // Somebody else's lock, as QEMU takes it on an image: told when the export is made.
        let file = try FileDescriptor.open(image, flags: O_RDWR)
        var lock = flock(l_type: Int16(F_WRLCK), l_whence: Int16(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0)
        // The struct lives for the call. 37 is F_OFD_SETLK, a lock that belongs to the open file.
        try #require(unsafe fcntl(file.rawValue, 37, &lock) == 0)
        let made = try daemon.call(ExportCreate.self, ExportParameters(name: "c", backing: image))
        // By whom, it can tell where it may look at other users' processes.
        #expect(made.backingConflict?.contains("\(image) is in use") == true, "\(made)")
        withExtendedLifetime(file) {}
    }

    @Test func namesAndRanges() throws {
        let daemon = try RunningDaemon()
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "twice", backing: "null:1M"))
        try Self.expectRefused(daemon, Self.create("twice", "null:1M"), .exists, field: "name", names: "twice")
        for name in ["", ".", "..", "../x", "a/b", "-a", "a b", "\u{0}", String(repeating: "n", count: 65)] {
            try Self.expectRefused(daemon, Self.create(name, "null:1M"), .invalidParameters, field: "name", names: "name '")
        }
        let wrong: [(String, JSONValue)] = [
            ("queues", 0), ("queues", 257), ("queue_size", 3), ("queue_size", 65536), ("block_size", 1024),
            ("serial", "123456789012345678901"),
            ("engine", "magic"), ("poll", "often"), ("cpus", "9-1"), ("backing", "null:1"), ("backing", "null:9P"), ("read_only", "yes"),
        ]
        for (field, value) in wrong {
            try Self.expectRefused(daemon, Self.create("a", "null:1M", [field: value]), .invalidParameters, field: field, names: field)
        }
        try Self.expectRefused(daemon, Self.create("a", "null:1M", ["cpus": [8191]]), .invalidParameters, field: "cpus", names: "8191")
        try Self.expectRefused(
            daemon, Self.create("a", "null:1M", ["socket_group": "no-such-group-here"]), .invalidParameters, field: "socket_group",
            names: "no-such-group-here")
    }

    @Test func sockets() throws {
        let daemon = try RunningDaemon()
        let folder = daemon.folder
        func expect(_ socket: String, _ kind: ErrorKind, _ thing: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
            try Self.expectRefused(
                daemon, Self.create("a", "null:1M", ["socket": .string(socket)]), kind, field: "socket", names: thing,
                sourceLocation: sourceLocation)
        }
        let file = try folder.write("regular", "precious")
        try expect(file, .socket, file)
        #expect(try folder.read("regular") == "precious")
        try FileManager.default.createSymbolicLink(atPath: folder.path + "/link", withDestinationPath: folder.path + "/target")
        try expect(folder.path + "/link", .socket, "link")
        try expect(folder.path, .socket, folder.path)
        try expect(folder.path + "/missing/a.sock", .socket, "/missing/a.sock")
        try expect("/" + String(repeating: "s", count: 107), .invalidParameters, "108 bytes")
        try expect(daemon.control, .busy, daemon.control)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "first", backing: "null:1M", socket: folder.path + "/first.sock"))
        try expect(folder.path + "/first.sock", .exists, "first")
        // The default socket's path is too long although the name is fine.
        let deep = try TemporaryFolder()
        let long = deep.path + "/" + String(repeating: "d", count: 60)
        try FileManager.default.createDirectory(atPath: long, withIntermediateDirectories: false)
        let other = try RunningDaemon(
            arguments: ["--control", long + "/c.sock", "--state-dir", deep.path + "/state"], waitsForControl: false)
        #expect(waits { (try? ControlClient(path: long + "/c.sock")) != nil }, "\(other.log)")
        let name = String(repeating: "n", count: 64)
        let failure = #expect(throws: ControlClient.Failure.self) {
            try ControlClient(path: long + "/c.sock").call(ExportCreate.self, ExportParameters(name: name, backing: "null:1M"))
        }
        guard case .refused(let error)? = failure else { return #expect(Bool(false)) }
        #expect(error.data?.field == "socket" && error.message.contains("bytes long"))
    }

    @Test func staleSocketIsReplaced() throws {
        let daemon = try RunningDaemon()
        let path = daemon.folder.path + "/stale.sock"
        _ = try UnixSocket.listen(path: path)
        #expect(try daemon.folder.names.contains("stale.sock"))
        let export = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: "null:1M", socket: path))
        #expect(export.socket == path)
        _ = try UnixSocket.connect(path: path)
    }

    @Test func stateThatCannotBeSavedLeavesNoExport() throws {
        let daemon = try RunningDaemon()
        // A folder where the state file's temporary name would be: saving fails for root too.
        try FileManager.default.createDirectory(atPath: daemon.stateFolder + "/.a.json.new", withIntermediateDirectories: false)
        let error = try daemon.refusal(.exportCreate, Self.create("a", "null:1M"))
        #expect(error.kind == .state && error.message.contains("cannot be saved"))
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(try !daemon.folder.names.contains("a.sock"))
        // And the name and the socket are free again.
        try FileManager.default.removeItem(atPath: daemon.stateFolder + "/.a.json.new")
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: "null:1M"))
    }

    @Test func unknownExports() throws {
        let daemon = try RunningDaemon()
        for method in [MethodName.exportShow, .exportDelete, .statsGet] {
            let error = try daemon.refusal(method, ["name": "nobody"])
            #expect(error.kind == .notFound && error.data?.field == "name" && error.message.contains("nobody"), "\(error)")
            #expect(error.data?.hint?.contains("export list") == true)
        }
        #expect(try daemon.refusal(.exportResize, ["name": "nobody", "size": 512]).kind == .notFound)
        #expect(try daemon.refusal(.exportAttach, ["name": "nobody", "format": "qemu"]).kind == .notFound)
    }

    @Test func sizesThatCannotBe() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "file", backing: image, blockSize: 4096))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "null", backing: "null:1M"))
        for (name, size) in [("file", 4096 + 512), ("null", 1000)] {
            let error = try daemon.refusal(.exportResize, ["name": .string(name), "size": .integer(Int64(size))])
            #expect(error.kind == .invalidParameters && error.data?.field == "size" && error.message.contains("\(size)"), "\(error)")
            #expect(error.data?.hint?.contains("multiple of") == true)
            #expect(try daemon.call(ExportShow.self, .init(name: name)).size == 1 << 20)
        }
        #expect(try daemon.call(ExportResize.self, .init(name: "file", size: ByteSize(2 << 20))).size == 2 << 20)
        #expect(try FileStatus.atPath(image)?.size == 2 << 20)
    }

    @Test func deleteAsksForForceWhileConnected() throws {
        let daemon = try RunningDaemon()
        let export = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: "null:1M"))
        let frontend = try UnixSocket.connect(path: try #require(export.socket))
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "a")).frontend) != nil })
        let error = try daemon.refusal(.exportDelete, ["name": "a"])
        #expect(error.kind == .busy && error.data?.hint?.contains("--force") == true)
        #expect(try daemon.call(ExportShow.self, .init(name: "a")).state == .ready)
        #expect(try daemon.call(ExportDelete.self, .init(name: "a", force: true)).returnsAtStart == false)
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
        #expect(try !daemon.folder.names.contains("a.sock"))
        #expect(try frontend.wait(for: .readable, nanoseconds: 10_000_000_000))
    }

    @Test func manyCallsForOneNameMakeOneExport() throws {
        let daemon = try RunningDaemon()
        let clients = try (0..<50).map { _ in try daemon.client() }
        let line = try RPCRequest(id: .integer(1), method: "export.create", parameters: Self.create("race", "null:1M")).line()
        let deadline = MonotonicClock.now() + 20_000_000_000
        for client in clients { try client.send(line, deadline: deadline) }
        var made = 0
        for client in clients {
            let response = try #require(RPCResponse(line: try client.receiveLine(deadline: deadline)))
            switch response.outcome {
            case .success: made += 1
            case .failure(let error): #expect(error.kind == .exists)
            }
        }
        #expect(made == 1)
    }

    @Test("A file is not made smaller than its data, unless by force")
    func shrinking() throws {
        let daemon = try RunningDaemon()
        let path = try daemon.folder.write("disk", String(repeating: "x", count: 1 << 20))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "a", backing: path))
        let error = try daemon.refusal(.exportResize, ["name": "a", "size": "512K"])
        #expect(error.kind == .invalidParameters && error.data?.field == "size")
        #expect(error.message.contains("the last 524288 bytes") && error.data?.hint?.contains("--force") == true, "\(error)")
        #expect(try daemon.control(["export", "resize", "a", "512K"]).status == 1)
        #expect(try daemon.control(["export", "resize", "a", "512K", "--force"]).output == "export a has 512 KiB\n")
    }
}
