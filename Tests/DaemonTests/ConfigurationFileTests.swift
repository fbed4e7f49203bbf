import ControlAPI
import Daemon
import FoundationEssentials
import Testing

struct ConfigurationFileTests {
    @Test func emptyFileIsTheDefaults() throws {
        #expect(try ConfigurationFile.parse("", file: "f") == Configuration())
    }

    @Test func everything() throws {
        let text = """
            control = "/run/c.sock"
            control_mode = "0600"
            control_group = "disk"
            control_users = ["alice", "1000"]
            sandbox = "strict"
            core_dumps = true
            backing_folders = ["/srv/images", "/dev"]
            socket_folders = ["/run/qemu"]
            state_dir = "/var/lib/x"
            log_level = "debug"
            drain_timeout_s = 5
            [pollers]
            cpus = [1, 0]
            [defaults]
            queues = 2
            socket_group = "kvm"
            on_error = "hold:30"
            [[exports]]
            name = "a"
            on_error = "report"
            backing = "null:1G"
            queues = 4
            [[exports]]
            name = 'b'
            backing = "/dev/sda"
            read_only = true
            block_size = 4096
            """
        let configuration = try ConfigurationFile.parse(text, file: "f")
        #expect(configuration.control == "/run/c.sock")
        #expect(configuration.controlMode == "0600" && configuration.controlGroup == "disk")
        #expect(configuration.stateDirectory == "/var/lib/x" && configuration.logLevel == .debug && configuration.drainTimeoutS == 5)
        #expect(configuration.controlUsers == ["alice", "1000"] && configuration.sandbox == .strict && configuration.coreDumps == true)
        #expect(configuration.backingFolders == ["/srv/images", "/dev"] && configuration.socketFolders == ["/run/qemu"])
        #expect(configuration.pollerCPUs?.cpus == [0, 1])
        #expect(configuration.exports.map(\.name) == ["a", "b"])
        let completed = configuration.exports.map { configuration.defaults.completing($0) }
        #expect(completed.map(\.queues) == [4, 2])
        #expect(completed.map(\.socketGroup) == ["kvm", "kvm"])
        #expect(completed.map(\.onError) == [.report, ErrorChoice(holdSeconds: 30)])
        #expect(completed[1].readOnly == true && completed[1].blockSize == 4096)
    }

    /// Text, the line that is to blame, the key, a part of the reason, a part of the way out.
    static let refused: [(String, Int?, String?, String, String)] = [
        ("control = ", 1, nil, "a value is missing", "in quotes"),
        ("control = \"/x\" # c\nqueues\n", 2, nil, "a key without a value", "'='"),
        ("# c\n\na = [1,\n", 4, nil, "a value is missing", "an array"),
        ("x = 1\nx = 2\n", 2, "x", "set twice", "keep one"),
        ("control = \"/x\"\n[\\exports]]\n", 2, nil, "a key is missing", "[[exports]]"),
        ("[\n", 1, nil, "a key is missing", "[defaults]"),
        ("\u{feff}[[[\n", 1, nil, "a key is missing", "[[exports]]"),
        ("[[exports]\n", 1, nil, "a header that does not end", "[[exports]]"),
        ("control = \"/x\"\ncontrol_users = [[[ # c\n }\n", 3, nil, "a value is missing", "in quotes"),
        ("[defaults]\nqueues =1979-05-27 2\n", 2, "defaults.queues", "date", "quotes"),
        ("control_users = [ 1,\n 2 3 ]\n", 2, nil, "an array that does not go on or end", "commas"),
        ("control_users = [ \"]\", }", 1, nil, "a value is missing", "in quotes"),
        ("socket = /run/x\n", 1, nil, "a value is missing", "in quotes"),
        ("log_level = info\n", 1, nil, "'info' is no value", "in quotes"),
        ("state_dir = \"C:\\x\"\n", 1, nil, "no such escape", "single quotes"),
        ("queues = 1 queue_size = 2", 1, nil, "where the line should end", "a line of its own"),
        ("# c\r\n\r\nlog_level = \"loud\"\r\n", 3, "log_level", "cannot be", "debug, info"),
        ("state_dir = \"/\u{301}[\"\nlog_level = \"loud\"\n", 2, "log_level", "cannot be", "debug, info"),
        ("# c\ncontroll = \"/x\"\n", 2, "controll", "unknown", "known are control"),
        ("\n\ncontrol = \"x.sock\"", 3, "control", "not an absolute path", "at most 107"),
        ("control_mode = \"rw\"", 1, "control_mode", "octal", "0660"),
        ("log_level = \"loud\"", 1, "log_level", "cannot be the string 'loud'", "debug, info"),
        ("drain_timeout_s = -1", 1, "drain_timeout_s", "cannot be -1", "0 to 600"),
        ("drain_timeout_s = 1.5", 1, "drain_timeout_s", "cannot be 1.5", "0 to 600"),
        ("control_users = \"alice\"", 1, "control_users", "cannot be the string", "array"),
        ("control_users = [\"a b\"]", 1, "control_users[0]", "not the name or number of a user", "libvirt-qemu"),
        ("sandbox = \"maybe\"", 1, "sandbox", "cannot be the string 'maybe'", "strict, on, off"),
        ("backing_folders = [\"images\"]", 1, "backing_folders[0]", "not an absolute path", "absolute"),
        ("state_dir = 2020-01-01", 1, "state_dir", "date", "quotes"),
        ("[pollers]\n# c\ncpus = \"3-1\"", 3, "pollers.cpus", "cannot be", "CPUs"),
        ("pollers = 1", 1, "pollers", "cannot be 1", "object"),
        ("[defaults]\nqueues = 1\nname = \"x\"", 3, "defaults.name", "unknown", "queue_size"),
        ("[defaults]\nqueue_size = 100", 2, "defaults.queue_size", "cannot be 100", "power of two"),
        ("[[exports]]\nname = \"a\"\n", 1, "exports[0].backing", "missing", "string"),
        (
            "[[exports]]\nname = \"a\"\nbacking = \"/x\"\n\n[[exports]]\nname = \"../a\"\nbacking = \"/x\"", 6, "exports[1].name",
            "starts with '.'", "A-Z"
        ),
        (
            "[[exports]]\nname = \"a\"\nbacking = \"/x\"\n[[exports]]\nbacking = \"/x\"\nname = \"a\"", 6, "exports[1].name", "used twice",
            "of its own"
        ),
        (
            "[[exports]]\nname = \"a\"\nbacking = \"/x\"\nsocket = \"/s\"\n[[exports]]\nname = \"b\"\nbacking = \"/x\"\nsocket = \"/s\"", 8,
            "exports[1].socket", "used twice", "of its own"
        ),
        ("[[exports]]\nname = \"a\"\nbacking = \"\"\"\n/x\"\"\"\nqueues = 300", 5, "exports[0].queues", "cannot be 300", "1 to 256"),
        ("text = '''\ncontrol = 1\n'''\n", 1, "text", "unknown", "known are"),
        ("[defaults]\ncpus = [\n 0, # one\n 1,\n]\npoll = \"x\"", 6, "defaults.poll", "cannot be", "busy, adaptive, interrupt"),
        ("exports = [ { name = \"a\", backing = \"x\" } ]", 1, "exports[0].backing", "not an absolute path", "null:SIZE"),
        ("\"defaults\".\"queues\" = 0", 1, "defaults.queues", "cannot be 0", "1 to 256"),
        ("exports = 1", 1, "exports", "cannot be 1", "array"),
    ]

    @Test(arguments: refused)
    func errorsNamePlaceReasonAndWayOut(_ text: String, _ line: Int?, _ key: String?, _ reason: String, _ hint: String) throws {
        let error = try #require(throws: ConfigurationError.self) { try ConfigurationFile.parse(text, file: "/etc/f.toml") }
        #expect(error.line == line)
        #expect(error.key == key)
        #expect(error.reason.contains(reason), "\(error)")
        #expect(error.hint.contains(hint), "\(error)")
        #expect(error.description.hasPrefix("/etc/f.toml"))
    }

    @Test func filesThatCannotBeRead() throws {
        let folder = try TemporaryFolder()
        let missing = #expect(throws: ConfigurationError.self) { try ConfigurationFile.read(folder.path + "/none.toml") }
        #expect(missing?.reason == "does not exist")
        let directory = #expect(throws: ConfigurationError.self) { try ConfigurationFile.read(folder.path) }
        #expect(directory?.reason.contains("cannot be read") == true)
        try Data([0x61, 0xFF]).write(to: URL(filePath: folder.path + "/latin.toml"))
        let encoding = #expect(throws: ConfigurationError.self) { try ConfigurationFile.read(folder.path + "/latin.toml") }
        #expect(encoding?.reason.contains("UTF-8") == true)
        let zero = #expect(throws: ConfigurationError.self) { try ConfigurationFile.parse("a = \"x\0\"", file: "f") }
        #expect(zero?.reason.contains("zero byte") == true)
        try folder.write("large.toml", String(repeating: "#", count: ConfigurationFile.sizeMax + 1))
        #expect(throws: ConfigurationError.self) { try ConfigurationFile.read(folder.path + "/large.toml") }
    }

    static let deploy = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/deploy"

    @Test func annotatedFileIsRight() throws {
        let text = try String(contentsOf: URL(filePath: Self.deploy + "/vhublkd.toml"), encoding: .utf8)
        let asItIs = try ConfigurationFile.parse(text, file: "f")
        #expect(asItIs.control == "/run/vhublk/control.sock" && asItIs.exports.isEmpty)
        // Every setting behind a hash can be switched on.
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let switchedOn = lines.map { $0.hasPrefix("#") && !$0.hasPrefix("# ") ? $0.dropFirst() : $0 }.joined(separator: "\n")
        let all = try ConfigurationFile.parse(switchedOn, file: "f")
        #expect(all.exports.map(\.name) == ["db0"])
        #expect(all.logLevel == .info && all.drainTimeoutS == 10 && all.controlMode == "0660" && all.pollerCPUs != nil)
        // And every key is there, its default being the one that holds.
        for field in ExportParameters.fields + ExportDefaults.fields { #expect(switchedOn.contains("\n\(field.name) = "), "\(field.name)") }
        let untouched = ExportParameters(name: "x", backing: "/x")
        #expect(all.defaults.completing(untouched).queues == ExportParameters.queuesDefault)
        #expect(all.defaults.completing(untouched).queueSize == ExportParameters.queueSizeDefault)
    }

    @Test func libvirtExampleIsWhatAttachPrints() throws {
        let text = try String(contentsOf: URL(filePath: Self.deploy + "/libvirt-domain.xml"), encoding: .utf8)
        var parameters = ExportParameters(name: "db0", backing: "/x", socket: "/run/vhublk/db0.sock")
        parameters.queues = 4
        var info = ExportInfo(parameters, state: .ready, origin: .control)
        info.queues = (0..<4).map { QueueInfo(index: $0, state: "stopped", size: 0, format: nil) }
        let attach = try #require(AttachText(info)).result(.libvirt).text
        func squeezed(_ lines: some Sequence<Substring>) -> [String] { lines.map { $0.drop { $0 == " " } }.map(String.init) }
        let example = Set(squeezed(text.split(separator: "\n")))
        for line in squeezed(attach.split(separator: "\n")) { #expect(example.contains(line), "\(line)") }
    }
}
