import VhostUserFrontend
import Virtio

/// Turns options into what each job does, once the device is known; every contradiction is told here.
struct RunPlan {
    let options: BenchOptions
    let jobs: [JobPlan]

    /// What can be told without the device.
    static func checkOptions(_ options: BenchOptions) throws(BenchError) {
        let size = options.blockSize.bytes
        guard size > 0, size % 512 == 0, size <= 1 << 30 else {
            throw .usage("--bs=\(options.blockSize) is no request size", hint: "use a multiple of 512 bytes up to 1g")
        }
        guard (1...32768).contains(options.depth) else { throw .usage("--iodepth=\(options.depth) is not between 1 and 32768") }
        guard (1...256).contains(options.jobCount) else { throw .usage("--numjobs=\(options.jobCount) is not between 1 and 256") }
        guard (0...100).contains(options.readPercentage) else {
            throw .usage("--rwmixread=\(options.readPercentage) is not a percentage")
        }
        guard options.loops > 0 else { throw .usage("--loops=\(options.loops) goes over nothing") }
        guard !options.isTimeBased || options.runtime != nil else {
            throw .usage("--time_based needs --runtime", hint: "say for how long, for example --runtime=10")
        }
        if options.rate == 0 { throw .usage("--rate_iops=0 would never make a request") }
        if options.verify != .none, options.workload == .secureErase || options.workload.operation == .trim {
            throw .usage("--verify does not go with --rw=\(options.workload.rawValue)", hint: "what trimmed blocks read as is not defined")
        }
        _ = try ringSize(options)
    }

    /// Entries of each ring: what was asked for, if the depth fits.
    static func ringSize(_ options: BenchOptions) throws(BenchError) -> Int {
        let segments = segmentCount(options)
        // Without indirect descriptors each request takes header, data and status.
        let needed = options.depth * (options.device.indirect == .on ? 1 : segments + 2)
        guard let asked = options.device.queueSize else {
            var size = 128
            while size < needed { size *= 2 }
            guard size <= 32768 else { throw .usage("--iodepth=\(options.depth) needs a ring of \(size) entries; 32768 is the most") }
            return size
        }
        guard (1...32768).contains(asked), options.device.packed || asked & (asked - 1) == 0 else {
            throw .usage("--queue-size=\(asked) is no ring size", hint: "a power of two up to 32768; any number up to that when packed")
        }
        guard asked >= needed else {
            throw .usage(
                "--iodepth=\(options.depth) takes \(needed) ring entries, more than --queue-size=\(asked)",
                hint: "use a lower depth or a larger ring")
        }
        return asked
    }

    /// Segments of data in each request.
    static func segmentCount(_ options: BenchOptions) -> Int {
        let size = options.workload.operation == .read || options.workload.operation == .write ? options.blockSize.bytes : 16
        guard let segment = options.device.segmentBytes?.bytes, segment > 0, segment < size else { return 1 }
        return Int((size + segment - 1) / segment)
    }

    /// Checks the options against the device and divides the work.
    init(_ options: BenchOptions, features: VirtioFeatures, config: BlockConfig) throws(BenchError) {
        self.options = options
        try Self.checkFeatures(options, features, config)
        let blockSize = options.blockSize.bytes
        let capacity = config.byteCount
        guard options.offset.bytes % blockSize == 0 else {
            throw .usage("--offset=\(options.offset) is not a multiple of --bs=\(options.blockSize)")
        }
        var jobs: [JobPlan] = []
        for index in 0..<options.jobCount {
            var first = options.offset.bytes + options.offsetIncrement.bytes * UInt64(index)
            guard first < capacity else {
                throw .usage("job \(index) would begin at byte \(first), but the device has \(capacity)", hint: "lower --offset")
            }
            let size = options.size?.bytes ?? capacity - first
            guard size <= capacity - first else {
                throw .usage(
                    "--size=\(options.size ?? ByteCount(size)) at byte \(first) goes past the device's end at \(capacity)",
                    hint: "lower --size or --offset")
            }
            var count = size / blockSize
            if options.verify != .none, options.offsetIncrement.bytes == 0 {
                // Jobs that verify must not write over each other: each gets a part of its own.
                let start = count * UInt64(index) / UInt64(options.jobCount)
                count = count * UInt64(index + 1) / UInt64(options.jobCount) - start
                first += start * blockSize
            }
            guard count > 0 else { throw .usage("job \(index) has no block of \(options.blockSize) to work on") }
            jobs.append(Self.job(index, options, first: first, count: count))
        }
        self.jobs = jobs
    }

    private static func checkFeatures(_ options: BenchOptions, _ features: VirtioFeatures, _ config: BlockConfig) throws(BenchError) {
        let unit = UInt64(features.contains(.blockSize) ? config.blockSize ?? 512 : 512)
        guard unit == 0 || options.blockSize.bytes % unit == 0 else {
            throw .usage("--bs=\(options.blockSize) is not a multiple of the device's block size of \(unit) bytes")
        }
        if options.workload.changesDevice, features.contains(.blockReadOnly) {
            throw .failure("the device is read-only", hint: "use --rw=read or --rw=randread")
        }
        let sectors = options.blockSize.bytes / 512
        let needs: (feature: VirtioFeatures, name: String, most: UInt32?)? =
            switch options.workload.operation {
            case .trim: (.blockDiscard, "DISCARD", config.discardSectorsMax)
            case .writeZeroes: (.blockWriteZeroes, "WRITE_ZEROES", config.writeZeroesSectorsMax)
            case .secureErase: (.blockSecureErase, "SECURE_ERASE", config.secureEraseSectorsMax)
            default: nil
            }
        if let needs {
            guard features.contains(needs.feature) else {
                throw .failure("--rw=\(options.workload.rawValue) needs \(needs.name), which the device does not offer")
            }
            if let most = needs.most, sectors > UInt64(most) {
                throw .usage("--bs=\(options.blockSize) is more than the \(most) sectors that the device takes in one \(needs.name)")
            }
        }
        if options.flushInterval > 0, !features.contains(.blockFlush) {
            throw .failure("--fsync needs FLUSH, which the device does not offer")
        }
        let most = Int(features.contains(.blockSegmentMax) ? config.segmentMax ?? .max : .max)
        guard segmentCount(options) <= most else {
            throw .usage("a request has \(segmentCount(options)) segments, more than the \(most) that the device takes")
        }
    }

    private static func job(_ index: Int, _ options: BenchOptions, first: UInt64, count: UInt64) -> JobPlan {
        let whole = options.isTimeBased ? nil : count * UInt64(options.loops)
        let limit = [whole, options.requestLimit].compactMap { $0 }.min()
        let cpus = options.device.cpus?.cpus ?? []
        return JobPlan(
            index: index, name: options.name, workload: options.workload, blockSize: Int(options.blockSize.bytes), depth: options.depth,
            firstByte: first, blockCount: count, requestLimit: limit, runtime: options.runtime?.nanoseconds, rate: options.rate,
            readPercentage: options.workload.isMixed ? options.readPercentage : options.workload.operation == .read ? 100 : 0,
            flushInterval: options.flushInterval, verifies: options.verify != .none,
            verifiesAfterwards: options.verify != .none && options.verifiesAfterwards == .on && options.workload.changesDevice,
            unmap: options.unmap, seed: options.seed, wait: options.device.wait, measuresLatency: !options.output.omitsLatency,
            timeout: options.device.timeout.nanoseconds, cpu: cpus.isEmpty ? nil : cpus[index % cpus.count])
    }
}
