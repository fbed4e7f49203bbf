import Histogram

/// The result in the shape of fio's `json` and `json+` output, so that tools that read those read this too.
struct JSONReport {
    let result: RunResult
    let options: BenchOptions

    private var hasBins: Bool { options.output.format == .jsonPlus }

    var text: String { document.text() + "\n" }

    var document: JSONValue {
        .object([
            ("fio version", .string("vhublk-bench")),
            ("timestamp", .integer(result.startTime / 1_000_000_000)),
            ("timestamp_ms", .integer(result.startTime / 1_000_000)),
            (
                "recoveries",
                .array(
                    result.recoveries.map {
                        .object([
                            ("outage_ns", .integer($0.outage)), ("connect_ns", .integer($0.sinceConnect)),
                            ("lost_at_ns", .integer($0.lost)), ("connected_at_ns", .integer($0.connected)),
                            ("completed_at_ns", .integer($0.completed)),
                        ])
                    })
            ),
            ("jobs", .array(result.jobs.enumerated().map { job($1, result.samples[$0]) })),
        ])
    }

    private func job(_ job: JobResult, _ samples: RateSamples) -> JSONValue {
        let time = Double(max(1, job.runtime + job.verifyTime))
        var members: [(String, JSONValue)] = [
            ("jobname", .string(job.plan.name)),
            ("groupid", .integer(0)),
            ("job_start", .integer(result.startTime / 1_000_000)),
            ("error", .integer(job.failure == nil ? 0 : 5)),
            ("eta", .integer(0)),
            ("elapsed", .integer((job.runtime + job.verifyTime) / 1_000_000_000 + 1)),
            ("job options", jobOptions(job.plan)),
        ]
        for direction in [Direction.read, .write, .trim] { members.append((direction.name, section(job, direction, samples))) }
        members += [
            (
                "sync",
                .object([
                    ("total_ios", .integer(job.directions[Direction.sync.rawValue].count)),
                    ("lat_ns", latency(job.directions[Direction.sync.rawValue].latency, details: true)),
                ])
            ),
            ("job_runtime", .integer(job.runtime / 1_000_000)),
            ("usr_cpu", .number(100 * Double(job.usage.user) / time)),
            ("sys_cpu", .number(100 * Double(job.usage.system) / time)),
            ("ctx", .integer(job.usage.contextSwitches)),
            ("kicks", .integer(job.kicks)),
            ("verified_blocks", .integer(job.verifiedBlocks)),
            ("verify_runtime", .integer(job.verifyTime / 1_000_000)),
        ]
        if let failure = job.failure { members.append(("failure", .string(failure))) }
        return .object(members)
    }

    /// The options in fio's own spelling.
    private func jobOptions(_ plan: JobPlan) -> JSONValue {
        .object([
            ("name", .string(plan.name)), ("rw", .string(plan.workload.rawValue)),
            ("bs", .string(ByteCount(UInt64(plan.blockSize)).description)), ("iodepth", .string("\(plan.depth)")),
            ("numjobs", .string("\(options.jobCount)")), ("offset", .string("\(plan.firstByte)")),
            ("size", .string("\(plan.blockCount * UInt64(plan.blockSize))")), ("verify", .string(plan.verifies ? "crc32c" : "none")),
            ("wait", .string(plan.wait.rawValue)), ("ring", .string(options.device.packed ? "packed" : "split")),
            ("event_idx", .string(options.device.eventIndex.rawValue)), ("indirect", .string(options.device.indirect.rawValue)),
        ])
    }

    private func section(_ job: JobResult, _ direction: Direction, _ samples: RateSamples) -> JSONValue {
        let statistics = job.directions[direction.rawValue]
        let isUsed = statistics.count > 0
        let seconds = Double(job.runtime) / 1e9
        let bytes = job.bytes(direction)
        let spread = samples.summary(direction)
        // fio's bandwidth is in KiB a second.
        let scale = Double(job.plan.blockSize) / 1024
        return .object([
            ("io_bytes", .integer(bytes)), ("io_kbytes", .integer(bytes / 1024)),
            ("bw_bytes", .integer(UInt64(Double(bytes) / seconds))), ("bw", .integer(UInt64(Double(bytes) / seconds / 1024))),
            ("iops", .number(Double(statistics.count) / seconds)),
            ("runtime", .integer(isUsed ? job.runtime / 1_000_000 : 0)), ("total_ios", .integer(statistics.count)),
            ("short_ios", .integer(0)), ("drop_ios", .integer(0)),
            // Submission takes no call that could be timed: all of a request's time is completion latency.
            ("slat_ns", latency(LatencyStatistics(), details: false)),
            ("clat_ns", latency(statistics.latency, details: true)),
            ("lat_ns", latency(statistics.latency, details: false)),
            ("bw_min", .integer(UInt64(spread.min * scale))), ("bw_max", .integer(UInt64(spread.max * scale))),
            ("bw_agg", .number(isUsed ? 100 : 0)), ("bw_mean", .number(spread.mean * scale)), ("bw_dev", .number(spread.deviation * scale)),
            ("bw_samples", .integer(UInt64(spread.count))),
            ("iops_min", .integer(UInt64(spread.min))), ("iops_max", .integer(UInt64(spread.max))), ("iops_mean", .number(spread.mean)),
            ("iops_stddev", .number(spread.deviation)), ("iops_samples", .integer(UInt64(spread.count))),
        ])
    }

    private func latency(_ latency: LatencyStatistics, details: Bool) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("min", .integer(latency.count == 0 ? 0 : latency.minimum)), ("max", .integer(latency.maximum)),
            ("mean", .number(latency.mean)), ("stddev", .number(latency.deviation)), ("N", .integer(latency.count)),
        ]
        if details, latency.count > 0 {
            let list = options.output.percentiles.values
            members.append(("percentile", .object(list.map { (formatFixed($0, 6), .integer(latency.percentile($0))) })))
            if hasBins {
                let bins = latency.histogram.recordedValues().map { ("\($0.value)", JSONValue.integer($0.count)) }
                members.append(("bins", .object(bins)))
            }
        }
        return .object(members)
    }
}
