import ArgumentParser

/// A number of bytes as fio takes it: `4096`, `4k`, `1m`, `2GiB`; a unit is a power of 1024, large or small letters.
struct ByteCount: Equatable, Sendable, ExpressibleByArgument, CustomStringConvertible {
    var bytes: UInt64

    init(_ bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        let text = argument.lowercased()
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        var unit = text.dropFirst(digits.count)
        if unit.hasSuffix("ib") { unit = unit.dropLast(2) } else if unit.hasSuffix("b") { unit = unit.dropLast() }
        let shifts: [Substring: UInt64] = ["": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50]
        guard let shift = shifts[unit] else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        if overflow { return nil }
        self.bytes = bytes
    }

    /// The shortest exact form: `4096` is `4k`.
    var description: String {
        for (unit, shift) in [("t", 40), ("g", 30), ("m", 20), ("k", 10)] where bytes > 0 && bytes % (1 << UInt64(shift)) == 0 {
            return "\(bytes >> UInt64(shift))\(unit)"
        }
        return "\(bytes)"
    }
}

/// A time as fio takes it: seconds without a unit, or `us`, `ms`, `s`, `m`, `h`, `d`.
struct TimeSpan: Equatable, Sendable, ExpressibleByArgument, CustomStringConvertible {
    var nanoseconds: UInt64

    init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    init?(argument: String) {
        let text = argument.lowercased()
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let units: [Substring: UInt64] = [
            "": 1_000_000_000, "us": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
            "d": 86_400_000_000_000,
        ]
        guard let number = UInt64(digits), let unit = units[text.dropFirst(digits.count)] else { return nil }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: unit)
        if overflow { return nil }
        self.nanoseconds = nanoseconds
    }

    var description: String { nanoseconds % 1_000_000_000 == 0 ? "\(nanoseconds / 1_000_000_000)s" : "\(nanoseconds / 1000)us" }
}

/// A list of CPU numbers as fio and taskset take it: `0,2-3`.
struct CPUList: Equatable, Sendable, ExpressibleByArgument, CustomStringConvertible {
    var cpus: [Int]

    init?(argument: String) {
        cpus = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first >= 0, first <= last, last < 4096 else {
                return nil
            }
            cpus += first...last
        }
    }

    var description: String { cpus.map(String.init).joined(separator: ",") }
}

/// A list of percentiles as fio takes it: `50:99:99.9`.
struct PercentileList: Equatable, Sendable, ExpressibleByArgument, CustomStringConvertible {
    var values: [Double]

    init(_ values: [Double]) { self.values = values }

    init?(argument: String) {
        values = []
        for part in argument.split(separator: ":", omittingEmptySubsequences: false) {
            guard let value = Double(part), value > 0, value <= 100 else { return nil }
            values.append(value)
        }
    }

    /// fio's own list.
    static let standard = PercentileList([1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99])

    var description: String { values.map { formatFixed($0, 2) }.joined(separator: ":") }
}
