import ControlAPI
import Foundation
import Glibc
import LinuxSystem
import Testing

@testable import Daemon

/// Who may use the control socket.
struct ControlAccessTests {
    @Test func modeAndGroupOfTheSocket() throws {
        let folder = try TemporaryFolder()
        try folder.write("f.toml", "control_mode = \"0606\"\ncontrol_group = \"\(getegid())\"\n")
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: ["--config", folder.path + "/f.toml", "--control", folder.path + "/control.sock", "--state-dir", folder.path + "/s"])
        let status = try #require(try FileStatus.atPath(daemon.control))
        #expect(status.kind == .socket && status.permissions == 0o606 && status.group == getegid())
    }

    @Test func unknownGroupIsRefused() throws {
        let folder = try TemporaryFolder()
        try folder.write("f.toml", "control_group = \"no-such-group-here\"\n")
        let outcome = try Program.run(
            "vhublkd", ["--config", folder.path + "/f.toml", "--control", folder.path + "/c.sock", "--state-dir", folder.path + "/s"])
        #expect(outcome.status == 1 && outcome.error.contains("no-such-group-here"))
    }

    /// The socket's peer is this process, whose user and groups stand for the stranger's.
    @Test func peersAreToldApart() throws {
        let (ours, theirs) = try UnixSocket.pair()
        _ = ours
        let me = geteuid()
        let myGroup = getegid()
        func isRefused(_ change: (inout ControlAccess) -> Void) -> Bool {
            var access = ControlAccess()
            access.user = me &+ 1
            access.group = myGroup &+ 1
            change(&access)
            return access.refusal(of: theirs) != nil
        }
        // Root is let in always, so a stranger can only be played by others.
        let isRoot = me == 0
        #expect(isRefused { _ in } == !isRoot)
        #expect(!isRefused { $0.user = me })
        #expect(!isRefused { $0.group = myGroup })
        #expect(!isRefused { $0.groupNumber = myGroup })
        #expect(!isRefused { $0.mode = 0o666 })
        // Users who are named are let in, and a mode for everybody lets in nobody else then.
        #expect(!isRefused { $0.userNumbers = [me &+ 7, me] })
        #expect(
            isRefused {
                $0.userNumbers = [me &+ 7]
                $0.mode = 0o666
            } == !isRoot)
        #expect(
            isRefused {
                $0.groupNumber = myGroup
                $0.mode = 0o600
            } == !isRoot)
    }

    /// The socket was opened to all behind the daemon's back: it still asks who comes. Only root can play a stranger; for others the caller
    /// is
    /// the daemon's own user, who is let in.
    @Test func strangersAreTurnedAway() throws {
        let daemon = try RunningDaemon()
        for path in [daemon.folder.path, daemon.control] { #expect(unsafe chmod(path, 0o777) == 0) }
        let isRoot = geteuid() == 0
        let stranger = isRoot ? "setpriv --reuid=65534 --regid=65534 --clear-groups" : ""
        let script = "exec \(stranger) '\(Program.folder.path)/vhublkctl' --control \(daemon.control) export list"
        let outcome = try Program.run("/bin/sh", ["-c", script])
        #expect(outcome.status == (isRoot ? 1 : 0), "\(outcome.error)")
        #expect(outcome.error.contains("may not use this control socket") == isRoot)
        #expect(daemon.log.contains("turned away") == isRoot)
    }
}
