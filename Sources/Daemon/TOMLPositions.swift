/// On which line of a TOML document each key stands.
///
/// TOMLKit tells positions for syntax errors only, so this reads the document too. It needs to know just enough of TOML 1.0 to find keys:
/// headers, the key before `=`, and which lines are the inside of a string or an array of several lines. It works on scalars, not on what a
/// reader takes for characters: a line feed after a carriage return is a line feed, and a quote with an accent is a quote.
struct TOMLPositions {
    /// Lines by key path: `defaults.queues`, `exports[1].name`; headers by the table's path.
    private(set) var lines: [String: Int] = [:]

    /// What is not TOML, and of which TOMLKit's parser asserts that it does not come: with it the process would end.
    struct Problem {
        var line: Int
        var reason: String
        var hint: String
    }
    /// The first one.
    private(set) var problem: Problem?

    private var table: [String] = []
    private var arrayCounts: [String: Int] = [:]
    /// What ends the string of several lines that the reader is in.
    private var openString: Unicode.Scalar?
    /// The brackets of arrays and inline tables that the reader is in.
    private var openBrackets: [Unicode.Scalar] = []

    init(_ document: String) {
        // The parser skips a byte order mark.
        let scalars = document.unicodeScalars.drop { $0 == "\u{feff}" }
        for (index, line) in scalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            read(Array(line), number: index + 1)
        }
    }

    /// The line of a key, or of the nearest table or value around it.
    func line(of path: String) -> Int? {
        var path = path[...]
        while true {
            if let line = lines[String(path)] { return line }
            guard let end = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { return nil }
            path = path[..<end]
        }
    }

    private mutating func read(_ line: [Unicode.Scalar], number: Int) {
        var position = 0
        if openString == nil, openBrackets.isEmpty {
            position = Self.skipSpace(line, 0)
            guard position < line.count, line[position] != "#" else { return }
            if line[position] == "[" {
                readHeader(line, position, number: number)
                return
            }
            let (keys, end) = Self.keys(line, position)
            lines[(table + keys).joined(separator: ".")] = number
            position = end
        }
        skipValue(line, from: position, number: number)
    }

    private mutating func note(_ line: Int, _ reason: String, _ hint: String) {
        if problem == nil { problem = Problem(line: line, reason: reason, hint: hint) }
    }

    private mutating func readHeader(_ line: [Unicode.Scalar], _ start: Int, number: Int) {
        let isArray = start + 1 < line.count && line[start + 1] == "["
        let first = Self.skipSpace(line, start + (isArray ? 2 : 1))
        guard first < line.count, Self.beginsKey(line[first]) else {
            note(number, "a header without a name", "a table's name follows the bracket, as in [defaults] or [[exports]]")
            return
        }
        let (keys, _) = Self.keys(line, first)
        // A table inside an array's table belongs to the array's last element.
        var path: [String] = []
        for (index, key) in keys.enumerated() {
            let name = (path + [key]).joined(separator: ".")
            if isArray, index == keys.count - 1 {
                let count = arrayCounts[name, default: 0]
                arrayCounts[name] = count + 1
                path.append("\(key)[\(count)]")
            } else if let count = arrayCounts[name] {
                path.append("\(key)[\(count - 1)]")
            } else {
                path.append(key)
            }
        }
        table = path
        lines[path.joined(separator: ".")] = number
    }

    /// Whether a key may begin like this: bare or quoted.
    private static func beginsKey(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "A"..."Z", "a"..."z", "0"..."9", "-", "_", "\"", "'": true
        default: false
        }
    }

    /// The dotted key at `start` and the place after it.
    private static func keys(_ line: [Unicode.Scalar], _ start: Int) -> ([String], Int) {
        var keys: [String] = []
        var position = start
        while true {
            position = skipSpace(line, position)
            guard position < line.count else { return (keys, position) }
            let quote = line[position]
            let isQuoted = quote == "\"" || quote == "'"
            if isQuoted { position += 1 }
            let first = position
            while position < line.count, isQuoted ? line[position] != quote : !" \t.=]".unicodeScalars.contains(line[position]) {
                position += 1
            }
            keys.append(String(String.UnicodeScalarView(line[first..<position])))
            position = skipSpace(line, isQuoted ? min(position + 1, line.count) : position)
            guard position < line.count, line[position] == "." else { return (keys, position) }
            position += 1
        }
    }

    private static func skipSpace(_ line: [Unicode.Scalar], _ start: Int) -> Int {
        var position = start
        while position < line.count, line[position] == " " || line[position] == "\t" { position += 1 }
        return position
    }

    /// Follows strings and brackets to the end of the line.
    private mutating func skipValue(_ line: [Unicode.Scalar], from start: Int, number: Int) {
        var position = start
        // Of a value without quotes: in it, or in the space after it.
        var (isBare, wasBare) = (false, false)
        while position < line.count {
            let character = line[position]
            if openString == nil {
                switch character {
                case " ", "\t", "\r": (isBare, wasBare) = (false, wasBare || isBare)
                case ",", "=", "#", "[", "]", "{", "}", "\"", "'": (isBare, wasBare) = (false, false)
                default:
                    // The only values with space in them are dates, which no key has.
                    if wasBare { note(number, "a value follows another", "text is written in quotes, and commas separate values") }
                    isBare = true
                }
            }
            let isTriple = position + 2 < line.count && line[position + 1] == character && line[position + 2] == character
            if let quote = openString {
                if character == "\\", quote == "\"" {
                    position += 1
                } else if character == quote, isTriple {
                    openString = nil
                    position += 2
                }
            } else if character == "#" {
                return
            } else if character == "\"" || character == "'" {
                if isTriple {
                    openString = character
                    position += 2
                } else {
                    position = Self.endOfString(line, position)
                }
            } else if character == "[" || character == "{" {
                openBrackets.append(character)
            } else if character == "]" || character == "}" {
                if openBrackets.popLast() != (character == "]" ? "[" : "{") {
                    note(number, "a bracket that closes nothing of its kind", "arrays are written [...], inline tables {...}")
                }
            }
            position += 1
        }
    }

    private static func endOfString(_ line: [Unicode.Scalar], _ start: Int) -> Int {
        let quote = line[start]
        var position = start + 1
        while position < line.count, line[position] != quote {
            position += line[position] == "\\" && quote == "\"" ? 2 : 1
        }
        return position
    }
}
