import Foundation
import Testing

extension Integration {
    /// What `make install` puts where, and that it runs from there.
    @Suite struct InstalledTreeTests {
        static func install(prefix: String, destination: String) async throws {
            try await Program.succeed(
                "make", ["-C", Places.root, "install", "PREFIX=\(prefix)", "DESTDIR=\(destination)"], limit: .seconds(300))
        }

        static func json(_ data: Data) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        }

        @Test(.timeLimit(.minutes(6))) func packagersFindEverythingInItsPlace() async throws {
            try await Places.withFolder { folder in
                try await Self.install(prefix: "/usr", destination: folder)
                let files = try await Program.succeed("find", [folder, "-type", "f", "-printf", "%P\n"]).split(separator: "\n").map(
                    String.init)
                let expected = [
                    "usr/bin/vhublkd", "usr/bin/vhublkctl", "usr/bin/vhublk-bench", "usr/lib/systemd/system/vhublkd.service",
                    "usr/lib/sysusers.d/vhublk.conf", "usr/lib/tmpfiles.d/vhublk.conf", "usr/share/qemu/vhost-user/50-vhublk.json",
                    "etc/vhublk/vhublkd.toml", "usr/share/bash-completion/completions/vhublkctl", "usr/share/zsh/site-functions/_vhublkctl",
                    "usr/share/fish/vendor_completions.d/vhublkctl.fish", "usr/share/man/man8/vhublkd.8", "usr/share/man/man8/vhublkctl.8",
                ]
                for file in expected {
                    #expect(
                        files.contains(file) || files.contains(file.replacing("man8", with: "man1").replacing(".8", with: ".1")), "\(file)")
                }
                let text = try await Program.succeed(
                    "grep", ["-rlI", "--", folder, folder + "/usr/lib", folder + "/usr/share", folder + "/etc"], statuses: [0, 1])
                #expect(text.isEmpty, "the staging folder's name is in no file: \(text)")

                let discovery = try Self.json(Data(contentsOf: URL(filePath: folder + "/usr/share/qemu/vhost-user/50-vhublk.json")))
                #expect(discovery["type"] as? String == "block")
                #expect(discovery["binary"] as? String == "/usr/bin/vhublkd")
                let capabilities = try Self.json(
                    Data(try await Program.succeed(folder + "/usr/bin/vhublkd", ["--print-capabilities"]).utf8))
                #expect(capabilities["type"] as? String == "block")
                #expect(capabilities["features"] as? [String] == ["read-only", "blk-file"])
            }
        }

        @Test(.timeLimit(.minutes(6))) func theUnitIsValidAndHardened() async throws {
            try await Places.withFolder { folder in
                try await Self.install(prefix: folder, destination: "")
                let unit = folder + "/lib/systemd/system/vhublkd.service"
                let verified = try await Program.succeed("systemd-analyze", ["verify", "--man=no", unit])
                #expect(!verified.contains("vhublkd.service"), "nothing to say about the unit: \(verified)")
                let security = try await Program.succeed("systemd-analyze", ["security", "--offline=true", "--no-pager", unit])
                let score = try #require(security.firstMatch(of: /Overall exposure level for vhublkd.service: ([0-9.]+)/)?.1)
                #expect(try #require(Double(score)) < 2.0)
            }
        }

        @Test(.timeLimit(.minutes(6))) func anUnprivilegedUserServesAFileOfTheirOwn() async throws {
            try await Places.withFolder { folder in
                try await Self.install(prefix: folder + "/tree", destination: "")
                let own = folder + "/own"
                try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: false)
                let disk = ServedDisk(name: "mine", image: own + "/mine.raw", socket: own + "/mine.sock", queues: 2)
                try await Image.make(disk.image, mebibytes: 8)
                // Who runs the tests as root becomes nobody; others are unprivileged already.
                let user = getuid() == 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : ["env"]
                if getuid() == 0 {
                    try await Program.succeed("chown", ["-R", "65534:65534", own])
                    try await Program.succeed("chmod", ["-R", "go-rwx", own])
                }
                let daemon = ["--control", own + "/control.sock", "--state-dir", own + "/state"]
                try await Program.with(user[0], Array(user.dropFirst()) + [folder + "/tree/bin/vhublkd"] + daemon) { server in
                    try await waitForSocket(own + "/control.sock", server)
                    let identity = try String(contentsOfFile: "/proc/\(server.process)/status", encoding: .utf8)
                    #expect(!identity.contains("Uid:\t0"))
                    let control = Array(user.dropFirst()) + [folder + "/tree/bin/vhublkctl", "--control", own + "/control.sock"]
                    try await Program.succeed(
                        user[0],
                        control + ["export", "create", disk.name, "--backing", disk.image, "--socket", disk.socket, "--queues", "2"])
                    let foreign = try await Program.run(user[0], control + ["export", "create", "foreign", "--backing", "/etc/shadow"])
                    #expect(foreign.status == 1, "what the user may not read is refused")
                    #expect(foreign.output.contains("/etc/shadow"))
                    try await Program.succeed(
                        user[0],
                        Array(user.dropFirst()) + [folder + "/tree/bin/vhublk-bench", "--socket", disk.socket, "--eta=never"]
                            + ["--rw=randwrite", "--numjobs=2", "--size=4m", "--offset_increment=4m", "--iodepth=8", "--verify=crc32c"])
                }
            }
        }

        /// One export by arguments, as QEMU's conventions for back-end programs have it: on a path, and on a listening socket that was passed.
        @Test(.timeLimit(.minutes(1))) func oneExportIsServedByArguments() async throws {
            try await Places.withFolder { folder in
                let disk = ServedDisk(name: "one", image: folder + "/one.raw", socket: folder + "/one.sock")
                try await Image.make(disk.image, mebibytes: 8)
                try await Image.fillWithRandomData(disk.image, mebibytes: 8)
                // The daemon holds the image against other users: a copy is compared.
                let copy = folder + "/copy.raw"
                try await Program.succeed("cp", [disk.image, copy])
                let compare = [
                    "compare", "--image-opts", LibblkioTests.options(disk), "driver=raw,file.driver=file,file.filename=\(copy)",
                ]
                try await Program.with(Places.product("vhublkd"), ["--socket-path=\(disk.socket)", "--blk-file=\(disk.image)"]) { server in
                    try await waitForSocket(disk.socket, server)
                    try await Program.succeed(Places.debian13("qemu-img"), compare)
                }
                try? FileManager.default.removeItem(atPath: disk.socket)
                // systemd-socket-activate listens, and passes its socket as descriptor 3 at the first connection.
                let passed = ["--listen=\(disk.socket)", Places.product("vhublkd"), "--fd=3", "--blk-file=\(disk.image)"]
                try await Program.with("systemd-socket-activate", passed) { server in
                    try await waitForSocket(disk.socket, server)
                    try await Program.succeed(Places.debian13("qemu-img"), compare)
                }
            }
        }
    }
}
