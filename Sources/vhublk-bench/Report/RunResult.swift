/// A whole run: its jobs' results and what the main thread saw meanwhile.
struct RunResult: Sendable {
    var jobs: [JobResult]
    /// For each job, the rates seen in each interval: by direction, in requests a second.
    var samples: [RateSamples]
    /// When it began, in nanoseconds since 1970.
    var startTime: UInt64
    /// Each time the back-end was lost and came back.
    var recoveries: [Recovery]
    /// What ended the run besides the jobs' own failures.
    var failure: String?

    /// The first thing that went wrong.
    var firstFailure: String? {
        failure
            ?? jobs.first { $0.failure != nil }.flatMap { job in job.failure.map { jobs.count > 1 ? "job \(job.plan.index): \($0)" : $0 } }
    }

    /// One result that stands for all jobs, as fio's group reporting has it.
    var grouped: RunResult {
        guard var sum = jobs.first, jobs.count > 1 else { return self }
        for job in jobs.dropFirst() {
            for index in sum.directions.indices {
                sum.directions[index].count += job.directions[index].count
                sum.directions[index].latency.add(job.directions[index].latency)
            }
            sum.runtime = max(sum.runtime, job.runtime)
            sum.verifyTime = max(sum.verifyTime, job.verifyTime)
            sum.verifiedBlocks += job.verifiedBlocks
            sum.kicks += job.kicks
            sum.usage.user += job.usage.user
            sum.usage.system += job.usage.system
            sum.usage.contextSwitches += job.usage.contextSwitches
            sum.failure = sum.failure ?? job.failure
        }
        var grouped = self
        grouped.jobs = [sum]
        grouped.samples = [samples.reduce(into: RateSamples()) { $0.add($1) }]
        return grouped
    }
}

/// One loss of the back-end, from when it was noticed to when requests came back again: times of the monotonic clock, in nanoseconds.
struct Recovery: Sendable, Equatable {
    /// When the connection was seen to be gone.
    var lost: UInt64
    /// When the connection to the new back-end was made.
    var connected: UInt64
    /// When the first completion after that was seen.
    var completed: UInt64

    /// How long the loss kept requests waiting.
    var outage: UInt64 { completed - lost }
    /// How much of that was after the connection.
    var sinceConnect: UInt64 { completed - connected }
}

/// Rates in equal intervals, by direction (read, write, trim).
struct RateSamples: Sendable, Equatable {
    private(set) var rates: [[Double]] = [[], [], []]

    mutating func append(_ values: [Double]) {
        for index in rates.indices { rates[index].append(values[index]) }
    }

    /// Adds another job's rates, interval by interval.
    mutating func add(_ other: RateSamples) {
        for index in rates.indices {
            let (longer, shorter) =
                rates[index].count >= other.rates[index].count
                ? (rates[index], other.rates[index]) : (other.rates[index], rates[index])
            rates[index] = longer.enumerated().map { $1 + ($0 < shorter.count ? shorter[$0] : 0) }
        }
    }

    /// Least, greatest, mean, deviation and number of a direction's samples.
    func summary(_ direction: Direction) -> (min: Double, max: Double, mean: Double, deviation: Double, count: Int) {
        let values = direction == .sync ? [] : rates[direction.rawValue]
        guard let least = values.min(), let most = values.max() else { return (0, 0, 0, 0, 0) }
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))
        return (least, most, mean, variance.squareRoot(), values.count)
    }
}
