import Histogram

/// What one direction of a job did. Latencies in nanoseconds.
struct DirectionStatistics: Sendable {
    var count: UInt64 = 0
    var latency = LatencyStatistics()
}

/// Latencies: exact extremes and moments, and a histogram with an error below one percent.
struct LatencyStatistics: Sendable {
    private(set) var count: UInt64 = 0
    private(set) var sum: UInt64 = 0
    private(set) var squares = 0.0
    private(set) var minimum = UInt64.max
    private(set) var maximum: UInt64 = 0
    /// Up to ten minutes; longer ones count as that.
    private(set) var histogram = Histogram<UInt64>(highestTrackableValue: Self.highest, numberOfSignificantValueDigits: .two)
    private static let highest: UInt64 = 600_000_000_000

    @inline(__always)
    mutating func record(_ nanoseconds: UInt64, times: UInt64 = 1) {
        count &+= times
        sum &+= nanoseconds &* times
        let value = Double(nanoseconds)
        squares += value * value * Double(times)
        if nanoseconds < minimum { minimum = nanoseconds }
        if nanoseconds > maximum { maximum = nanoseconds }
        histogram.record(nanoseconds < Self.highest ? nanoseconds : Self.highest, count: times)
    }

    mutating func add(_ other: LatencyStatistics) {
        count += other.count
        sum += other.sum
        squares += other.squares
        minimum = min(minimum, other.minimum)
        maximum = max(maximum, other.maximum)
        histogram.add(other.histogram)
    }

    var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    var deviation: Double {
        guard count > 1 else { return 0 }
        let variance = (squares - mean * mean * Double(count)) / Double(count - 1)
        return variance > 0 ? variance.squareRoot() : 0
    }

    /// The value at a percentile; inside the measured range, whatever the histogram's buckets are.
    func percentile(_ percent: Double) -> UInt64 {
        count == 0 ? 0 : max(minimum, min(maximum, histogram.valueAtPercentile(percent)))
    }
}

/// What a job did and how it ended.
struct JobResult: Sendable {
    var plan: JobPlan
    /// One for each direction.
    var directions = Direction.allCases.map { _ in DirectionStatistics() }
    /// From the first request to the last completion, in nanoseconds, verification afterwards not included.
    var runtime: UInt64 = 0
    /// The same for reading back.
    var verifyTime: UInt64 = 0
    var verifiedBlocks: UInt64 = 0
    var kicks: UInt64 = 0
    var usage = ThreadTimes()
    var failure: String?

    func bytes(_ direction: Direction) -> UInt64 {
        direction == .sync ? 0 : directions[direction.rawValue].count * UInt64(plan.blockSize)
    }
}

/// Processor time of a job's thread, in nanoseconds.
struct ThreadTimes: Sendable, Equatable {
    var user: UInt64 = 0
    var system: UInt64 = 0
    var contextSwitches: UInt64 = 0
}
