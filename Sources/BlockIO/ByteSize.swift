/// Sizes in bytes as people write them: a number and K, M, G or T for powers of 1024.
public enum ByteSize {
    private static let units: [(letter: Character, shift: UInt64)] = [("K", 10), ("M", 20), ("G", 30), ("T", 40)]

    /// Reads "4096", "512K", "10G"; letters in either case, nothing after them. nil for anything else and for what exceeds 2^63 - 1.
    public static func parse(_ text: String) -> UInt64? {
        var digits = Substring(text)
        var shift: UInt64 = 0
        if let last = text.last, let unit = units.first(where: { String($0.letter) == last.uppercased() }) {
            shift = unit.shift
            digits = digits.dropLast()
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt64(digits) else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow || product > UInt64(Int64.max) ? nil : product
    }

    /// The shortest exact form: "10G", "1536M", "1000".
    public static func text(_ bytes: UInt64) -> String {
        for unit in units.reversed() where bytes > 0 && bytes % (1 << unit.shift) == 0 {
            return "\(bytes >> unit.shift)\(unit.letter)"
        }
        return "\(bytes)"
    }
}
