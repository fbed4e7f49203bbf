/// A number of bytes, written as an integer or with a suffix: K, M, G, T are powers of 1024.
public struct ByteSize: Sendable, Hashable, Comparable {
    /// The number of bytes, 0...`max`.
    public var bytes: UInt64

    /// The largest size: file offsets are signed 64-bit numbers.
    public static let max = ByteSize(UInt64(Int64.max))

    /// A size of `bytes` bytes.
    public init(_ bytes: UInt64) {
        self.bytes = bytes
    }

    /// The size that `text` tells (`4096`, `512K`, `10G`), or nil when it tells none: no fraction, no sign, no space, at most `max`.
    public init?(parsing text: String) {
        var digits = text[...]
        var shift = 0
        if let suffix = digits.last, let index = "KMGT".firstIndex(of: Character(suffix.uppercased())) {
            shift = 10 * ("KMGT".distance(from: "KMGT".startIndex, to: index) + 1)
            digits.removeLast()
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let value = UInt64(digits),
            value <= Self.max.bytes >> UInt64(shift)
        else { return nil }
        self.init(value << UInt64(shift))
    }

    /// Orders by number of bytes.
    public static func < (left: ByteSize, right: ByteSize) -> Bool { left.bytes < right.bytes }

    /// The shortest exact text that `init(parsing:)` reads back: `10G`, `1536M`, `1000`.
    public var exactText: String {
        var value = bytes
        var suffix = ""
        for next in ["K", "M", "G", "T"] where value != 0 && value.isMultiple(of: 1024) && suffix.count < 4 {
            value /= 1024
            suffix = next
        }
        return "\(value)\(suffix)"
    }
}

extension ByteSize: CustomStringConvertible {
    /// For people: at most one digit after the point, binary units (`1.5 GiB`, `512 B`).
    public var description: String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var index = 0
        while index + 1 < units.count, bytes >> UInt64(10 * (index + 1)) > 0 { index += 1 }
        let tenths = index == 0 ? bytes * 10 : ((bytes >> UInt64(10 * (index - 1))) * 10) >> 10
        return tenths.isMultiple(of: 10) ? "\(tenths / 10) \(units[index])" : "\(tenths / 10).\(tenths % 10) \(units[index])"
    }
}
