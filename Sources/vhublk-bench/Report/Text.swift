/// A number with so many digits behind the point, without Foundation.
func formatFixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "0" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let rounded = (value.magnitude * scale).rounded()
    guard rounded < 1e18 else { return "\(value)" }
    let whole = UInt64(rounded)
    let unit = UInt64(scale)
    let sign = value < 0 && whole > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(whole)" }
    let fraction = String(whole % unit)
    return "\(sign)\(whole / unit).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}

/// A number in three or four significant digits with a unit: `1.23M`, `45.6k`.
func formatScaled(_ value: Double, step: Double = 1000, units: [String] = ["", "k", "M", "G", "T", "P"]) -> String {
    var value = value
    var index = 0
    while value >= step, index < units.count - 1 {
        value /= step
        index += 1
    }
    let digits = index == 0 && value == value.rounded() ? 0 : value >= 100 ? 1 : 2
    return formatFixed(value, digits) + units[index]
}

/// Bytes with a binary unit: `4.71GiB`.
func formatBytes(_ bytes: Double) -> String {
    formatScaled(bytes, step: 1024, units: ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// A time with a fitting unit: `812ns`, `14.2us`, `1.03ms`, `5.20s`.
func formatTime(_ nanoseconds: Double) -> String {
    formatScaled(nanoseconds, units: ["ns", "us", "ms", "s"])
}

/// `text` with spaces before it, at least `width` wide.
func padLeft(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}

/// `text` with spaces behind it, at least `width` wide.
func padRight(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}
