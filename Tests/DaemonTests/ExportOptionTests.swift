import ControlAPI
import Foundation
import LinuxSystem
import Testing

/// The options of an export are the same on both command lines, `vhublkctl export create` and that of a vhublkd with a single export: all that
/// `export.create` takes, and nothing else.
struct ExportOptionTests {
    /// The long options of a program's command, as the program itself tells them.
    private static func options(_ program: String, _ command: [String] = []) throws -> Set<String> {
        let outcome = try Program.run(program, ["--experimental-dump-help"])
        let help = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        var node = try #require(help?["command"] as? [String: Any])
        for name in command {
            let inner = node["subcommands"] as? [[String: Any]]
            node = try #require(inner?.first { $0["commandName"] as? String == name }, "\(name)")
        }
        let arguments = try #require(node["arguments"] as? [[String: Any]]).filter { $0["kind"] as? String != "positional" }
        return Set(arguments.compactMap { ($0["preferredName"] as? [String: Any])?["name"] as? String })
    }

    /// The option that stands for each parameter: the parameter's name with other dashes unless `own` has a word of its own.
    private static func expected(_ own: [ExportParameters.CodingKeys: String]) -> Set<String> {
        Set(ExportParameters.CodingKeys.allCases.map { own[$0] ?? $0.rawValue.replacingOccurrences(of: "_", with: "-") })
    }

    @Test("Both command lines have an option for each parameter of an export, and no other")
    func optionSetsAreEqual() throws {
        // The name is an argument of one, and made of the socket's in the other.
        let common = ["help", "version", "control"]
        let create = try Self.options("vhublkctl", ["export", "create"]).subtracting(common + ["json"])
        #expect(create == Self.expected([.directIO: "direct"]).subtracting(["name"]))
        let daemons = [
            "config", "state-dir", "log-level", "drain-timeout", "sandbox", "backing-folder", "core-dumps", "print-capabilities",
        ]
        let single = try Self.options("vhublkd").subtracting(common + daemons)
        let words = Self.expected([
            .name: "fd", .directIO: "direct", .backing: "blk-file", .socket: "socket-path", .queues: "num-queues",
        ])
        #expect(single == words)
    }

    /// Every option but those of the place, with a value that is not the default.
    private static let choices: [[String]] = [
        ["--queue-size", "64"], ["--engine", "libaio"], ["--read-only"], ["--serial", "OPTIONS"], ["--block-size", "4096"],
        ["--poll", "interrupt"], ["--cpus", "0"], ["--direct", "off"], ["--on-error", "hold:5"], ["--spin-us", "7"],
        ["--coalesce-us", "50"], ["--coalesce-count", "9"], ["--register-memory"], ["--post-copy"], ["--socket-mode", "0600"],
        ["--socket-group", "\(getegid())"],
    ]

    @Test("An option has the same effect on both command lines")
    func optionsHaveTheSameEffect() throws {
        let many = try RunningDaemon()
        let image = try many.folder.image("disk.raw", size: 1 << 20)
        let options = Self.choices.flatMap { $0 }
        let path = many.folder.path + "/one.sock"
        let single = try RunningDaemon(
            arguments: ["--socket-path", path, "--blk-file", image, "--num-queues", "3", "--control", many.folder.path + "/single.sock"]
                + options, waitsForControl: false)
        let client = try #require(Self.waitForClient(many.folder.path + "/single.sock"), "\(single.log)")
        var ofSingle = try client.call(ExportShow.self, .init(name: "one"))
        #expect(try FileStatus.atPath(path)?.permissions == 0o600)

        let other = many.folder.path + "/two.sock"
        let made = try many.control(["export", "create", "two", "--backing", image, "--queues", "3", "--socket", other] + options)
        #expect(made.status == 0, "\(made.error)")
        let ofMany = try many.call(ExportShow.self, .init(name: "two"))
        #expect(try FileStatus.atPath(other)?.permissions == 0o600)
        ofSingle.name = ofMany.name
        ofSingle.origin = ofMany.origin
        ofSingle.socket = ofMany.socket
        #expect(ofSingle == ofMany)

        // None of the options went unnoticed.
        let bare = try many.control(["export", "create", "bare", "--backing", image, "--socket", other + "2"])
        #expect(bare.status == 0, "\(bare.error)")
        let untouched = try many.call(ExportShow.self, .init(name: "bare"))
        #expect(ofMany.queueSize == 64 && ofMany.engine == "libaio" && ofMany.readOnly && ofMany.serial == "OPTIONS")
        #expect(ofMany.blockSize == 4096 && ofMany.poll == .interrupt && !ofMany.directIO && ofMany.onError.text == "hold:5")
        #expect(ofMany.spinUS == 7 && ofMany.coalesceUS == 50 && ofMany.coalesceCount == 9 && ofMany.registerMemory)
        #expect(ofMany.postcopyRefusal?.contains("register_memory") == true && untouched.postcopyRefusal?.contains("post_copy") == true)
        #expect(untouched.spinUS != 7 && untouched.coalesceUS != 50 && !untouched.registerMemory && !untouched.readOnly)
    }

    private static func waitForClient(_ path: String) -> ControlClient? {
        var client: ControlClient?
        _ = waits {
            client = try? ControlClient(path: path)
            return client != nil
        }
        return client
    }

    @Test("Polled completions are refused with the same reason where the device has no poll queues")
    func polledCompletions() throws {
        let many = try RunningDaemon()
        let image = try many.folder.image("disk.raw", size: 1 << 20)
        let made = try many.control(["export", "create", "a", "--backing", image, "--io-poll"])
        let single = try Program.run("vhublkd", ["--socket-path", many.folder.path + "/b.sock", "--blk-file", image, "--io-poll"])
        let reason = try #require(made.error.split(separator: "\n").first.map { $0.replacingOccurrences(of: "vhublkctl: ", with: "") })
        #expect(made.status == 1 && single.status == 1)
        #expect(reason.contains("poll") && single.error.contains(reason), "\(single.error) \(reason)")
    }
}
