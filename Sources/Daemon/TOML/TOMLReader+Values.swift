import ControlAPI

/// Strings, numbers and truth values.
extension TOMLReader {
    // MARK: Strings

    /// A string of any of the four kinds: basic or literal, of one line or of several.
    mutating func string(mayHaveLines: Bool) throws(TOMLSyntaxError) -> String {
        let quote = bytes[position]
        let isLong = bytes[position...].starts(with: [quote, quote, quote])
        guard mayHaveLines || !isLong else { throw failure("a key cannot be a text of several lines", "write it in single quotes") }
        position += isLong ? 3 : 1
        // A line end right behind the opening quotes is not part of the text.
        if isLong { _ = takeLineEnd() }
        var content: [UInt8] = []
        while let byte = next {
            if byte == quote, isLong ? endsLongString(quote, &content) : take(Unicode.Scalar(quote)) {
                // What was valid UTF-8 as a document is so in pieces between ASCII characters.
                return String(decoding: content, as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                try escape(isLong: isLong, into: &content)
            } else if isLong, takeLineEnd() {
                content.append(UInt8(ascii: "\n"))
            } else {
                guard !Self.isControl(byte) else {
                    throw failure(
                        byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r")
                            ? "a text that does not end" : "a control character in a text",
                        "a text ends with the quote it begins with, on the same line")
                }
                content.append(byte)
                position += 1
            }
        }
        throw failure("a text that does not end", "a text ends with the quotes it begins with")
    }

    /// Takes the closing quotes of a long string if they are here: three, before which up to two belong to the text.
    private mutating func endsLongString(_ quote: UInt8, _ content: inout [UInt8]) -> Bool {
        var count = 0
        while count < 5, position + count < bytes.count, bytes[position + count] == quote { count += 1 }
        guard count >= 3 else { return false }
        content.append(contentsOf: repeatElement(quote, count: count - 3))
        position += count
        return true
    }

    private mutating func escape(isLong: Bool, into content: inout [UInt8]) throws(TOMLSyntaxError) {
        position += 1
        let byte = next
        position += 1
        switch byte {
        case UInt8(ascii: "b")?: content.append(0x08)
        case UInt8(ascii: "t")?: content.append(0x09)
        case UInt8(ascii: "n")?: content.append(0x0A)
        case UInt8(ascii: "f")?: content.append(0x0C)
        case UInt8(ascii: "r")?: content.append(0x0D)
        case UInt8(ascii: "\"")?, UInt8(ascii: "\\")?: content.append(bytes[position - 1])
        case UInt8(ascii: "u")?: try scalar(digits: 4, into: &content)
        case UInt8(ascii: "U")?: try scalar(digits: 8, into: &content)
        case UInt8(ascii: " ")?, UInt8(ascii: "\t")?, UInt8(ascii: "\n")?, UInt8(ascii: "\r")?:
            position -= 1
            guard isLong, skipFoldedLines() else { fallthrough }
        default:
            throw failure(
                "there is no such escape in a text", "\\\\ is a backslash; or write the text in single quotes, which know no escapes")
        }
    }

    /// Skips the line end behind a backslash and all space that follows; false when other things follow on the line.
    private mutating func skipFoldedLines() -> Bool {
        var hasLine = false
        while true {
            if takeLineEnd() {
                hasLine = true
            } else if !take(" "), !take("\t") {
                return hasLine
            }
        }
    }

    private mutating func scalar(digits: Int, into content: inout [UInt8]) throws(TOMLSyntaxError) {
        let text = String(decoding: bytes[position..<min(position + digits, bytes.count)], as: UTF8.self)
        guard text.utf8.count == digits, text.allSatisfy({ $0.isASCII && $0.isHexDigit }), let value = UInt32(text, radix: 16),
            let scalar = Unicode.Scalar(value), value != 0
        else {
            throw failure("an escape that is no character", "\\u and four, or \\U and eight hexadecimal digits of a Unicode scalar")
        }
        content.append(contentsOf: String(Character(scalar)).utf8)
        position += digits
    }

    // MARK: Bare values

    /// What values without quotes and brackets are made of.
    static func isBareValue(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"):
            true
        default: false
        }
    }

    mutating func bareValue() throws(TOMLSyntaxError) -> JSONValue {
        let start = position
        while let byte = next, Self.isBareValue(byte) { position += 1 }
        let word = String(decoding: bytes[start..<position], as: UTF8.self)
        if word == "true" { return .bool(true) }
        if word == "false" { return .bool(false) }
        if Self.isDateOrTime(word) {
            throw TOMLSyntaxError(line: line, key: "", reason: "is a date or a time", hint: "no key takes one; put a text in quotes")
        }
        if let number = Self.integer(word) ?? Self.number(word) { return number }
        throw failure("'\(word.prefix(40))' is no value", "a text is written in quotes; else a number, true or false")
    }

    /// `1979-05-27...` and `07:32...`: no number has a minus or a colon there.
    private static func isDateOrTime(_ word: String) -> Bool {
        let bytes = Array(word.utf8)
        func digits(_ count: Int, then separator: Unicode.Scalar) -> Bool {
            bytes.count > count && bytes[..<count].allSatisfy(isDigit) && bytes[count] == UInt8(ascii: separator)
        }
        return digits(4, then: "-") || digits(2, then: ":")
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    /// The digits without the underscores, each of which stands between two digits; nil when one does not, or there are other things.
    private static func plain(_ text: Substring, isDigit: (Character) -> Bool = { $0.isASCII && $0.isNumber }) -> String? {
        let groups = text.split(separator: "_", omittingEmptySubsequences: false)
        guard groups.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isDigit) }) else { return nil }
        return groups.joined()
    }

    /// An integer that fits 64 bits, in any of the four bases (TOML 1.0, "Integer").
    private static func integer(_ word: String) -> JSONValue? {
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where word.hasPrefix(prefix) {
            let digits = plain(word.dropFirst(2)) { $0.isASCII && $0.hexDigitValue.map { $0 < radix } == true }
            return digits.flatMap { Int64($0, radix: radix) }.map { .integer($0) }
        }
        let unsigned = word.hasPrefix("-") || word.hasPrefix("+") ? word.dropFirst() : word[...]
        guard let digits = plain(unsigned), digits.count == 1 || !digits.hasPrefix("0") else { return nil }
        return Int64((word.hasPrefix("-") ? "-" : "") + digits).map { .integer($0) }
    }

    /// A number with fraction or exponent (TOML 1.0, "Float"). Infinity and NaN are not: no key takes them, and JSON has none.
    private static func number(_ word: String) -> JSONValue? {
        let unsigned = word.hasPrefix("-") || word.hasPrefix("+") ? word.dropFirst() : word[...]
        let parts = unsigned.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        let mantissa = parts[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 || mantissa.count == 2 else { return nil }
        var text = word.hasPrefix("-") ? "-" : ""
        guard let whole = plain(mantissa[0]), whole.count == 1 || !whole.hasPrefix("0") else { return nil }
        text += whole
        if mantissa.count == 2 {
            guard let fraction = plain(mantissa[1]) else { return nil }
            text += "." + fraction
        }
        if parts.count == 2 {
            let sign = parts[1].hasPrefix("-") || parts[1].hasPrefix("+") ? parts[1].prefix(1) : ""
            guard let exponent = plain(parts[1].dropFirst(sign.count)) else { return nil }
            text += "e" + sign + exponent
        }
        guard let value = Double(text), value.isFinite else { return nil }
        return .number(value)
    }
}
