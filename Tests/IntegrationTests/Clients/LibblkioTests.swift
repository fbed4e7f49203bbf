import Testing

extension Integration {
    /// libblkio, a front-end that nobody here wrote: through QEMU 10's block driver on it, and through its own benchmark.
    @Suite struct LibblkioTests {
        static let mebibytes = 24

        /// The words by which QEMU's tools open a vhost-user-blk socket.
        static func options(_ disk: ServedDisk) -> String {
            "driver=virtio-blk-vhost-user,path=\(disk.socket),cache.direct=on,discard=unmap"
        }

        static func withDisk(queues: Int = 1, _ body: @Sendable (ServedDisk, String) async throws -> Void) async throws {
            try await Places.withFolder { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock", queues: queues)
                try await Image.make(disk.image, mebibytes: mebibytes)
                try await DiskServer.underTest.serve([disk], in: folder) { _ in try await body(disk, folder) }
            }
        }

        @Test(.timeLimit(.minutes(2))) func imagesAreConvertedAndComparedInBothDirections() async throws {
            try await Self.withDisk { disk, folder in
                let tool = Places.debian13("qemu-img")
                let served = Self.options(disk)
                // A source with data, holes and zeroes that were written.
                let source = folder + "/source.raw"
                try await Image.make(source, mebibytes: Self.mebibytes)
                try await Program.succeed(
                    "dd", ["if=/dev/urandom", "of=\(source)", "bs=1M", "seek=1", "count=9", "conv=notrunc", "status=none"])
                try await Program.succeed(
                    "dd", ["if=/dev/zero", "of=\(source)", "bs=1M", "seek=4", "count=2", "conv=notrunc", "status=none"])
                try await Program.succeed(
                    "dd", ["if=/dev/urandom", "of=\(source)", "bs=64k", "seek=300", "count=50", "conv=notrunc", "status=none"])

                try await Program.succeed(tool, ["convert", "-n", "-f", "raw", "--target-image-opts", source, served])
                #expect(try await Image.checksum(disk.image) == Image.checksum(source))
                let plain = "driver=raw,file.driver=file,file.filename="
                try await Program.succeed(tool, ["compare", "--image-opts", plain + source, served])
                try await Program.succeed(tool, ["compare", "--image-opts", served, plain + source])

                let back = folder + "/back.raw"
                try await Program.succeed(tool, ["convert", "--image-opts", "-O", "raw", served, back])
                #expect(try await Image.checksum(back) == Image.checksum(source))

                try await Program.succeed(
                    "dd", ["if=/dev/urandom", "of=\(back)", "bs=512", "seek=7000", "count=1", "conv=notrunc", "status=none"])
                let different = try await Program.run(tool, ["compare", "--image-opts", served, plain + back])
                #expect(different.status == 1)
                #expect(different.output.contains("Content mismatch at offset 3584000"))
            }
        }

        @Test(.timeLimit(.minutes(2))) func patternsAreWrittenReadDiscardedAndFlushed() async throws {
            try await Self.withDisk { disk, _ in
                let full = try await Self.io(disk, ["write -P 0xa1 0 \(Self.mebibytes)M", "flush", "read -P 0xa1 0 \(Self.mebibytes)M"])
                #expect(!full.contains("failed"))
                let allocated = try await Image.allocated(disk.image)
                #expect(allocated >= Self.mebibytes << 10)

                // Requests of many sizes in flight at once, each area with a pattern of its own.
                let pieces = [
                    (0, 512), (512, 1024), (4096, 4096), (65536, 65536), (1 << 20, 1 << 20), (3 << 20, 2 << 20), ((5 << 20) + 512, 7 * 512),
                ]
                let writes = zip(1..., pieces).map { "aio_write -P \($0) \($1.0) \($1.1)" }
                let reads = zip(1..., pieces).map { "read -P \($0) \($1.0) \($1.1)" }
                let around = ["read -P 0xa1 1536 2560", "read -P 0xa1 8192 57344", "read -P 0xa1 131072 917504"]
                try await Self.io(disk, writes + ["aio_flush"] + reads + around)
                // Another connection sees the same; vectored requests take the same way.
                try await Self.io(disk, reads + ["writev -P 0x33 8M 512 4096 1024 65536", "readv -P 0x33 8M 4096 512 65536 1024", "flush"])

                try await Self.io(disk, ["discard 10M 4M", "flush"])
                let discarded = try await Image.allocated(disk.image)
                #expect(discarded <= allocated - (4 << 10))
                try await Self.io(
                    disk,
                    [
                        "write -z 16M 1M", "write -z -u 18M 1M", "read -P 0 16M 1M", "read -P 0 18M 1M", "read -P 0xa1 17M 1M",
                        "read -P 0xa1 19M 1M",
                    ])

                let wrong = try await Program.run(Places.debian13("qemu-io"), Self.arguments(disk, ["read -P 0x12 0 512"]))
                #expect(wrong.output.contains("Pattern verification failed"), "a pattern that is not there is noticed")
            }
        }

        static func arguments(_ disk: ServedDisk, _ commands: [String]) -> [String] {
            ["--image-opts", options(disk)] + commands.flatMap { ["-c", $0] }
        }

        /// Runs qemu-io's commands, which must all succeed.
        @discardableResult
        static func io(_ disk: ServedDisk, _ commands: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
            let output = try await Program.succeed(Places.debian13("qemu-io"), arguments(disk, commands))
            #expect(!output.contains("failed") && !output.contains("rror"), "\(commands): \(output)", sourceLocation: sourceLocation)
            return output
        }

        @Test(.timeLimit(.minutes(2)), arguments: ["read", "write", "randread", "randwrite"])
        func fourThreadsLoadFourQueues(_ kind: String) async throws {
            try await Self.withDisk(queues: 4) { disk, _ in
                let output = try await Program.succeed(
                    Places.debian13("blkio-bench"),
                    [
                        "--num-threads=4", "--iodepth=16", "--readwrite=\(kind)", "--blocksize=4096", "--runtime=2",
                        "virtio-blk-vhost-user", "path=\(disk.socket)",
                    ])
                let rates = output.matches(of: /"kiops": ([0-9.]+)/).compactMap { Double($0.1) }
                #expect(rates.count >= 4, "\(output)")
                #expect(rates.allSatisfy { $0 > 0 }, "\(output)")
            }
        }
    }
}
