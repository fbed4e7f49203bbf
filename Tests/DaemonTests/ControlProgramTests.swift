import ControlAPI
import Foundation
import Testing

/// vhublkctl against a daemon: every command, both outputs.
struct ControlProgramTests {
    private static func table(_ text: String) -> [[String]] {
        text.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init) }
    }

    @Test func everyCommand() throws {
        let daemon = try RunningDaemon()
        func run(_ arguments: String..., status: Int32 = 0) throws -> Program.Outcome {
            let outcome = try daemon.control(arguments)
            #expect(outcome.status == status, "\(arguments): \(outcome.error)")
            return outcome
        }
        #expect(
            try run("export", "create", "a", "--backing", "null:1G", "--queues", "2", "--serial", "S").output.contains(
                "export a is ready on"))
        #expect(Self.table(try run("export", "list").output)[1].prefix(5) == ["a", "ready", "1", "GiB", "2"])
        #expect(try run("export", "list", "--names").output == "a\n")
        #expect(try run("export", "show", "a").output.contains("serial:     S"))
        #expect(try run("export", "resize", "a", "2G").output == "export a has 2 GiB\n")
        #expect(try run("attach", "a", "--format", "qemu").output.contains("-chardev socket,"))
        #expect(try run("attach", "a", "--format", "cloud-hypervisor").output.contains("vhost_user=true"))
        #expect(try run("poller", "list").output.hasPrefix("CPU"))
        #expect(Self.table(try run("stats", "a").output)[1].prefix(3) == ["a", "read", "0"])
        #expect(Self.table(try run("stats").output).contains { $0.first == "a" })
        #expect(try run("top", "--count", "2", "--interval", "0.1").output.contains("READ IOPS"))
        #expect(try run("version", "--verbose").output.contains("no core dumps"))
        #expect(try run("rpc", "export.show", #"{"name":"a"}"#).output.contains("\"size\" : 2147483648"))
        #expect(try run("rpc", "rpc.discover").output.contains("openrpc"))
        let refused = try run("export", "create", "a", "--backing", "null:1G", status: 1)
        #expect(refused.output.isEmpty && refused.error.hasPrefix("vhublkctl: an export named 'a' exists\nhint: "))
        #expect(try run("rpc", "no.such", status: 1).error.contains("no.such"))
        #expect(try run("export", "delete", "a").output == "export a is deleted\n")
    }

    @Test func jsonEverywhere() throws {
        let daemon = try RunningDaemon()
        func json(_ arguments: [String]) throws -> JSONValue {
            let outcome = try daemon.control(arguments)
            #expect(outcome.status == 0, "\(outcome.error)")
            return try JSONParser.parse(Array(outcome.output.utf8))
        }
        let made = try json(["--json", "export", "create", "a", "--backing", "null:1G"])
        #expect(try json(["export", "show", "a", "--json"]) == made)
        #expect(try json(["--json", "export", "list"])["exports"]?[0] == made)
        #expect(try json(["export", "resize", "a", "2G", "--json"])["size"] == .integer(2 << 30))
        #expect(try json(["attach", "a", "--format", "qemu", "--qemu-version", "7.2", "--json"])["arguments"]?[0] == "-object")
        #expect(try json(["poller", "list", "--json"])["pollers"]?.array != nil)
        #expect(try json(["stats", "--json"])["exports"]?[0]?["total"]?["read"]?["requests"] == 0)
        #expect(try json(["top", "--count", "1", "--interval", "0.1", "--json"])["exports"]?[0]?["name"] == "a")
        #expect(try json(["version", "--json"])["pid"] == .integer(Int64(daemon.pid)))
        #expect(try json(["export", "delete", "a", "--json"])["name"] == "a")
    }

    @Test func relativePathsAreTheCallers() throws {
        let daemon = try RunningDaemon()
        _ = try daemon.folder.image("disk.raw", size: 1 << 20)
        let process = Program.process(
            "vhublkctl", ["export", "create", "a", "--backing", "disk.raw"], environment: ["VHUBLK_CONTROL": daemon.control])
        process.currentDirectoryURL = URL(filePath: daemon.folder.path)
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(try daemon.call(ExportShow.self, .init(name: "a")).backing == daemon.folder.path + "/disk.raw")
    }

    @Test(arguments: ["vhublkd", "vhublkctl", "vhublk-bench"], ["bash", "zsh", "fish"])
    func completions(_ program: String, _ shell: String) throws {
        let outcome = try Program.run(program, ["--generate-completion-script", shell])
        #expect(outcome.status == 0)
        for word in program == "vhublkctl" ? ["export", "attach", "create", "resize", "io_uring", "cloud-hypervisor"] : ["help"] {
            #expect(outcome.output.contains(word), "\(word)")
        }
        if program == "vhublkctl" { #expect(outcome.output.contains("vhublkctl export list --names")) }
    }

    /// The manual pages are made from this: every command and option has its text.
    @Test(arguments: ["vhublkd", "vhublkctl"])
    func everyOptionIsDescribed(_ program: String) throws {
        let outcome = try Program.run(program, ["--experimental-dump-help"])
        let dump = try #require(try JSONDecoder().decode(JSONValue.self, from: Data(outcome.output.utf8))["command"])
        var count = 0
        func check(_ command: JSONValue, _ path: String) {
            #expect(command["abstract"]?.string?.isEmpty == false || path.hasSuffix(" help"), "\(path)")
            for argument in command["arguments"]?.array ?? [] where argument["shouldDisplay"]?.bool == true {
                count += 1
                #expect(argument["abstract"]?.string?.isEmpty == false, "\(path) \(argument["valueName"]?.string ?? "")")
            }
            for child in command["subcommands"]?.array ?? [] where child["commandName"] != "help" {
                check(child, "\(path) \(child["commandName"]?.string ?? "")")
            }
        }
        check(dump, program)
        #expect(count > 15)
    }
}
