/// Times that were measured, in nanoseconds, and how they are told.
struct Times: Sendable, CustomStringConvertible {
    private(set) var values: [UInt64] = []

    mutating func append(_ value: UInt64) { values.append(value) }

    static func + (left: Times, right: Times) -> Times { Times(values: left.values + right.values) }

    /// The value below which `share` of all values lie; nil without any.
    func quantile(_ share: Double) -> UInt64? {
        values.isEmpty ? nil : values.sorted()[min(values.count - 1, Int(share * Double(values.count)))]
    }

    var description: String {
        guard let median = quantile(0.5), let most = values.max() else { return "none" }
        return "median \(Self.text(median)), p99 \(Self.text(quantile(0.99) ?? most)), at most \(Self.text(most)) (\(values.count))"
    }

    private static func text(_ nanoseconds: UInt64) -> String {
        let tenths = (nanoseconds + 50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10) ms"
    }
}
