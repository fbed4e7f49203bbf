import ControlAPI

/// Reads the text of a TOML document, byte by byte; strings and numbers are in ``TOMLReader+Values.swift``.
///
/// Nesting is bounded, so that the stack is; every loop consumes a byte.
struct TOMLReader {
    /// How deep arrays and inline tables may nest, and how many parts a key may have.
    static let depthMax = 32

    let bytes: [UInt8]
    var position = 0
    /// The line of `position`, counted from 1.
    private(set) var line = 1

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    // MARK: Lines

    /// The whole document.
    mutating func document(_ builder: inout TOMLBuilder) throws(TOMLSyntaxError) {
        while true {
            skipSpace()
            switch next {
            case nil: return
            case UInt8(ascii: "["): try header(&builder)
            case UInt8(ascii: "#"), UInt8(ascii: "\n"), UInt8(ascii: "\r"): break
            default:
                let start = line
                let keys = try key(hint: "a line is KEY = VALUE, [TABLE], [[TABLE]] or a comment behind #")
                try equals()
                do throws(TOMLSyntaxError) {
                    try builder.value(keys, try value(depth: 0), line: start)
                } catch {
                    var error = error
                    // What a value of the wrong kind is the value of.
                    if error.key == "" { error.key = builder.path(of: keys) }
                    throw error
                }
            }
            try endOfLine()
        }
    }

    private mutating func header(_ builder: inout TOMLBuilder) throws(TOMLSyntaxError) {
        position += 1
        let isArray = take("[")
        let hint = "a table's name follows the bracket, as in [defaults] or [[exports]]"
        skipSpace()
        let keys = try key(hint: hint)
        guard take("]"), !isArray || take("]") else { throw failure("a header that does not end", hint) }
        try builder.header(keys, isArray: isArray, line: line)
    }

    private mutating func equals() throws(TOMLSyntaxError) {
        guard take("=") else { throw failure("a key without a value", "'=' and a value follow a key") }
        skipSpace()
    }

    /// What may follow a value or a header on its line: nothing, or a comment.
    private mutating func endOfLine() throws(TOMLSyntaxError) {
        skipSpace()
        try comment()
        guard next == nil || takeLineEnd() else {
            throw failure("something follows where the line should end", "text is written in quotes, and a key has a line of its own")
        }
    }

    private mutating func comment() throws(TOMLSyntaxError) {
        guard next == UInt8(ascii: "#") else { return }
        while let byte = next, byte != UInt8(ascii: "\n") {
            if byte == UInt8(ascii: "\r"), position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "\n") { return }
            guard !Self.isControl(byte) else { throw failure("a control character in a comment", "remove it") }
            position += 1
        }
    }

    // MARK: Keys

    /// A dotted key, and the space behind it.
    private mutating func key(hint: String) throws(TOMLSyntaxError) -> [String] {
        var parts: [String] = []
        while true {
            switch next {
            case UInt8(ascii: "\"")?, UInt8(ascii: "'")?: parts.append(try string(mayHaveLines: false))
            default:
                let start = position
                while let byte = next, Self.isBareKey(byte) { position += 1 }
                guard position > start else { throw failure("a key is missing", hint) }
                parts.append(String(decoding: bytes[start..<position], as: UTF8.self))
            }
            skipSpace()
            guard take(".") else { return parts }
            guard parts.count < Self.depthMax else {
                throw failure("a key of more than \(Self.depthMax) parts", "no key of ours has more than three")
            }
            skipSpace()
        }
    }

    private static func isBareKey(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    // MARK: Values

    /// A value of any kind; the key of errors that are about its kind is "", which who knows the key fills in.
    private mutating func value(depth: Int) throws(TOMLSyntaxError) -> JSONValue {
        guard depth < Self.depthMax else { throw failure("values are nested deeper than \(Self.depthMax) levels", "no key takes that") }
        switch next {
        case UInt8(ascii: "\"")?, UInt8(ascii: "'")?: return .string(try string(mayHaveLines: true))
        case UInt8(ascii: "[")?: return try array(depth: depth)
        case UInt8(ascii: "{")?: return try inlineTable(depth: depth)
        case let byte? where Self.isBareValue(byte): return try bareValue()
        default: throw failure("a value is missing", "a text in quotes, a number, true or false, or an array [...] follows '='")
        }
    }

    private mutating func array(depth: Int) throws(TOMLSyntaxError) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        while true {
            try skipSpaceAndLines()
            if take("]") { return .array(elements) }
            elements.append(try value(depth: depth + 1))
            try skipSpaceAndLines()
            if take("]") { return .array(elements) }
            guard take(",") else {
                throw failure("an array that does not go on or end", "commas separate values, and ']' ends the array")
            }
        }
    }

    private mutating func inlineTable(depth: Int) throws(TOMLSyntaxError) -> JSONValue {
        position += 1
        let table = TOMLTable(.ownHeader)
        skipSpace()
        if take("}") { return table.json }
        while true {
            skipSpace()
            let keys = try key(hint: "an inline table is { KEY = VALUE, ... } on one line")
            try equals()
            try TOMLBuilder.set(keys, try value(depth: depth + 1), in: table, path: "", line: line) { _ in }
            skipSpace()
            if take("}") { return table.json }
            guard take(",") else {
                throw failure("an inline table that does not go on or end", "commas separate values, and '}' ends it on the same line")
            }
        }
    }

    // MARK: Bytes

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: scalar) else { return false }
        position += 1
        return true
    }

    /// Takes LF or CR LF, if there is one.
    mutating func takeLineEnd() -> Bool {
        if next == UInt8(ascii: "\r"), position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "\n") { position += 1 }
        guard take("\n") else { return false }
        line += 1
        return true
    }

    private mutating func skipSpace() {
        while next == UInt8(ascii: " ") || next == UInt8(ascii: "\t") { position += 1 }
    }

    private mutating func skipSpaceAndLines() throws(TOMLSyntaxError) {
        repeat {
            skipSpace()
            try comment()
        } while takeLineEnd()
    }

    /// Control characters other than a tab, which are nowhere allowed.
    static func isControl(_ byte: UInt8) -> Bool { byte < 0x20 && byte != UInt8(ascii: "\t") || byte == 0x7F }

    func failure(_ reason: String, _ hint: String) -> TOMLSyntaxError {
        TOMLSyntaxError(line: line, reason: reason, hint: hint)
    }
}
