/// The result as a person reads it, in fio's words.
struct TextReport {
    let result: RunResult
    let percentiles: [Double]

    var text: String {
        var lines: [String] = []
        for (index, job) in result.jobs.enumerated() {
            lines += describe(job, result.samples[index])
        }
        if result.jobs.count > 1 { lines += summary }
        if !result.recoveries.isEmpty {
            lines.append("back-end lost and found again: \(result.recoveries.count) times")
            lines.append("  outage: \(spread(result.recoveries.map(\.outage)))")
            lines.append("  first completion after connecting: \(spread(result.recoveries.map(\.sinceConnect)))")
        }
        if let failure = result.firstFailure { lines.append("FAILED: \(failure)") }
        return lines.joined(separator: "\n") + "\n"
    }

    private func spread(_ times: [UInt64]) -> String {
        let sorted = times.sorted()
        return "median=\(formatTime(Double(sorted[sorted.count / 2]))), max=\(formatTime(Double(sorted[sorted.count - 1])))"
    }

    private func describe(_ job: JobResult, _ samples: RateSamples) -> [String] {
        let plan = job.plan
        var lines = [
            "\(plan.name)\(plan.index): rw=\(plan.workload.rawValue), bs=\(ByteCount(UInt64(plan.blockSize))), iodepth=\(plan.depth)"
        ]
        for direction in Direction.allCases where job.directions[direction.rawValue].count > 0 {
            lines += describe(job, direction, samples)
        }
        let time = Double(job.runtime + job.verifyTime)
        lines.append(
            "  cpu: usr=\(formatFixed(100 * Double(job.usage.user) / time, 1))%, sys=\(formatFixed(100 * Double(job.usage.system) / time, 1))%,"
                + " ctx=\(job.usage.contextSwitches), kicks=\(job.kicks)")
        if plan.verifies { lines.append("  " + verification(job)) }
        return lines
    }

    private func describe(_ job: JobResult, _ direction: Direction, _ samples: RateSamples) -> [String] {
        let statistics = job.directions[direction.rawValue]
        let seconds = Double(job.runtime) / 1e9
        let bytes = Double(job.bytes(direction))
        let rate = "IOPS=\(formatScaled(Double(statistics.count) / seconds))"
        let span = "\(formatScaled(Double(statistics.count))) requests in \(formatTime(Double(job.runtime)))"
        var lines =
            direction == .sync
            ? ["  sync: \(rate), \(span)"]
            : ["  \(direction.name): \(rate), BW=\(formatBytes(bytes / seconds))/s, \(formatBytes(bytes)), \(span)"]
        let latency = statistics.latency
        if latency.count > 0 {
            lines.append(
                "    clat: min=\(formatTime(Double(latency.minimum))), avg=\(formatTime(latency.mean)), "
                    + "max=\(formatTime(Double(latency.maximum))), stdev=\(formatTime(latency.deviation))")
            lines.append("    clat percentiles:")
            let cells = percentiles.map { "\(padLeft(formatFixed($0, 2), 6))th=\(padLeft(formatTime(Double(latency.percentile($0))), 8))" }
            for start in stride(from: 0, to: cells.count, by: 4) {
                lines.append("     | " + cells[start..<min(start + 4, cells.count)].joined(separator: ", "))
            }
        }
        let spread = samples.summary(direction)
        if spread.count > 1 {
            lines.append(
                "    iops: min=\(formatScaled(spread.min)), max=\(formatScaled(spread.max)), avg=\(formatScaled(spread.mean)), "
                    + "stdev=\(formatScaled(spread.deviation)), samples=\(spread.count)")
        }
        return lines
    }

    private func verification(_ job: JobResult) -> String {
        if job.failure != nil { return "verify: FAILED" }
        let amount = "\(job.verifiedBlocks) blocks (\(formatBytes(Double(job.verifiedBlocks) * Double(job.plan.blockSize))))"
        if !job.plan.verifiesAfterwards, job.plan.workload.changesDevice { return "verify: blocks were written to be verified later" }
        return "verify: crc32c, \(amount), all good"
    }

    private var summary: [String] {
        var lines = ["all jobs:"]
        let sum = result.grouped.jobs[0]
        for direction in [Direction.read, .write, .trim] where sum.directions[direction.rawValue].count > 0 {
            // Jobs end at different times: the sum of their rates, not the rate of their sum.
            let iops = result.jobs.reduce(0.0) { $0 + Double($1.directions[direction.rawValue].count) * 1e9 / Double($1.runtime) }
            let bandwidth = result.jobs.reduce(0.0) { $0 + Double($1.bytes(direction)) * 1e9 / Double($1.runtime) }
            lines.append(
                "  \(direction.name): IOPS=\(formatScaled(iops)), BW=\(formatBytes(bandwidth))/s, \(formatBytes(Double(sum.bytes(direction))))"
            )
        }
        return lines
    }
}
