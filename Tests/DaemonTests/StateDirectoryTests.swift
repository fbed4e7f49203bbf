import ControlAPI
import Daemon
import FoundationEssentials
import Testing

struct StateDirectoryTests {
    private func open(_ folder: TemporaryFolder) throws -> StateDirectory { try StateDirectory(path: folder.path + "/a/b") }

    @Test func keepsWhatWasSaved() throws {
        let folder = try TemporaryFolder()
        var parameters = ExportParameters(name: "db0", backing: "/dev/x", socket: "/s", queues: 4, serial: "é", cpus: CPUList([0, 2]))
        parameters.directIO = .off
        parameters.onError = ErrorChoice(holdSeconds: 30)
        parameters.serial = "S"
        do {
            let directory = try open(folder)
            try directory.save(parameters)
            try directory.save(ExportParameters(name: "null", backing: "null:1G"))
            parameters.queues = 8
            try directory.save(parameters)
        }
        let content = try open(folder).load()
        #expect(content.exports == [parameters, ExportParameters(name: "null", backing: "null:1G")])
        #expect(content.refused.isEmpty && content.foreign.isEmpty)
        try open(folder).remove("db0")
        try open(folder).remove("db0")
        #expect(try open(folder).load().exports.map(\.name) == ["null"])
    }

    @Test func oneDaemonAtATime() throws {
        let folder = try TemporaryFolder()
        let first = try open(folder)
        let error = #expect(throws: ControlError.self) { try open(folder) }
        #expect(error?.kind == .busy && error?.message.contains(first.path) == true && error?.data?.hint?.contains("--state-dir") == true)
    }

    /// Content of the file of export `x`, a part of the reason.
    static let unusable: [(String, String)] = [
        ("", "is torn"),
        ("{\"format\": \"vhublk-export\", \"vers", "is torn"),
        (String(repeating: "\0", count: 512), "is torn"),
        ("{}", "was not written by vhublkd"),
        ("{\"format\": \"other\", \"version\": 1, \"export\": {}}", "was not written by vhublkd"),
        ("{\"format\": \"vhublk-export\", \"version\": 99, \"export\": {}}", "has version 99"),
        ("{\"format\": \"vhublk-export\", \"version\": 1, \"export\": {\"name\": \"x\"}}", "'backing' is missing"),
        (
            "{\"format\": \"vhublk-export\", \"version\": 1, \"export\": {\"name\": \"x\", \"backing\": \"/b\", \"queues\": 0}}",
            "queues cannot be 0"
        ),
        ("{\"format\": \"vhublk-export\", \"version\": 1, \"export\": {\"name\": \"y\", \"backing\": \"/b\"}}", "an export named 'y'"),
        (String(repeating: " ", count: StateDirectory.fileSizeMax + 1), "cannot be read"),
    ]

    @Test(arguments: unusable)
    func unusableFileIsToldAndKept(_ text: String, _ reason: String) throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder)
        try folder.write("a/b/x.json", text)
        try directory.save(ExportParameters(name: "good", backing: "/b"))
        let content = try directory.load()
        #expect(content.exports.map(\.name) == ["good"])
        let error = try #require(content.refused["x"])
        #expect(error.kind == .state && error.message.contains(reason) && error.message.contains("/a/b/x.json"), "\(error)")
        #expect(error.data?.hint?.contains("kept") == true)
        #expect(try folder.read("a/b/x.json") == text)
    }

    @Test func interruptedWriteLeavesTheOldContent() throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder)
        try directory.save(ExportParameters(name: "x", backing: "/old"))
        try folder.write("a/b/.x.json.new", "{\"format\": \"vhublk-ex")
        #expect(try directory.load().exports.map(\.backing) == ["/old"])
        #expect(try !FileManager.default.contentsOfDirectory(atPath: directory.path).contains(".x.json.new"))
    }

    @Test func foreignFilesAreLeftAlone() throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder)
        try folder.write("a/b/README", "x")
        try folder.write("a/b/-bad.json", "x")
        let content = try directory.load()
        #expect(content.foreign == ["-bad.json", "README"] && content.refused.isEmpty)
        #expect(try folder.read("a/b/README") == "x")
    }

    @Test func folderThatCannotBeUsed() throws {
        let folder = try TemporaryFolder()
        try folder.write("file", "")
        let error = #expect(throws: ControlError.self) { try StateDirectory(path: folder.path + "/file/state") }
        #expect(error?.kind == .state && error?.data?.hint?.contains("--state-dir") == true)
    }

    @Test func failureToSaveIsTold() throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder)
        try FileManager.default.removeItem(atPath: directory.path)
        let error = #expect(throws: ControlError.self) { try directory.save(ExportParameters(name: "x", backing: "/b")) }
        #expect(error?.kind == .state && error?.message.contains("cannot be saved") == true)
    }
}
