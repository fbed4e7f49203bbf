import ControlAPI
import Foundation
import LinuxSystem
import Testing

/// What comes back when the daemon starts again.
struct RestartTests {
    @Test func exportsComeBackWithTheirSocketsAndChanges() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        var parameters = ExportParameters(
            name: "file", backing: image, queues: 3, queueSize: 64, readOnly: true, serial: "S1", poll: .interrupt)
        parameters.socketMode = "0600"
        _ = try daemon.call(ExportCreate.self, parameters)
        _ = try daemon.call(
            ExportCreate.self, ExportParameters(name: "null", backing: "null:1G", socket: daemon.folder.path + "/other.sock"))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "gone", backing: "null:1G"))
        _ = try daemon.call(ExportResize.self, .init(name: "null", size: ByteSize(3 << 30)))
        _ = try daemon.call(ExportDelete.self, .init(name: "gone"))
        let before = try daemon.call(ExportList.self, NoParameters()).exports
        #expect(before.map(\.name) == ["file", "null"] && before[1].size == 3 << 30)

        for stop in [SIGKILL, SIGTERM, SIGINT] {
            daemon.signal(stop)
            let status = try daemon.waitForEnd()
            if stop != SIGKILL { #expect(status == 0, "\(daemon.log)") }
            if stop != SIGKILL { #expect(try daemon.folder.names.filter { $0.hasSuffix(".sock") }.isEmpty) }
            try daemon.restart()
            #expect(try daemon.settledExports() == before)
            for export in before { _ = try UnixSocket.connect(path: try #require(export.socket)) }
        }
    }

    @Test func aHundredExportsAreBackAtOnce() throws {
        let daemon = try RunningDaemon()
        for number in 0..<100 { _ = try daemon.call(ExportCreate.self, ExportParameters(name: "e\(number)", backing: "null:1G")) }
        daemon.kill()
        try daemon.restart()
        // The control socket comes last: whoever can ask finds all sockets there.
        for number in 0..<100 { _ = try UnixSocket.connect(path: daemon.folder.path + "/e\(number).sock") }
        #expect(try daemon.settledExports().filter { $0.state == .ready }.count == 100)
    }

    @Test func tornStateIsToldAndKept() throws {
        let daemon = try RunningDaemon()
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "good", backing: "null:1G"))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "torn", backing: "null:1G"))
        daemon.kill()
        let torn = String(try daemon.folder.read("state/torn.json").dropLast(40))
        try daemon.folder.write("state/torn.json", torn)
        try daemon.folder.write("state/notes.txt", "mine")
        try daemon.restart()
        let exports = try daemon.settledExports()
        #expect(exports.map(\.state) == [.ready, .failed])
        #expect(exports[1].error?.kind == "state" && exports[1].error?.message.contains("torn.json") == true)
        #expect(daemon.log.contains("export torn is not restored") && daemon.log.contains("notes.txt"))
        // Nothing overwrites it.
        #expect(try daemon.refusal(.exportCreate, ["name": "torn", "backing": "null:1M"]).kind == .state)
        #expect(try daemon.refusal(.exportDelete, ["name": "torn"]).kind == .state)
        #expect(try daemon.folder.read("state/torn.json") == torn)
        #expect(try daemon.folder.read("state/notes.txt") == "mine")
    }

    @Test func exportWhoseBackingIsGoneIsKeptAsFailed() throws {
        let daemon = try RunningDaemon()
        let image = try daemon.folder.image("disk.raw", size: 1 << 20)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "lost", backing: image))
        daemon.kill()
        try FileManager.default.moveItem(atPath: image, toPath: image + ".away")
        try daemon.restart()
        let failed = try #require(try daemon.settledExports().first)
        #expect(failed.state == .failed && failed.error?.kind == "backing" && failed.error?.message.contains(image) == true)
        #expect(try daemon.refusal(.exportCreate, ["name": "lost", "backing": "null:1M"]).kind == .exists)
        #expect(try daemon.refusal(.exportResize, ["name": "lost", "size": "1G"]).kind == .unsupported)
        #expect(try #require(failed.retryNS) <= 10_000_000_000)
        // It is back: a reload tries again at once, whatever wait there was.
        ProcessSelf.sleep(nanoseconds: 2_000_000_000)
        try FileManager.default.moveItem(atPath: image + ".away", toPath: image)
        daemon.signal(SIGHUP)
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "lost")).state) == .ready })
        #expect(try daemon.call(ExportDelete.self, .init(name: "lost")).name == "lost")
    }

    @Test func configurationFile() throws {
        let folder = try TemporaryFolder()
        let state = folder.path + "/state"
        func configure(_ exports: [String], level: String = "info") throws {
            let text = exports.map { "[[exports]]\nname = \"\($0)\"\nbacking = \"null:1G\"\n" }.joined()
            try folder.write(
                "f.toml",
                """
                control = "\(folder.path)/control.sock"
                state_dir = "\(state)"
                log_level = "\(level)"
                [defaults]
                queues = 2
                socket_mode = "0600"

                """
                    + text)
        }
        try configure(["a"])
        let arguments = ["--config", folder.path + "/f.toml"]
        let daemon = try RunningDaemon(folder: folder, arguments: arguments)
        let first = try #require(try daemon.settledExports().first)
        #expect(first.origin == .configuration && first.queues.count == 2)
        let mode = try #require(try FileStatus.atPath(folder.path + "/a.sock")).permissions
        #expect(mode == 0o600)
        // Defaults hold for exports of the control socket too; what is in the file is not saved twice.
        #expect(try daemon.call(ExportCreate.self, ExportParameters(name: "c", backing: "null:1M")).queues.count == 2)
        #expect(try FileManager.default.contentsOfDirectory(atPath: state).filter { $0.hasSuffix(".json") } == ["c.json"])
        #expect(try daemon.call(ExportDelete.self, .init(name: "a")).returnsAtStart)
        // A reload brings what is new and touches nothing else; a wrong file changes nothing.
        try configure(["a", "b"])
        daemon.signal(SIGHUP)
        #expect(waits { (try? daemon.call(ExportList.self, NoParameters()).exports.map(\.name)) == ["a", "b", "c"] })
        try folder.write("f.toml", "queues = 7")
        daemon.signal(SIGHUP)
        #expect(waits { daemon.log.contains("nothing was changed") && daemon.log.contains("f.toml:1: queues") })
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.count == 3)
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
    }

    @Test func configurationGoesBeforeTheStateDirectory() throws {
        let daemon = try RunningDaemon()
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "same", backing: "null:1G"))
        daemon.kill()
        try daemon.folder.write("f.toml", "[[exports]]\nname = \"same\"\nbacking = \"null:2G\"\n")
        let other = try RunningDaemon(
            folder: daemon.folder,
            arguments: ["--config", daemon.folder.path + "/f.toml", "--control", daemon.control, "--state-dir", daemon.stateFolder])
        #expect(try other.settledExports().first?.size == 2 << 30)
        #expect(other.log.contains("same is in the configuration file and in the state directory"))
    }
}
