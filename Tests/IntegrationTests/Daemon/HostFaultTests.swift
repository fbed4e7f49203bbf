import Foundation
import Testing

extension Integration {
    /// Backings that fail with real parts: files served by nbdkit that fail on demand, a file system without room, a loop device that is
    /// taken away, a host that forbids io_uring. Another export of the same daemon must not notice.
    @Suite struct HostFaultTests {
        /// A file of 64 MiB that answers reads and writes with EIO while `folder/inject` exists.
        static func withFailingFile<Result: Sendable>(
            in folder: String, rate: String, _ body: @Sendable (_ file: String, _ server: RunningProgram) async throws -> Result
        ) async throws -> Result {
            let file = folder + "/failing"
            try Data().write(to: URL(filePath: file))
            let faults = ["error-pread-rate=\(rate)", "error-pwrite-rate=\(rate)", "error=EIO", "error-file=\(folder)/inject"]
            let arguments = [file, "--command", "nbdkit", "-s", "--filter=error", "memory", "64M"] + faults
            return try await Program.with("nbdfuse", arguments) { server in
                do {
                    try await eventually(.seconds(20), "nbdfuse: nothing is mounted at \(file)") {
                        (try? FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) == 64 << 20
                    }
                    let result = try await body(file, server)
                    try await unmount(file)
                    return result
                } catch {
                    try? await unmount(file)
                    throw error
                }
            }
        }

        private static func unmount(_ file: String) async throws {
            try await eventually(.seconds(10), "\(file) is busy") {
                (try? await Root.succeed("sh", ["-c", "umount \"$1\" 2>/dev/null || ! grep -q \" $1 \" /proc/mounts", "sh", file])) != nil
            }
        }

        static func inject(_ folder: String, _ isOn: Bool) throws {
            let file = folder + "/inject"
            if isOn { try Data().write(to: URL(filePath: file)) } else { try FileManager.default.removeItem(atPath: file) }
        }

        static let verifiedWrites = ["--rw=randwrite", "--bs=16k", "--iodepth=16", "--size=8m", "--verify=crc32c"]

        static func bench(_ disk: ServedDisk, _ arguments: [String]) async throws -> Outcome {
            try await Program.run(Places.product("vhublk-bench"), ["--socket", disk.socket, "--eta=never"] + arguments)
        }

        /// A failing disk and a good one on one daemon; `body` also gets the daemon.
        static func serve<Result: Sendable>(
            _ bad: ServedDisk, in folder: String,
            _ body: @Sendable (_ control: DaemonControl, _ good: ServedDisk, _ daemon: RunningProgram) async throws -> Result
        ) async throws -> Result {
            let good = ServedDisk(name: "good", image: folder + "/good.raw", socket: folder + "/good.sock")
            try await Image.make(good.image, mebibytes: 16)
            let control = DaemonControl(socket: folder + "/control.sock")
            let configuration = folder + "/vhublkd.toml"
            try Data("drain_timeout_s = 1\n".utf8).write(to: URL(filePath: configuration))
            let arguments = ["--control", control.socket, "--state-dir", folder + "/state", "--config", configuration]
            return try await Program.with(Places.product("vhublkd"), arguments) { daemon in
                try await waitForSocket(control.socket, daemon)
                for disk in [bad, good] { try await control.create(disk) }
                return try await body(control, good, daemon)
            }
        }

        @Test(.timeLimit(.minutes(2))) func errorsReachTheClientAndNobodyElse() async throws {
            try await Places.withFolder { folder in
                try await Self.withFailingFile(in: folder, rate: "10%") { file, _ in
                    let bad = ServedDisk(name: "bad", image: file, socket: folder + "/bad.sock")
                    try await Self.serve(bad, in: folder) { control, good, daemon in
                        try Self.inject(folder, true)
                        async let beside = Self.bench(good, Self.verifiedWrites)
                        let failed = try await Self.bench(bad, Self.verifiedWrites)
                        #expect(failed.status != 0 && failed.output.contains("IOERR"), "\(failed.output)")
                        let other = try await beside
                        #expect(other.status == 0, "\(other.output)")
                        let statistics = try await control("--json", "stats", "bad")
                        let errors = try Self.total(statistics)
                        #expect((errors["io_errors"] as? Int ?? 0) > 0 && errors["held_total"] as? Int == 0, "\(statistics)")
                        #expect(((errors["backing"] as? [String: Any])?["errors"] as? Int ?? 0) > 0, "\(statistics)")
                        #expect(try await control("export", "show", "bad").contains("backing saw:"))
                        // The disk is well again, and so is the export.
                        try Self.inject(folder, false)
                        let well = try await Self.bench(bad, Self.verifiedWrites)
                        #expect(well.status == 0, "\(well.output)")
                        #expect(daemon.isRunning)
                    }
                }
            }
        }

        private static func total(_ statistics: String) throws -> [String: Any] {
            let document = try JSONSerialization.jsonObject(with: Data(statistics.utf8)) as? [String: Any]
            let exports = try #require(document?["exports"] as? [[String: Any]])
            return try #require(exports.first?["total"] as? [String: Any])
        }

        @Test(.timeLimit(.minutes(2))) func heldRequestsAreAPause() async throws {
            try await Places.withFolder { folder in
                try await Self.withFailingFile(in: folder, rate: "100%") { file, _ in
                    let bad = ServedDisk(name: "bad", image: file, socket: folder + "/bad.sock", onError: "hold")
                    try await Self.serve(bad, in: folder) { control, good, daemon in
                        try Self.inject(folder, true)
                        async let paused = Self.bench(bad, Self.verifiedWrites)
                        try await eventually(.seconds(20), "no request is held") {
                            try await control("export", "show", "bad").contains("last error: Input/output error")
                        }
                        let beside = try await Self.bench(good, Self.verifiedWrites)
                        #expect(beside.status == 0, "\(beside.output)")
                        try Self.inject(folder, false)
                        #expect(try await control("export", "retry", "bad").contains("held requests are tried again"))
                        let outcome = try await paused
                        #expect(outcome.status == 0, "\(outcome.output)")
                        try await eventually(.seconds(10), "the end of it is not told: \(daemon.journal.text)") {
                            daemon.journal.contains("no request is held any more")
                        }
                        let begun = daemon.journal.text.components(separatedBy: "the backing fails requests, which are held").count - 1
                        #expect(begun == 1, "once: \(daemon.journal.text)")
                        #expect(try Self.total(try await control("--json", "stats", "bad"))["io_errors"] as? Int == 0)
                    }
                }
            }
        }

        /// The program behind a FUSE file dies: every request of an open file fails from then on. The export is made anew for another one.
        @Test(.timeLimit(.minutes(2))) func aDeviceThatVanishesIsReplacedByHand() async throws {
            try await Places.withFolder { folder in
                try await Self.withFailingFile(in: folder, rate: "100%") { file, server in
                    let bad = ServedDisk(name: "bad", image: file, socket: folder + "/bad.sock", onError: "hold")
                    try await Self.serve(bad, in: folder) { control, good, daemon in
                        server.signal(SIGKILL)
                        let arguments = Self.verifiedWrites + ["--reconnect"]
                        async let paused = Self.bench(bad, arguments)
                        try await eventually(.seconds(20), "no request is held") {
                            try await control("export", "show", "bad").contains("last error: ")
                        }
                        let before = ContinuousClock.now
                        try await control("export", "delete", "bad", "--force")
                        #expect(ContinuousClock.now - before < .seconds(6), "drain_timeout_s bounds it")
                        var another = bad
                        another.image = folder + "/another.raw"
                        try await Image.make(another.image, mebibytes: 64)
                        try await control.create(another)
                        let outcome = try await paused
                        #expect(outcome.status == 0, "\(outcome.output)")
                        #expect(daemon.isRunning)
                        let beside = try await Self.bench(good, Self.verifiedWrites)
                        #expect(beside.status == 0, "\(beside.output)")
                    }
                }
            }
        }

        /// A full file system holds requests; the daemon is killed meanwhile, and told to stop: they wait in the inflight region.
        @Test(.timeLimit(.minutes(2)), arguments: [[], ["--packed"]]) func heldRequestsSurviveTheDaemon(_ format: [String]) async throws {
            try await Places.withFolder { folder in
                let room = folder + "/room"
                try FileManager.default.createDirectory(atPath: room, withIntermediateDirectories: false)
                try await Root.succeed("mount", ["-t", "tmpfs", "-o", "size=2m,mode=1777", "tmpfs", room])
                try await Root.undoing("umount", ["-l", room]) {
                    let disk = ServedDisk(name: "full", image: room + "/full.raw", socket: folder + "/full.sock", onError: "hold")
                    try await Image.make(disk.image, mebibytes: 8)
                    try Data("drain_timeout_s = 1\n".utf8).write(to: URL(filePath: folder + "/vhublkd.toml"))
                    let control = DaemonControl(socket: folder + "/control.sock")
                    let daemon = ["--control", control.socket, "--state-dir", folder + "/state", "--config", folder + "/vhublkd.toml"]
                    let isHeld: @Sendable () async throws -> Void = {
                        try await eventually(.seconds(20), "no request is held") {
                            (try? await control("export", "show", "full").contains("No space left on device")) ?? false
                        }
                    }
                    let run = Self.verifiedWrites + format + ["--reconnect"]
                    let client = try await Program.with(Places.product("vhublkd"), daemon) { server in
                        try await waitForSocket(control.socket, server)
                        try await control.create(disk)
                        let client = Task { try await Self.bench(disk, run) }
                        try await isHeld()
                        server.signal(SIGKILL)
                        return client
                    }
                    try await Program.with(Places.product("vhublkd"), daemon) { server in
                        try await isHeld()
                        server.signal(SIGTERM)
                        try await eventually(.seconds(8), "SIGTERM with held requests is bounded") { !server.isRunning }
                    }
                    try await Program.with(Places.product("vhublkd"), daemon) { _ in
                        try await isHeld()
                        try await Root.succeed("mount", ["-o", "remount,size=16m", room])
                        let outcome = try await client.value
                        #expect(outcome.status == 0, "\(outcome.output)")
                    }
                }
            }
        }

        /// The kernel detaches a loop device only when its last user is gone: an export that uses it does not notice, and lets go when it ends.
        @Test(.timeLimit(.minutes(1))) func aLoopDeviceDetachedUnderIOIsKeptToTheEnd() async throws {
            try await Places.withFolder { folder in
                let image = folder + "/loop.raw"
                try await Image.make(image, mebibytes: 16)
                let device = try await Root.succeed("losetup", ["--find", "--show", "--direct-io=on", image])
                    .trimmingCharacters(in: .newlines)
                try await Root.own(device)
                let disk = ServedDisk(name: "loop", image: device, socket: folder + "/loop.sock")
                try await Self.serve(disk, in: folder) { control, _, _ in
                    async let running = Self.bench(disk, ["--rw=randrw", "--iodepth=16", "--size=8m", "--verify=crc32c"])
                    try await Root.succeed("losetup", ["--detach", device])
                    let outcome = try await running
                    #expect(outcome.status == 0, "\(outcome.output)")
                    try await control("export", "delete", "loop")
                    try await eventually(.seconds(10), "\(device) is still attached") {
                        try await !Root.succeed("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"]).contains(image)
                    }
                }
            }
        }

        /// io_uring is forbidden to everybody but the administrator, and nothing may be locked in memory: libaio serves, and says why.
        @Test(.timeLimit(.minutes(1))) func aHostWithoutIOUringAndLockedMemory() async throws {
            try await Places.withFolder { folder in
                let own = folder + "/own"
                try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: false)
                let disk = ServedDisk(name: "disk", image: own + "/disk.raw", socket: own + "/disk.sock")
                try await Image.make(disk.image, mebibytes: 16)
                let control = DaemonControl(socket: own + "/control.sock")
                let user = getuid() == 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"] : ["env"]
                if getuid() == 0 { try await Program.succeed("chown", ["-R", "65534:65534", own]) }
                let daemon = ["prlimit", "--memlock=0"] + user + [Places.product("vhublkd"), "--control", control.socket]
                let before = try await Root.succeed("sysctl", ["-n", "kernel.io_uring_disabled"]).trimmingCharacters(in: .newlines)
                try await Root.succeed("sysctl", ["-w", "kernel.io_uring_disabled=1"])
                try await Root.undoing("sysctl", ["-w", "kernel.io_uring_disabled=\(before)"]) {
                    try await Program.with(daemon[0], Array(daemon.dropFirst()) + ["--state-dir", own + "/state"]) { server in
                        try await waitForSocket(control.socket, server)
                        let limits = try String(contentsOfFile: "/proc/\(server.process)/limits", encoding: .utf8)
                        #expect(limits.contains(#/Max locked memory +0 +0/#), "\(limits)")
                        var refused = disk
                        refused.engine = "io_uring"
                        let refusal = await #expect(throws: TestbedError.self) { try await control.create(refused) }
                        #expect("\(refusal as Any)".contains("kernel.io_uring_disabled"), "\(refusal as Any)")
                        try await control.create(disk)
                        let shown = try await control("export", "show", "disk")
                        #expect(shown.contains("libaio (io_uring is not available"), "\(shown)")
                        let outcome = try await Self.bench(disk, Self.verifiedWrites)
                        #expect(outcome.status == 0, "\(outcome.output)")
                    }
                }
            }
        }
    }
}
