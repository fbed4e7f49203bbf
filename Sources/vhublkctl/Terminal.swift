import LinuxSystem

/// Standard output and standard error.
enum Terminal {
    /// Writes `text` and a line's end to standard output.
    static func print(_ text: String) { StandardStream.output.write(text + "\n") }

    /// Writes `text` and a line's end to standard error.
    static func error(_ text: String) { StandardStream.error.write(text + "\n") }

    /// Empties the screen, the cursor in its corner (ECMA-48: CUP and ED).
    static func clear() { StandardStream.output.write("\u{1B}[H\u{1B}[2J") }

    /// Whether standard output is a terminal.
    static var isInteractive: Bool { StandardStream.output.isTerminal }
}

/// A table with aligned columns.
struct TextTable {
    private var rows: [[String]]
    private let rightAligned: Set<Int>

    /// A table with these headings; columns in `rightAligned` hold numbers.
    init(_ headings: [String], rightAligned: Set<Int> = []) {
        rows = [headings]
        self.rightAligned = rightAligned
    }

    /// Adds a row with as many cells as there are headings.
    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The table, two spaces between columns, none at the ends of lines.
    var text: String {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = row.indices.map { column in
                let padding = String(repeating: " ", count: widths[column] - row[column].count)
                return rightAligned.contains(column) ? padding + row[column] : row[column] + padding
            }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}
