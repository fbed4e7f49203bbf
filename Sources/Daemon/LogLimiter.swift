/// Keeps one noisy source, an export whose guest misbehaves, from filling the log: a token bucket per source.
struct LogLimiter {
    /// Messages that a source may send at once.
    static let burst = 50
    /// How long one more takes to be earned: 1 second.
    static let refillNanoseconds: UInt64 = 1_000_000_000
    /// The most sources that are known at a time; those that have been silent longest are forgotten.
    static let sourceCountMax = 4096

    private struct Bucket {
        var tokens = LogLimiter.burst
        var refilled: UInt64
        var suppressed: UInt64 = 0
    }

    private var buckets: [String: Bucket] = [:]

    /// Whether `source` may send a message at `now` (monotonic nanoseconds): nil when not, otherwise how many it was denied before.
    mutating func admit(_ source: String, now: UInt64) -> UInt64? {
        if buckets[source] == nil, buckets.count >= Self.sourceCountMax { forgetOldest() }
        var bucket = buckets[source] ?? Bucket(refilled: now)
        defer { buckets[source] = bucket }
        let earned = (now &- bucket.refilled) / Self.refillNanoseconds
        if earned > 0 {
            bucket.tokens = Int(min(UInt64(Self.burst), UInt64(bucket.tokens) + min(earned, UInt64(Self.burst))))
            bucket.refilled &+= earned &* Self.refillNanoseconds
        }
        guard bucket.tokens > 0 else {
            bucket.suppressed += 1
            return nil
        }
        bucket.tokens -= 1
        defer { bucket.suppressed = 0 }
        return bucket.suppressed
    }

    private mutating func forgetOldest() {
        guard let oldest = buckets.min(by: { $0.value.refilled < $1.value.refilled }) else { return }
        buckets[oldest.key] = nil
    }
}
