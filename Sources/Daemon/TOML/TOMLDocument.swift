import ControlAPI

/// A TOML 1.0 document: its values, and on which line each key stands.
///
/// Written here because a daemon may not end over a file it reads, and the libraries at hand assert on some malformed ones, or do not tell
/// where a key stands. All of TOML but dates and times, which no key of ours takes.
struct TOMLDocument {
    /// All values.
    var root: JSONValue { table.json }

    private let table: TOMLTable
    /// Lines by key path: `defaults.queues`, `exports[1].name`; headers by the table's path.
    private let lines: [String: Int]

    /// Reads a document. A byte order mark at its start is skipped.
    init(_ text: String) throws(TOMLSyntaxError) {
        var reader = TOMLReader(Array(text.utf8))
        var builder = TOMLBuilder()
        try reader.document(&builder)
        table = builder.root
        lines = builder.lines
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
}

/// Puts what a document says into tables, and refuses what it says twice (TOML 1.0, "Keys", "Table", "Array of Tables").
struct TOMLBuilder {
    let root = TOMLTable(.ownHeader)
    private(set) var lines: [String: Int] = [:]
    /// The table of the last header, and its path.
    private var current: TOMLTable
    private var path = ""

    init() {
        current = root
    }

    /// `[keys]` or `[[keys]]`.
    mutating func header(_ keys: [String], isArray: Bool, line: Int) throws(TOMLSyntaxError) {
        var table = root
        var path = ""
        for key in keys.dropLast() {
            path = Self.join(path, key)
            switch table.members[key] {
            case nil:
                let made = TOMLTable(.header)
                table.members[key] = .table(made)
                table = made
            case .table(let found):
                table = found
            case .tables(let elements):
                // A table inside an array's table belongs to the array's last element.
                path += "[\(elements.count - 1)]"
                table = elements[elements.count - 1]
            case .value:
                throw Self.notTable(path, line)
            }
        }
        guard let name = keys.last else { preconditionFailure("a key has a part") }
        path = Self.join(path, name)
        if isArray {
            path = try openElement(of: table, name, path, line)
        } else {
            try openTable(in: table, name, path, line)
        }
        self.path = path
        lines[path] = line
    }

    private mutating func openElement(of table: TOMLTable, _ name: String, _ path: String, _ line: Int) throws(TOMLSyntaxError) -> String {
        var elements: [TOMLTable] = []
        switch table.members[name] {
        case nil: break
        case .tables(let found): elements = found
        case .table, .value:
            throw TOMLSyntaxError(
                line: line, key: path, reason: "this is not an array of tables, here it is one more", hint: "write it in one way")
        }
        current = TOMLTable(.ownHeader)
        table.members[name] = .tables(elements + [current])
        return "\(path)[\(elements.count)]"
    }

    private mutating func openTable(in table: TOMLTable, _ name: String, _ path: String, _ line: Int) throws(TOMLSyntaxError) {
        switch table.members[name] {
        case nil:
            current = TOMLTable(.ownHeader)
            table.members[name] = .table(current)
        case .table(let found) where found.origin == .header:
            found.origin = .ownHeader
            current = found
        case .table, .tables, .value:
            throw Self.twice(path, line)
        }
    }

    /// `keys = value` under the last header.
    mutating func value(_ keys: [String], _ value: JSONValue, line: Int) throws(TOMLSyntaxError) {
        try Self.set(keys, value, in: current, path: path, line: line) { path in lines[path] = line }
    }

    /// Sets a value of a table by its dotted key; `note` is told the paths of all that the key names.
    static func set(
        _ keys: [String], _ value: JSONValue, in table: TOMLTable, path: String, line: Int, note: (String) -> Void
    ) throws(TOMLSyntaxError) {
        var table = table
        var path = path
        for key in keys.dropLast() {
            path = join(path, key)
            switch table.members[key] {
            case nil:
                let made = TOMLTable(.dottedKey)
                table.members[key] = .table(made)
                note(path)
                table = made
            case .table(let found):
                guard found.origin == .dottedKey else { throw complete(path, line) }
                table = found
            case .tables: throw complete(path, line)
            case .value: throw notTable(path, line)
            }
        }
        guard let name = keys.last else { preconditionFailure("a key has a part") }
        path = join(path, name)
        guard table.members[name] == nil else { throw twice(path, line) }
        table.members[name] = .value(value)
        note(path)
    }

    /// The path of a member of the table at `path`.
    static func join(_ path: String, _ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The path of a key under the last header.
    func path(of keys: [String]) -> String { Self.join(path, keys.joined(separator: ".")) }

    private static func twice(_ path: String, _ line: Int) -> TOMLSyntaxError {
        TOMLSyntaxError(line: line, key: path, reason: "this is set twice", hint: "keep one of the two")
    }

    private static func complete(_ path: String, _ line: Int) -> TOMLSyntaxError {
        TOMLSyntaxError(
            line: line, key: path, reason: "this table is complete where it was written first", hint: "write all of its keys there")
    }

    private static func notTable(_ path: String, _ line: Int) -> TOMLSyntaxError {
        TOMLSyntaxError(
            line: line, key: path, reason: "this is a value and not a table",
            hint: "a value, {...} included, is complete where it is written")
    }
}
