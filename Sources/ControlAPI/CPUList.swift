/// CPUs as Linux lists them (`0-3,6`), sorted and each once.
public struct CPUList: Sendable, Hashable, CustomStringConvertible {
    /// The CPUs' numbers, ascending.
    public let cpus: [Int]

    /// The largest CPU number that is accepted; Linux knows at most 8192 CPUs.
    public static let numberMax = 8191

    /// A list of `cpus`; nil when it is empty or a number is out of 0...`numberMax`.
    public init?(_ cpus: [Int]) {
        let sorted = Set(cpus).sorted()
        guard let first = sorted.first, let last = sorted.last, first >= 0, last <= Self.numberMax else { return nil }
        self.cpus = sorted
    }

    /// The list that `text` tells (`2`, `0-3`, `0-3,6`), or nil.
    public init?(parsing text: String) {
        var cpus: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            let numbers = ends.compactMap { $0.allSatisfy { $0.isASCII && $0.isNumber } ? Int($0) : nil }
            guard let first = numbers.first, let last = numbers.last, numbers.count == ends.count, first <= last, last <= Self.numberMax
            else { return nil }
            cpus.append(contentsOf: first...last)
        }
        self.init(cpus)
    }

    /// The list in Linux's form.
    public var description: String {
        var parts: [String] = []
        var start = 0
        for index in cpus.indices where index + 1 == cpus.count || cpus[index + 1] != cpus[index] + 1 {
            parts.append(start == index ? "\(cpus[index])" : "\(cpus[start])-\(cpus[index])")
            start = index + 1
        }
        return parts.joined(separator: ",")
    }
}

extension CPUList: Codable {
    /// Decodes a string in Linux's form or an array of numbers.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let list: CPUList? =
            if let numbers = try? container.decode([Int].self) { CPUList(numbers) } else {
                CPUList(parsing: try container.decode(String.self))
            }
        guard let list else { throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a list of CPUs") }
        self = list
    }

    /// Encodes an array of numbers.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(cpus)
    }
}
