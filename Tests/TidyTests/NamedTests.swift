import Foundation
import Testing

/// Documents that name a test for each row, and the tests exist: docs/hostile.md, and the messages of docs/protocol.md.
@Suite struct NamedTests {
    /// A row that names tests, or should.
    private struct Row {
        var title: Substring
        var tests: Substring
    }

    /// The cells of the rows of a document's tables, below the given headings; all of them when there are none.
    private static func rows(_ document: String, below headings: Set<Substring> = []) throws -> [[Substring]] {
        let text = try String(contentsOf: SourceTree.root.appendingPathComponent("docs/\(document)"), encoding: .utf8)
        var isWanted = headings.isEmpty
        var rows: [[Substring]] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("## "), !headings.isEmpty { isWanted = headings.contains(line.dropFirst(3)) }
            if isWanted, line.hasPrefix("| ") {
                rows.append(line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false))
            }
        }
        return rows
    }

    /// `Suite.test` in backticks.
    private static func names(_ cell: Substring) -> [(suite: Substring, test: Substring)] {
        cell.split(separator: ",").compactMap { item in
            let name = item.drop { $0 != "`" }.dropFirst().prefix { $0 != "`" }
            let parts = name.split(separator: ".")
            return parts.count == 2 ? (parts[0], parts[1]) : nil
        }
    }

    private static func check(_ rows: [Row]) throws {
        let files = try SourceTree.swiftFiles(below: "Tests")
        for row in rows {
            let names = names(row.tests)
            #expect(!names.isEmpty && names.count == row.tests.split(separator: ",").count, "tests of: \(row.title)")
            for (suite, test) in names {
                let isThere = files.contains { file in
                    file.path.hasSuffix("/\(suite).swift") && file.lines.contains { $0.contains("func \(test)(") }
                }
                #expect(isThere, "\(suite).\(test), for: \(row.title)")
            }
        }
    }

    @Test("docs/hostile.md: what comes, what becomes of it, tests")
    func hostile() throws {
        let rows = try Self.rows("hostile.md").filter { !$0[0].hasPrefix(" what comes") }
        #expect(rows.count > 50, "the scan found the tables")
        #expect(rows.allSatisfy { $0.count == 3 })
        try Self.check(rows.map { Row(title: $0[0], tests: $0[$0.count - 1]) })
    }

    @Test("docs/protocol.md: each message that is served or refused, and each that is sent")
    func messages() throws {
        let rows = try Self.rows("protocol.md", below: ["Messages from the front-end", "Messages to the front-end"])
            .filter { !$0[0].hasPrefix(" id") }
        #expect(rows.count > 50, "the scan found the tables")
        #expect(rows.allSatisfy { $0.count == 5 })
        try Self.check(rows.filter { $0[2] != " no " }.map { Row(title: $0[1], tests: $0[4]) })
    }
}
