import Foundation
import Testing

/// docs/hostile.md names a test for each row, and each of them exists.
@Suite struct HostileTable {
    /// The rows of the document's tables: their cells.
    private static func rows() throws -> [[Substring]] {
        let text = try String(contentsOf: SourceTree.root.appendingPathComponent("docs/hostile.md"), encoding: .utf8)
        return text.split(separator: "\n").filter { $0.hasPrefix("| ") && !$0.hasPrefix("| what comes") }
            .map { $0.split(separator: "|").filter { !$0.allSatisfy(\.isWhitespace) } }
    }

    /// `Suite.test` in backticks.
    private static func names(_ cell: Substring) -> [(suite: Substring, test: Substring)] {
        cell.split(separator: ",").compactMap { item in
            let name = item.drop { $0 != "`" }.dropFirst().prefix { $0 != "`" }
            let parts = name.split(separator: ".")
            return parts.count == 2 ? (parts[0], parts[1]) : nil
        }
    }

    @Test func everyRowHasTestsThatExist() throws {
        let files = try SourceTree.swiftFiles(below: "Tests")
        let rows = try Self.rows()
        #expect(rows.count > 50, "the scan found the tables")
        for row in rows {
            guard row.count == 3 else {
                Issue.record("a row needs three cells: \(row)")
                continue
            }
            let names = Self.names(row[2])
            #expect(!names.isEmpty && names.count == row[2].split(separator: ",").count, "tests of: \(row[0])")
            for (suite, test) in names {
                let isThere = files.contains { file in
                    file.path.hasSuffix("/\(suite).swift") && file.lines.contains { $0.contains("func \(test)(") }
                }
                #expect(isThere, "\(suite).\(test), for: \(row[0])")
            }
        }
    }
}
