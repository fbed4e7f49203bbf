/// A latency distribution: log-linear buckets, eight per power of two, from 1 ns to about 18 minutes.
///
/// A bucket is at most 12.5 % wide, so a percentile read from it is off by at most that much. A plain value, for any thread;
/// the counters that the pollers fill (``QueueCounters``) use the same bucket numbers.
public struct LatencyHistogram: Sendable, Equatable {
    /// Buckets in all.
    public static let bucketCount = 304
    /// Requests per bucket.
    public private(set) var counts: [UInt64]

    /// An empty distribution.
    public init() { counts = [UInt64](repeating: 0, count: Self.bucketCount) }

    /// The bucket of a latency in nanoseconds; the last one takes all that are longer.
    @inlinable
    @inline(__always)
    public static func bucket(nanoseconds: UInt64) -> Int {
        // Below 8 the value is its own bucket; above, the three bits under the leading one choose among eight.
        if nanoseconds < 8 { return Int(truncatingIfNeeded: nanoseconds) }
        let exponent = 63 - nanoseconds.leadingZeroBitCount
        let index = (exponent - 2) * 8 + Int(truncatingIfNeeded: (nanoseconds &>> UInt64(exponent - 3)) & 7)
        return min(index, bucketCount - 1)
    }

    /// The smallest latency of a bucket in nanoseconds.
    public static func lowerBound(bucket: Int) -> UInt64 {
        if bucket < 8 { return UInt64(bucket) }
        return UInt64(8 + bucket % 8) << UInt64(bucket / 8 - 1)
    }

    /// Adds requests to a bucket.
    public mutating func add(_ count: UInt64, bucket: Int) { counts[bucket] &+= count }

    /// Adds another distribution.
    public mutating func merge(_ other: LatencyHistogram) {
        for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
    }

    /// Requests counted.
    public var total: UInt64 { counts.reduce(0, &+) }

    /// The latency in nanoseconds that this share of the requests did not exceed (upper end of the bucket), or nil when nothing was counted.
    ///
    /// - Parameter share: 0 to 1, as 0.99.
    public func percentile(_ share: Double) -> UInt64? {
        let total = total
        guard total > 0 else { return nil }
        let wanted = max(1, UInt64((Double(total) * share).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen += count
            if seen >= wanted { return Self.lowerBound(bucket: bucket + 1) - 1 }
        }
        return Self.lowerBound(bucket: Self.bucketCount) - 1
    }
}
