import CLinux
import ControlAPI
import Foundation
import LinuxSystem
import Testing
import VhostUserFrontend

/// What a running daemon has given up, as the kernel and its own user see it.
struct SandboxTests {
    private static let hasLandlock = (try? Landlock.version()) != nil

    /// The status of every thread of a daemon.
    private static func threads(_ daemon: RunningDaemon) throws -> [[String: String]] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/task").map { task in
            let text = try String(contentsOf: URL(filePath: "/proc/\(daemon.pid)/task/\(task)/status"), encoding: .utf8)
            let pairs = text.split(separator: "\n").map { $0.split(separator: ":", maxSplits: 1).map(String.init) }
            return Dictionary(uniqueKeysWithValues: pairs.map { ($0[0], $0.count > 1 ? $0[1].trimmingCharacters(in: .whitespaces) : "") })
        }
    }

    private static func start(_ arguments: [String], folder: TemporaryFolder? = nil) throws -> RunningDaemon {
        let folder = try folder ?? TemporaryFolder()
        return try RunningDaemon(
            folder: folder, arguments: arguments + ["--control", folder.path + "/control.sock", "--state-dir", folder.path + "/state"])
    }

    /// A front-end that makes the daemon start a poller, its engine and its slow operations.
    private static func work(_ daemon: RunningDaemon, _ name: String, engine: EngineChoice) throws {
        let image = try daemon.folder.image("\(name).raw", size: 16 << 20)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: name, backing: image, queues: 2, engine: engine))
        let driver = try BlockDriver(path: daemon.folder.path + "/\(name).sock", options: BlockDriverOptions())
        for _ in 0..<3 {
            try driver.write(sector: 8, [UInt8](repeating: 7, count: 4096))
            #expect(try driver.read(sector: 8, count: 4096) == [UInt8](repeating: 7, count: 4096))
            try driver.flush()
            try driver.apply(.discard, [SectorRange(sector: 8, sectorCount: 8)])
            try driver.apply(.writeZeroes, [SectorRange(sector: 16, sectorCount: 8)])
        }
        driver.close()
    }

    @Test(arguments: [("on", "3"), ("strict", "0")])
    func everyThreadHasGivenUpWhatItDoesNotNeed(_ mode: String, _ capabilities: String) throws {
        // What a kernel lacks keeps a strict daemon from starting: where there is no landlock that is what is tested.
        guard Self.hasLandlock || mode == "on" else {
            let outcome = try Program.run("vhublkd", ["--sandbox", mode, "--socket-path", "/tmp/x.sock", "--blk-file", "null:1M"])
            return #expect(outcome.status == 1 && outcome.error.contains("the sandbox cannot be entered"))
        }
        let daemon = try Self.start(["--sandbox", mode])
        try Self.work(daemon, "uring", engine: .ioURing)
        try Self.work(daemon, "aio", engine: .libaio)
        let threads = try Self.threads(daemon)
        #expect(threads.count >= 3)
        for thread in threads {
            let name = thread["Name"] ?? ""
            #expect(thread["NoNewPrivs"] == "1" && thread["Seccomp"] == "2", "\(name)")
            let effective = try #require(UInt64(thread["CapEff"] ?? "", radix: 16))
            // Root keeps two capabilities at most; whoever else runs this has none to keep.
            #expect(effective & ~(try #require(UInt64(capabilities, radix: 16))) == 0, "\(name) has \(effective)")
            for set in ["CapPrm", "CapBnd", "CapInh", "CapAmb"] where geteuid() == 0 {
                #expect(try #require(UInt64(thread[set] ?? "", radix: 16)) & ~effective == 0, "\(name) \(set)")
            }
            let filters = Int(thread["Seccomp_filters"] ?? "") ?? 0
            // The process's two and its own; a poller's helper has the poller's too.
            if name.hasPrefix("poller") || name == "worker" { #expect(filters == 3, "\(name) has \(filters)") }
            if name == "slow-io" { #expect(filters == 4) }
        }
        #expect(threads.contains { $0["Name"]?.hasPrefix("poller") == true } && threads.contains { $0["Name"] == "worker" })
        let version = try daemon.call(DaemonVersion.self, NoParameters())
        #expect(version.sandbox == mode && (version.unprotected.isEmpty || !Self.hasLandlock), "\(version.unprotected)")
        for protection in ["no new privileges", "no core dumps, no tracing", "capabilities: ", "seccomp: ", "io_uring: "] {
            #expect(version.hardening.contains { $0.hasPrefix(protection) }, "\(protection)")
        }
        let shown = try daemon.control(["version", "--verbose"]).output
        for protection in version.hardening { #expect(shown.contains(protection)) }
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0, "\(daemon.log)")
    }

    /// A strict daemon ends at the first forbidden call: that it lives after all of this shows that the lists are complete.
    @Test func aStrictDaemonDoesAllItsWork() throws {
        guard Self.hasLandlock else { return #expect(!Self.hasLandlock) }
        let daemon = try Self.start(["--sandbox", "strict"])
        try Self.work(daemon, "a", engine: .auto)
        _ = try daemon.call(ExportResize.self, .init(name: "a", size: ByteSize(32 << 20)))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "n", backing: "null:1G"))
        _ = try daemon.call(ExportResize.self, .init(name: "n", size: ByteSize(2 << 30)))
        var parameters = ExportParameters(name: "g", backing: "null:1G")
        parameters.socketGroup = "root"
        parameters.socketMode = "0666"
        _ = try? daemon.call(ExportCreate.self, parameters)
        #expect(try daemon.refusal(.exportCreate, ["name": "x", "backing": "/nonexistent"]).kind == .backing)
        _ = try daemon.call(StatsGet.self, .init(name: nil))
        daemon.signal(SIGHUP)
        _ = try daemon.call(ExportDelete.self, .init(name: "n"))
        let before = try daemon.settledExports()
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0, "\(daemon.log)")
        try daemon.restart()
        #expect(try daemon.settledExports().map(\.name) == before.map(\.name))
    }

    /// What a process of the daemon's own user gets when it reaches for the daemon's memory: 0, or the negated errno.
    private static func reach(_ daemon: RunningDaemon) throws -> [Int64] {
        let answers = Locked<[Int64]>([])
        let pid = Int(daemon.pid)
        // Root may look at everything, so a thread of ours becomes the user that the daemon runs as; the bare calls change that thread alone.
        let thread = try PinnedThread(name: "intruder") {
            func call(_ name: String, _ arguments: Int...) -> Int64 {
                unsafe clinux_system_call(
                    Int(clinux_system_call_number(name)), arguments + [Int](repeating: 0, count: 6 - arguments.count))
            }
            if geteuid() == 0 {
                _ = call("setgroups", 0, 0)
                _ = call("setresgid", 65534, 65534, 65534)
                _ = call("setresuid", 65534, 65534, 65534)
            }
            // One byte of ours to read into, and an address of the daemon's that is never mapped.
            var byte: UInt8 = 0
            let read = unsafe withUnsafeMutablePointer(to: &byte) { byte in
                let local = unsafe iovec(iov_base: byte, iov_len: 1)
                let remote = unsafe iovec(iov_base: UnsafeMutableRawPointer(bitPattern: 1), iov_len: 1)
                return unsafe withUnsafePointer(to: local) { local in
                    unsafe withUnsafePointer(to: remote) { remote in
                        call("process_vm_readv", pid, Int(bitPattern: local), 1, Int(bitPattern: remote), 1, 0)
                    }
                }
            }
            // PTRACE_SEIZE
            let traced = call("ptrace", 0x4206, pid, 0, 0)
            answers.withLock { $0 = [read, traced] }
        }
        thread.join()
        return answers.withLock { $0 }
    }

    private static func asNobody(_ options: String) throws -> RunningDaemon {
        let folder = try TemporaryFolder()
        let isRoot = geteuid() == 0
        let program = Program.folder.appending(path: "vhublkd").path
        if isRoot { #expect(unsafe chown(folder.path, 65534, 65534) == 0) }
        let become = isRoot ? "setpriv --reuid=65534 --regid=65534 --clear-groups" : ""
        let line = "exec \(become) '\(program)' \(options) --control \(folder.path)/control.sock --state-dir \(folder.path)/state"
        return try RunningDaemon(folder: folder, arguments: ["-c", line], program: "/bin/sh")
    }

    @Test func itsOwnUserCannotLookInside() throws {
        let daemon = try Self.asNobody("")
        #expect(try Self.reach(daemon) == [-Int64(EPERM), -Int64(EPERM)])
        let version = try daemon.call(DaemonVersion.self, NoParameters())
        #expect(version.hardening.contains { $0.hasPrefix("unprivileged user") } || geteuid() != 0)
        #expect(version.hardening.contains("capabilities: none"))
        // And for debugging it can: the refusals above are the daemon's doing.
        let open = try Self.asNobody("--core-dumps")
        let reached = try Self.reach(open)
        #expect(reached[0] == -Int64(EFAULT) || reached[0] == 0, "\(reached)")
        #expect(try open.call(DaemonVersion.self, NoParameters()).hardening.contains { $0.contains("as asked for") })
    }

    @Test func theSandboxCanBeSwitchedOff() throws {
        let daemon = try Self.start(["--sandbox", "off"])
        try Self.work(daemon, "a", engine: .auto)
        for thread in try Self.threads(daemon) { #expect(thread["Seccomp"] == "0" && thread["NoNewPrivs"] == "1") }
        let version = try daemon.call(DaemonVersion.self, NoParameters())
        #expect(version.sandbox == "off" && version.unprotected.contains { $0.contains("the sandbox is off") })
    }

    @Test func backingsOutsideOfTheFoldersAreRefusedWithTheReason() throws {
        let folder = try TemporaryFolder()
        let images = folder.path + "/images"
        try FileManager.default.createDirectory(atPath: images, withIntermediateDirectories: false)
        let inside = try folder.image("images/in.raw", size: 1 << 20)
        let outside = try folder.image("out.raw", size: 1 << 20)
        let daemon = try Self.start(["--backing-folder", images], folder: folder)
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "in", backing: inside))
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "null", backing: "null:1M"))
        try FileManager.default.createSymbolicLink(atPath: images + "/link.raw", withDestinationPath: outside)
        for path in [outside, images + "/link.raw", images + "/../out.raw", "/dev/zero"] {
            let error = try daemon.refusal(.exportCreate, ["name": "out", "backing": .string(path)])
            #expect(error.kind == .permission && error.data?.field == "backing" && error.message.contains(images), "\(error)")
            #expect(error.data?.hint?.contains("backing_folders") == true)
        }
        let socket = try daemon.refusal(.exportCreate, ["name": "s", "backing": "null:1M", "socket": "/tmp/vhublk-elsewhere.sock"])
        #expect(socket.kind == .permission && socket.data?.hint?.contains("socket_folders") == true, "\(socket)")
        if Self.hasLandlock {
            #expect(try daemon.call(DaemonVersion.self, NoParameters()).hardening.contains { $0.contains("only the folders") })
        }
        // What it keeps is enough to come back, to be resized and to be removed.
        try Self.workInside(daemon)
    }

    private static func workInside(_ daemon: RunningDaemon) throws {
        _ = try daemon.call(ExportResize.self, .init(name: "in", size: ByteSize(2 << 20)))
        let before = try daemon.settledExports()
        daemon.kill()
        try daemon.restart()
        #expect(try daemon.settledExports() == before)
        _ = try daemon.call(ExportDelete.self, .init(name: "in"))
        #expect(try daemon.folder.names.filter { $0 == "in.sock" }.isEmpty)
    }

    /// One export and nobody who could ask for another: its own file is all that such a daemon reaches.
    @Test func aSingleExportReachesItsFileAlone() throws {
        let folder = try TemporaryFolder()
        let image = try folder.image("disk.raw", size: 1 << 20)
        let daemon = try RunningDaemon(
            folder: folder, arguments: ["--socket-path", folder.path + "/one.sock", "--blk-file", image, "--log-level", "debug"],
            waitsForControl: false)
        #expect(waits { daemon.log.contains("serves 1 export") }, "\(daemon.log)")
        // The log tells it last.
        #expect(!Self.hasLandlock || waits { daemon.log.contains("only the folders of backings") }, "\(daemon.log)")
        let driver = try BlockDriver(path: folder.path + "/one.sock", options: BlockDriverOptions())
        try driver.write(sector: 0, [UInt8](repeating: 7, count: 4096))
        driver.close()
    }
}
