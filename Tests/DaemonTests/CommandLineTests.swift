import ControlAPI
import Foundation
import LinuxSystem
import Testing

@testable import Daemon

struct CommandLineTests {
    @Test func capabilities() throws {
        // QEMU's conventions: other options are ignored.
        for arguments in [["--print-capabilities"], ["--print-capabilities", "--nonsense", "x"], ["--fd=99", "--print-capabilities"]] {
            let outcome = try Program.run("vhublkd", arguments)
            #expect(outcome.status == 0 && outcome.output == "{\"type\":\"block\",\"features\":[\"read-only\",\"blk-file\"]}\n")
        }
    }

    static let wrongDaemonLines: [([String], String)] = [
        (["--nonsense"], "--nonsense"), (["stray"], "stray"), (["--socket-path", "/tmp/x.sock"], "--blk-file is missing"),
        (["--blk-file", "null:1G"], "--socket-path"),
        (["--socket-path", "/x", "--fd", "3", "--blk-file", "null:1G"], "one of --socket-path and --fd"),
        (["--read-only"], "neither --socket-path nor --fd"), (["--num-queues", "2"], "neither"), (["--num-queues", "x"], "x"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--config", "/f"], "--config"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--num-queues", "0"], "--num-queues cannot be 0"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--queue-size", "100"], "--queue-size cannot be 100"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--block-size", "1"], "--block-size"),
        (["--socket-path", "/x", "--blk-file", "null:1"], "--blk-file"), (["--socket-path", "/x", "--blk-file", ""], "--blk-file"),
        (["--socket-path", "/" + String(repeating: "s", count: 200), "--blk-file", "null:1G"], "--socket-path"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--serial", "123456789012345678901"], "--serial"),
        (["--on-error", "hold"], "neither"), (["--socket-path", "/x", "--blk-file", "null:1G", "--on-error", "hold:soon"], "hold:soon"),
        (["--register-memory"], "neither"), (["--post-copy"], "neither"), (["--socket-mode", "0600"], "neither"),
        (["--coalesce-us", "50"], "neither"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--spin-us", "1001"], "--spin-us cannot be 1001"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--coalesce-us=-1"], "--coalesce-us cannot be -1"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--coalesce-count", "0"], "--coalesce-count cannot be 0"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--socket-mode", "9"], "--socket-mode"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--direct", "maybe"], "maybe"),
        (["--fd", "3", "--blk-file", "null:1G", "--socket-group", "kvm"], "--socket-mode and --socket-group"),
        (["--socket-path", "/x", "--blk-file", "null:1G", "--cpus", "3-1"], "3-1"), (["--log-level", "loud"], "loud"),
        (["--drain-timeout", "601"], "--drain-timeout cannot be 601"), (["--drain-timeout=-1"], "--drain-timeout cannot be -1"),
        (["--drain-timeout", "soon"], "soon"), (["--sandbox", "maybe"], "maybe"), (["--backing-folder", ""], "--backing-folder"),
    ]

    @Test(arguments: wrongDaemonLines)
    func wrongDaemonCommandLine(_ arguments: [String], _ reason: String) throws {
        let outcome = try Program.run("vhublkd", arguments)
        #expect(outcome.status == 2 && outcome.output.isEmpty)
        #expect(outcome.error.contains(reason), "\(outcome.error)")
    }

    @Test func refusalsAtStart() throws {
        let folder = try TemporaryFolder()
        let socket = folder.path + "/a.sock"
        func expectRefused(_ arguments: [String], _ reason: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
            let outcome = try Program.run("vhublkd", arguments)
            #expect(outcome.status == 1, sourceLocation: sourceLocation)
            #expect(outcome.error.contains(reason) && outcome.error.contains("("), "\(outcome.error)", sourceLocation: sourceLocation)
        }
        try expectRefused(["--socket-path", socket, "--blk-file", "/nonexistent"], "/nonexistent")
        try expectRefused(["--fd", "77", "--blk-file", "null:1G"], "descriptor 77")
        try expectRefused(["--fd", "0", "--blk-file", "null:1G"], "descriptor 0")
        try expectRefused(["--config", "/nonexistent.toml"], "/nonexistent.toml: does not exist")
        try folder.write("f.toml", "\nlog_level = \"loud\"\n")
        try expectRefused(["--config", folder.path + "/f.toml"], "f.toml:2: log_level: ")
        try folder.write("file", "")
        try expectRefused(["--control", folder.path + "/file", "--state-dir", folder.path + "/s"], "not a socket")
        #expect(try folder.read("file") == "")
        try FileManager.default.createSymbolicLink(atPath: folder.path + "/link", withDestinationPath: folder.path + "/target")
        try expectRefused(["--control", folder.path + "/link", "--state-dir", folder.path + "/s"], "symbolicLink")
        try expectRefused(["--control", folder.path + "/no/such/c.sock", "--state-dir", folder.path + "/s"], "control socket")
        try expectRefused(["--control", folder.path + "/c.sock", "--state-dir", folder.path + "/file"], "state directory")
        #expect(try folder.names.filter { $0.hasSuffix(".sock") }.isEmpty)
    }

    @Test func secondDaemonIsRefused() throws {
        let daemon = try RunningDaemon()
        let other = daemon.folder.path + "/other-state"
        let sameControl = try Program.run("vhublkd", ["--control", daemon.control, "--state-dir", other])
        #expect(sameControl.status == 1 && sameControl.error.contains("another vhublkd uses the control socket"))
        let sameState = try Program.run("vhublkd", ["--control", daemon.folder.path + "/2.sock", "--state-dir", daemon.stateFolder])
        #expect(sameState.status == 1 && sameState.error.contains("another vhublkd uses the state directory"))
        #expect(try daemon.call(ExportList.self, NoParameters()).exports.isEmpty)
    }

    @Test func singleExportTakesControlCalls() throws {
        let folder = try TemporaryFolder()
        let image = try folder.image("disk.raw", size: 1 << 20)
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: [
                "--socket-path=\(folder.path)/my disk.sock", "--blk-file=\(image)", "--read-only", "--num-queues", "2", "--control",
                folder.path + "/control.sock",
            ])
        let export = try daemon.call(ExportShow.self, .init(name: "my_disk"))
        #expect(export.origin == .commandLine && export.readOnly && export.queues.count == 2 && export.size == 1 << 20)
        #expect(try daemon.call(DaemonVersion.self, NoParameters()).mode == "single")
        #expect(try daemon.call(ExportAttach.self, .init(name: "my_disk", format: .libvirt)).text.contains("my disk.sock"))
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
        #expect(try folder.names == ["disk.raw", "log"])
    }

    @Test func singleExportNames() {
        #expect(DaemonOptions.exportName(ofSocket: "/run/db0.sock") == "db0")
        #expect(DaemonOptions.exportName(ofSocket: "/run/db.0.sock") == "db.0")
        #expect(DaemonOptions.exportName(ofSocket: "/run/db") == "db")
        for path in ["/.sock", "/-x", "/é x.sock", "/", "", "/" + String(repeating: "n", count: 90)] {
            #expect(TextRule.exportName.problem(with: DaemonOptions.exportName(ofSocket: path)) == nil, "\(path)")
        }
    }

    @Test func inheritedListeningSocket() throws {
        let folder = try TemporaryFolder()
        let listener = try UnixSocket.listen(path: folder.path + "/in.sock")
        let daemon = try Self.start(with: listener, folder)
        #expect(waits { daemon.log.contains("serves 1 export") }, "\(daemon.log)")
        _ = try UnixSocket.connect(path: folder.path + "/in.sock")
        #expect(waits { daemon.log.contains("disconnected") })
        _ = try UnixSocket.connect(path: folder.path + "/in.sock")
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
        // It was not this daemon's to remove.
        #expect(try folder.names.contains("in.sock"))
    }

    @Test func inheritedConnectionEndsTheDaemon() throws {
        let folder = try TemporaryFolder()
        let daemon: RunningDaemon
        do {
            let (ours, theirs) = try UnixSocket.pair()
            daemon = try Self.start(with: theirs, folder)
            #expect(waits { daemon.log.contains("serves 1 export") }, "\(daemon.log)")
            UnixSocket.shutdown(ours)
        }
        #expect(try daemon.waitForEnd() == 0, "\(daemon.log)")
    }

    /// A daemon with a socket as its descriptor 5, which a shell passes on from its standard input.
    private static func start(with socket: FileDescriptor, _ folder: TemporaryFolder) throws -> RunningDaemon {
        let program = Program.folder.appending(path: "vhublkd").path
        return try RunningDaemon(
            folder: folder, arguments: ["-c", "exec '\(program)' --fd=5 --blk-file=null:1M 5<&0 </dev/null"], waitsForControl: false,
            program: "/bin/sh", input: socket)
    }

    static let wrongControlLines: [[String]] = [
        [], ["nonsense"], ["export"], ["export", "nonsense"], ["export", "create"], ["export", "create", "a"],
        ["export", "create", "a", "--backing", "null:1G", "--queues", "many"], ["export", "resize", "a", "1X"], ["attach", "a"],
        ["attach", "a", "--format", "vmware"], ["rpc"], ["rpc", "x", "{"], ["rpc", "x", "[]"], ["top", "--interval", "0"],
        ["top", "--count", "0"],
        ["export", "list", "--nonsense"],
    ]

    @Test(arguments: wrongControlLines)
    func wrongControlCommandLine(_ arguments: [String]) throws {
        let outcome = try Program.run("vhublkctl", arguments)
        #expect(outcome.status == 2 && outcome.output.isEmpty && !outcome.error.isEmpty)
    }

    @Test func daemonThatDoesNotRunIsExplained() throws {
        for arguments in [["export", "list"], ["--control", "/nonexistent.sock", "version"], ["top", "--count", "1"]] {
            let outcome = try Program.run("vhublkctl", arguments, environment: ["VHUBLK_CONTROL": "/nonexistent/c.sock"])
            #expect(outcome.status == 1 && outcome.error.contains("is the daemon running?"))
        }
    }

    @Test func logGoesToTheJournalsForm() throws {
        // JOURNAL_STREAM names the file that standard error is.
        let folder = try TemporaryFolder()
        let log = try folder.write("log", "")
        let status = try #require(try FileStatus.atPath(log))
        let daemon = try RunningDaemon(folder: folder, environment: ["JOURNAL_STREAM": "\(status.device):\(status.inode)"])
        #expect(waits { daemon.log.contains("<6>vhublkd: vhublkd ") }, "\(daemon.log)")
    }
}
