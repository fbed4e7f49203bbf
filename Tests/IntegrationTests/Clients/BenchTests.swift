import Foundation
import Testing

extension Integration {
    /// vhublk-bench with verification: our front-end on QEMU's back-end, and on ours with each engine on each kind of medium.
    @Suite struct BenchTests {
        static let mebibytes = 16

        struct Case: Sendable, CustomTestStringConvertible {
            var medium: Medium
            var engine: String
            var blockSize: Int?
            var testDescription: String { "\(engine) on \(medium.rawValue)" + (blockSize.map { ", \($0)-byte blocks" } ?? "") }
        }

        /// Each engine on each medium; and on a device of 4096-byte blocks a disk of smaller ones, whose requests do not fit the device's.
        static let cases = ["io_uring", "libaio"].flatMap { engine in
            Medium.allCases.map { Case(medium: $0, engine: engine) } + [Case(medium: .zram, engine: engine, blockSize: 512)]
        }

        @Test(.timeLimit(.minutes(3)), arguments: cases)
        func eachEngineKeepsItsDataOnEachMedium(_ which: Case) async throws {
            try await which.medium.with(mebibytes: Self.mebibytes) { path in
                try await Places.withFolder { folder in
                    let disk = ServedDisk(
                        name: "disk", image: path, socket: folder + "/disk.sock", queues: 4, blockSize: which.blockSize,
                        engine: which.engine)
                    try await DiskServer.vhublkd.serve([disk], in: folder) { control in
                        let shown = try await control("export", "show", "disk")
                        #expect(shown.contains(which.engine), "\(shown)")
                        for packed in [[], ["--packed"]] {
                            try await Self.exercise(disk, packed)
                        }
                    }
                }
            }
        }

        @Test(.timeLimit(.minutes(3)), arguments: ["qsd7", "qsd10"])
        func ourFrontEndWorksWithTheStorageDaemon(_ server: String) async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock", queues: 4)
                try await Image.make(disk.image, mebibytes: Self.mebibytes)
                try await #require(DiskServer(rawValue: server)).serve([disk], in: folder) { _ in try await Self.exercise(disk, []) }
            }
        }

        @Test(.timeLimit(.minutes(1)), arguments: ["vhublkd", "qsd7", "qsd10"])
        func probeTellsWhatABackEndOffers(_ server: String) async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock", queues: 4)
                try await Image.make(disk.image, mebibytes: Self.mebibytes)
                try await #require(DiskServer(rawValue: server)).serve([disk], in: folder) { _ in
                    let bench = Places.product("vhublk-bench")
                    let json = try await Program.succeed(bench, ["probe", disk.socket, "--json"])
                    let offer = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
                    func names(_ key: String) -> [String] { (offer[key] as? [String: Any])?["names"] as? [String] ?? [] }
                    for name in ["VERSION_1", "FLUSH", "BLK_SIZE", "MQ", "PROTOCOL_FEATURES"] {
                        #expect(names("features").contains(name), "\(names("features"))")
                    }
                    for name in ["MQ", "REPLY_ACK", "CONFIG"] {
                        #expect(names("protocol_features").contains(name), "\(names("protocol_features"))")
                    }
                    #expect(offer["queues"] as? Int == 4)
                    let config = try #require(offer["config"] as? [String: Any])
                    #expect(config["capacity"] as? Int == Self.mebibytes * 2048)
                    #expect((offer["config_bytes"] as? [Int])?.count ?? 0 >= 60)
                    let text = try await Program.succeed(bench, ["probe", disk.socket])
                    for word in ["VERSION_1", "queues             4", "memory slots", "capacity", "\(Self.mebibytes * 2048) sectors"] {
                        #expect(text.contains(word), "\(text)")
                    }
                    #expect((offer["memory_slots"] as? Int) == (server == "vhublkd" ? 509 : offer["memory_slots"] as? Int))
                }
            }
        }

        /// Writes and reads with verification: small and large requests, segments, sleeping and polling, and the requests that give room back.
        static func exercise(_ disk: ServedDisk, _ further: [String]) async throws {
            let runs = [
                ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--numjobs=4", "--size=4m", "--offset_increment=4m", "--verify=crc32c"],
                [
                    "--rw=read", "--bs=4k", "--iodepth=8", "--numjobs=4", "--size=4m", "--offset_increment=4m", "--verify=crc32c",
                    "--wait=sleep",
                ],
                ["--rw=write", "--bs=256k", "--iodepth=4", "--size=16m", "--verify=crc32c", "--segment-bytes=12k"],
                [
                    "--rw=randrw", "--bs=8k", "--iodepth=16", "--numjobs=2", "--size=8m", "--offset_increment=8m", "--verify=crc32c",
                    "--wait=sleep",
                ],
                ["--rw=randwrite_zeroes", "--bs=64k", "--iodepth=4", "--size=2m"],
                ["--rw=trim", "--bs=64k", "--iodepth=4", "--size=2m", "--offset=2m"],
                ["--rw=write", "--bs=64k", "--iodepth=16", "--size=4m", "--fsync=8", "--verify=crc32c"],
            ]
            for run in runs {
                try await bench(disk, run + further)
            }
        }

        static func bench(_ disk: ServedDisk, _ arguments: [String]) async throws {
            try await Program.succeed(Places.product("vhublk-bench"), ["--socket", disk.socket, "--eta=never"] + arguments)
        }

        @Test(.timeLimit(.minutes(1))) func aByteThatChangedOnTheHostIsFound() async throws {
            try await Places.withFolder { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock")
                try await Image.make(disk.image, mebibytes: 4)
                let job = ["--bs=4k", "--iodepth=8", "--size=4m", "--verify=crc32c"]
                for stage in ["first", "second"] {
                    try FileManager.default.createDirectory(atPath: "\(folder)/\(stage)", withIntermediateDirectories: false)
                }
                try await DiskServer.underTest.serve([disk], in: folder + "/first") { _ in try await Self.bench(disk, ["--rw=write"] + job)
                }
                try await Program.succeed(
                    "dd", ["if=/dev/urandom", "of=\(disk.image)", "bs=1", "seek=2000300", "count=8", "conv=notrunc", "status=none"])
                try await DiskServer.underTest.serve([disk], in: folder + "/second") { _ in
                    let outcome = try await Program.run(
                        Places.product("vhublk-bench"), ["--socket", disk.socket, "--eta=never", "--rw=read"] + job)
                    #expect(outcome.status != 0)
                    #expect(outcome.output.contains("1998848"), "the place of the block that changed is named: \(outcome.output)")
                }
            }
        }
    }
}
