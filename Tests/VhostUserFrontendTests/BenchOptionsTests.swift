import ArgumentParser
import Testing
import VhostUserFrontend
import Virtio

@testable import vhublk_bench

@Suite struct BenchOptionsTests {
    @Test(arguments: [
        ("512", 512), ("4k", 4096), ("4K", 4096), ("4kb", 4096), ("4KiB", 4096), ("1m", 1 << 20), ("2GiB", 2 << 30), ("1t", 1 << 40),
        ("0", 0),
    ])
    func sizes(text: String, bytes: UInt64) {
        #expect(ByteCount(argument: text)?.bytes == bytes)
    }

    @Test(arguments: ["", "k", "4q", "-4k", "4.5k", "99999999999999999999", "99999999999t", "4 k", "0x10"])
    func sizesThatAreNone(text: String) {
        #expect(ByteCount(argument: text) == nil)
    }

    @Test func sizesAreShownShortAndExact() {
        #expect([4096, 512, 1 << 20, 3 << 30, 0, 1536].map { ByteCount($0).description } == ["4k", "512", "1m", "3g", "0", "1536"])
    }

    @Test(arguments: [("10", 10_000_000_000), ("500ms", 500_000_000), ("2m", 120_000_000_000), ("3us", 3000), ("1h", 3_600_000_000_000)])
    func times(text: String, nanoseconds: UInt64) {
        #expect(TimeSpan(argument: text)?.nanoseconds == nanoseconds)
    }

    @Test func lists() {
        #expect(CPUList(argument: "0,2-4")?.cpus == [0, 2, 3, 4])
        #expect(CPUList(argument: "3-1") == nil)
        #expect(CPUList(argument: "0,,1") == nil)
        #expect(CPUList(argument: "-1") == nil)
        #expect(PercentileList(argument: "50:99.9")?.values == [50, 99.9])
        #expect(PercentileList(argument: "50:101") == nil)
        #expect(PercentileList(argument: "") == nil)
    }

    @Test func fioNames() throws {
        let options = try BenchOptions.parse([
            "--socket=/s", "--readwrite", "randrw", "--blocksize=8k", "--iodepth=16", "--numjobs=3", "--runtime=2", "--time_based",
            "--rwmixread=70", "--number_ios=9", "--rate_iops=100", "--verify=crc32c", "--do_verify=0", "--output-format=json+", "--packed",
            "--event-idx=off", "--indirect", "off", "--wait=sleep", "--cpus_allowed=0-1", "--group_reporting", "--fsync=4",
        ])
        #expect(options.workload == .randrw)
        #expect(options.blockSize.bytes == 8192)
        #expect((options.depth, options.jobCount) == (16, 3))
        #expect(options.isTimeBased && options.runtime?.nanoseconds == 2_000_000_000)
        #expect((options.readPercentage, options.requestLimit, options.rate, options.flushInterval) == (70, 9, 100, 4))
        #expect(options.verify == .crc32c && options.verifiesAfterwards == .off)
        #expect(options.output.format == .jsonPlus && options.output.isGrouped)
        #expect(options.device.packed && options.device.eventIndex == .off && options.device.indirect == .off)
        #expect(options.device.wait == .sleep && options.device.cpus?.cpus == [0, 1])
    }

    @Test func defaultsAreFios() throws {
        let options = try BenchOptions.parse(["--socket=/s"])
        #expect(options.workload == .read)
        #expect((options.blockSize.bytes, options.depth, options.jobCount, options.readPercentage) == (4096, 1, 1, 50))
        #expect(options.verify == .none && options.verifiesAfterwards == .on)
        #expect(try RunPlan.ringSize(options) == 128)
    }

    @Test(arguments: [
        (["--bs=1000"], "--bs=1000 is no request size"), (["--iodepth=0"], "--iodepth=0"), (["--numjobs=0"], "--numjobs=0"),
        (["--rwmixread=101"], "--rwmixread=101"), (["--time_based"], "--time_based needs --runtime"), (["--rate_iops=0"], "--rate_iops=0"),
        (["--iodepth=200", "--queue-size=128"], "--iodepth=200 takes 200 ring entries"),
        (["--iodepth=64", "--queue-size=128", "--indirect=off"], "--iodepth=64 takes 192 ring entries"),
        (["--queue-size=100"], "--queue-size=100 is no ring size"),
        (["--rw=trim", "--verify=crc32c"], "--verify does not go with --rw=trim"),
        (["--loops=0"], "--loops=0"),
    ])
    func contradictionsAreUsageErrors(arguments: [String], message: String) throws {
        let options = try BenchOptions.parse(["--socket=/s"] + arguments)
        let error = #expect(throws: BenchError.self) { try RunPlan.checkOptions(options) }
        #expect(error?.kind == .usage)
        #expect(error?.message.hasPrefix(message) == true, "\(error.map { "\($0)" } ?? "")")
    }

    @Test func packedRingsTakeAnySize() throws {
        let options = try BenchOptions.parse(["--socket=/s", "--queue-size=100", "--packed", "--iodepth=100"])
        #expect(try RunPlan.ringSize(options) == 100)
    }
}

@Suite struct RunPlanTests {
    /// A device of 1 MiB with everything, limits of 16 KiB for discard.
    static let features: VirtioFeatures = [.blockFlush, .blockDiscard, .blockSegmentMax, .blockSize]
    static let config: BlockConfig = {
        var bytes = [UInt8](repeating: 0, count: 60)
        bytes[1] = 8  // capacity 2048 sectors
        bytes[12] = 4  // seg_max
        bytes[21] = 2  // blk_size 512
        bytes[36] = 32  // max_discard_sectors
        return BlockConfig(bytes)
    }()

    private func plan(_ arguments: [String], features: VirtioFeatures = features) throws -> RunPlan {
        try RunPlan(try BenchOptions.parse(["--socket=/s"] + arguments), features: features, config: Self.config)
    }

    @Test func jobsShareTheRange() throws {
        let jobs = try plan(["--numjobs=2", "--size=512k", "--offset=256k"]).jobs
        #expect(jobs.map(\.firstByte) == [262_144, 262_144])
        #expect(jobs.map(\.blockCount) == [128, 128])
        #expect(jobs.map(\.requestLimit) == [128, 128])
    }

    @Test func verifyingJobsDivideTheRange() throws {
        let jobs = try plan(["--numjobs=3", "--verify=crc32c", "--rw=write"]).jobs
        #expect(jobs.map(\.blockCount).reduce(0, +) == 256)
        #expect(jobs[1].firstByte == jobs[0].firstByte + jobs[0].blockCount * 4096)
        #expect(jobs[2].firstByte + jobs[2].blockCount * 4096 == 1 << 20)
    }

    @Test func offsetIncrementSeparatesJobs() throws {
        let jobs = try plan(["--numjobs=2", "--size=64k", "--offset_increment=128k"]).jobs
        #expect(jobs.map(\.firstByte) == [0, 131_072])
    }

    @Test func limits() throws {
        #expect(try plan(["--loops=3"]).jobs[0].requestLimit == 768)
        #expect(try plan(["--loops=3", "--number_ios=5"]).jobs[0].requestLimit == 5)
        #expect(try plan(["--runtime=1", "--time_based"]).jobs[0].requestLimit == nil)
        #expect(try plan(["--runtime=1"]).jobs[0].requestLimit == 256)
        #expect(try plan(["--cpus_allowed=3,5", "--numjobs=3"]).jobs.map(\.cpu) == [3, 5, 3])
    }

    @Test(arguments: [
        (["--offset=1m"], "job 0 would begin at byte 1048576"), (["--size=2m"], "--size=2m at byte 0 goes past the device's end"),
        (["--offset=512"], "--offset=512 is not a multiple"), (["--rw=trim", "--bs=32k"], "--bs=32k is more than the 32 sectors"),
        (["--segment-bytes=512"], "a request has 8 segments, more than the 4"),
    ])
    func whatTheDeviceCannotDoIsUsage(arguments: [String], message: String) throws {
        let error = #expect(throws: BenchError.self) { try plan(arguments) }
        #expect(error?.kind == .usage)
        #expect(error?.message.hasPrefix(message) == true, "\(error.map { "\($0)" } ?? "")")
    }

    @Test func whatTheDeviceDoesNotOfferIsAFailure() throws {
        let error = #expect(throws: BenchError.self) { try plan(["--rw=write"], features: [.blockReadOnly]) }
        #expect(error?.kind == .failure && error?.message == "the device is read-only")
        let zeroes = #expect(throws: BenchError.self) { try plan(["--rw=write_zeroes"]) }
        #expect(zeroes?.message == "--rw=write_zeroes needs WRITE_ZEROES, which the device does not offer")
    }
}
