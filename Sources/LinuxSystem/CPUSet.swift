import CLinux
import Glibc

/// A set of CPU numbers, written as Linux writes it: "0-3,8".
public struct CPUSet: Equatable, Sendable, CustomStringConvertible {
    /// CPU numbers are below this.
    public static let capacity = Int(CLINUX_CPU_WORDS) * 64

    /// The CPUs in ascending order, each once.
    public private(set) var numbers: [Int]

    /// Takes CPU numbers in any order; those outside 0..<capacity are left out.
    public init(_ numbers: some Sequence<Int>) {
        self.numbers = Set(numbers).filter { (0..<Self.capacity).contains($0) }.sorted()
    }

    /// Reads a list of numbers and ranges, "0-3,8"; nil when it is none or names a CPU at or above `capacity`. White space around it and
    /// an empty list are fine, as in sysfs.
    public init?(list: String) {
        var numbers: [Int] = []
        let trimmed = list.split(whereSeparator: \.isWhitespace).joined()
        for part in trimmed.split(separator: ",", omittingEmptySubsequences: trimmed.isEmpty) {
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(bounds.count), let first = bounds[0], let last = bounds[bounds.count - 1],
                first >= 0, first <= last, last < Self.capacity
            else { return nil }
            numbers.append(contentsOf: first...last)
        }
        self.init(numbers)
    }

    /// Whether there is no CPU in the set.
    public var isEmpty: Bool { numbers.isEmpty }
    /// How many CPUs there are in the set.
    public var count: Int { numbers.count }
    /// Whether the set has this CPU.
    public func contains(_ cpu: Int) -> Bool { numbers.contains(cpu) }
    /// The CPUs that both sets have.
    public func intersection(_ other: CPUSet) -> CPUSet { CPUSet(numbers.filter { other.contains($0) }) }
    /// The CPUs that this set has and the other has not.
    public func subtracting(_ other: CPUSet) -> CPUSet { CPUSet(numbers.filter { !other.contains($0) }) }

    /// The list as Linux writes it: "0-3,8".
    public var description: String {
        var parts: [String] = []
        var index = 0
        while index < numbers.count {
            var end = index
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            parts.append(end == index ? "\(numbers[index])" : "\(numbers[index])-\(numbers[end])")
            index = end + 1
        }
        return parts.joined(separator: ",")
    }

    /// The mask of bits that system calls take: CPU n is bit n % 64 of word n / 64.
    public var words: [UInt64] {
        var words = [UInt64](repeating: 0, count: Int(CLINUX_CPU_WORDS))
        for number in numbers { words[number / 64] |= 1 << UInt64(number % 64) }
        return words
    }

    /// The CPUs on which the process's first thread may run; nil when the kernel does not say.
    public static func ofProcess() -> CPUSet? { affinity(ofThread: getpid()) }

    /// The CPUs on which the calling thread may run; nil when the kernel does not say.
    public static func ofCurrentThread() -> CPUSet? { affinity(ofThread: 0) }

    private static func affinity(ofThread thread: Int32) -> CPUSet? {
        var words = [UInt64](repeating: 0, count: Int(CLINUX_CPU_WORDS))
        guard unsafe clinux_get_affinity(thread, &words) == 0 else { return nil }
        return CPUSet((0..<capacity).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 })
    }
}
