import ControlAPI
import Foundation
import Glibc
import LinuxSystem
import Testing

/// What a service manager sees.
struct ServiceTests {
    /// A datagram socket that takes what the daemon tells, as systemd does.
    private final class Receiver {
        let descriptor: FileDescriptor

        init(path: String) throws {
            descriptor = FileDescriptor(owning: Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0))
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
            let size = socklen_t(MemoryLayout<sockaddr_un>.size)
            let status = unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(descriptor.rawValue, $0, size) }
            }
            try #require(status == 0)
        }

        func next() throws -> String {
            try #require(try descriptor.wait(for: .readable, nanoseconds: 10_000_000_000), "nothing was told")
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe descriptor.read(into: $0) } ?? 0
            return String(decoding: bytes[..<count], as: UTF8.self)
        }
    }

    @Test func readyReloadAndStopAreTold() throws {
        let folder = try TemporaryFolder()
        let receiver = try Receiver(path: folder.path + "/notify")
        try folder.write("f.toml", "[[exports]]\nname = \"a\"\nbacking = \"null:1M\"\n")
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: [
                "--config", folder.path + "/f.toml", "--control", folder.path + "/control.sock", "--state-dir", folder.path + "/state",
            ],
            environment: ["NOTIFY_SOCKET": folder.path + "/notify"])
        #expect(try receiver.next() == "READY=1\nSTATUS=1 exports")
        daemon.signal(SIGHUP)
        #expect(try receiver.next().hasPrefix("RELOADING=1\nMONOTONIC_USEC="))
        #expect(try receiver.next().hasPrefix("READY=1"))
        daemon.signal(SIGTERM)
        #expect(try receiver.next() == "STOPPING=1")
        #expect(try daemon.waitForEnd() == 0)
    }

    @Test func watchdogIsFedOnlyWhenAsked() throws {
        let folder = try TemporaryFolder()
        let receiver = try Receiver(path: folder.path + "/notify")
        let start = MonotonicClock.now()
        let daemon = try RunningDaemon(
            folder: folder, environment: ["NOTIFY_SOCKET": folder.path + "/notify", "WATCHDOG_USEC": "100000"])
        #expect(try receiver.next().hasPrefix("READY=1"))
        for _ in 0..<10 { #expect(try receiver.next() == "WATCHDOG=1") }
        // The first comes at once, then one each 50 ms, twice within the time that was given, and not more often.
        #expect(MonotonicClock.now() - start >= 9 * 50_000_000)
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
    }

    @Test func watchdogOfAnotherProcessIsNotFed() throws {
        let folder = try TemporaryFolder()
        let receiver = try Receiver(path: folder.path + "/notify")
        let daemon = try RunningDaemon(
            folder: folder, environment: ["NOTIFY_SOCKET": folder.path + "/notify", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"])
        #expect(try receiver.next().hasPrefix("READY=1"))
        #expect(try !receiver.descriptor.wait(for: .readable, nanoseconds: 200_000_000))
        _ = daemon
    }

    /// An idle daemon sleeps: its threads are not woken by timers of its own.
    @Test func idleDaemonIsNotWoken() throws {
        let daemon = try RunningDaemon()
        for number in 0..<20 { _ = try daemon.call(ExportCreate.self, ExportParameters(name: "e\(number)", backing: "null:1G")) }
        ProcessSelf.sleep(nanoseconds: 300_000_000)
        let before = try Self.switches(daemon.pid)
        ProcessSelf.sleep(nanoseconds: 1_000_000_000)
        #expect(try Self.switches(daemon.pid) - before < 5)
    }

    /// Context switches of all threads.
    private static func switches(_ pid: Int32) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task").map { task in
            let status = try String(contentsOf: URL(filePath: "/proc/\(pid)/task/\(task)/status"), encoding: .utf8)
            return status.split(separator: "\n").filter { $0.contains("ctxt_switches") }.compactMap {
                Int($0.split(separator: "\t").last ?? "")
            }
            .reduce(0, +)
        }.reduce(0, +)
    }

    @Test func protections() throws {
        let daemon = try RunningDaemon()
        #expect(try daemon.call(DaemonVersion.self, NoParameters()).hardening.contains("no core dumps, no tracing"))
        let limits = try String(contentsOf: URL(filePath: "/proc/\(daemon.pid)/limits"), encoding: .utf8)
        let core = try #require(limits.split(separator: "\n").first { $0.hasPrefix("Max core file size") })
        #expect(core.split(separator: " ").filter { $0 == "0" }.count == 2)
    }

    @Test func secondSignalEndsAtOnce() throws {
        let daemon = try RunningDaemon()
        daemon.signal(SIGTERM)
        daemon.signal(SIGTERM)
        #expect([0, 1].contains(try daemon.waitForEnd()))
    }
}
