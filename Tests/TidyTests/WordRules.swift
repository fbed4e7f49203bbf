import Foundation
import Testing

/// Words that mark unfinished work or that the field has left behind.
@Suite struct WordRules {
    /// Written in two halves so that this file does not find itself.
    static let unfinished = [
        "TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK", "fatalError(\"un" + "implemented", "not " + "implemented",
    ]
    static let replaced = ["mas" + "ter", "sla" + "ve"]

    @Test(arguments: ["Sources", "Tests"])
    func nothingIsLeftUnfinished(folder: String) throws {
        for file in try SourceTree.swiftFiles(below: folder) {
            for (index, line) in file.lines.enumerated() {
                for word in Self.unfinished {
                    #expect(!line.contains(word), "\(file.path):\(index + 1) says \(word)")
                }
            }
        }
    }

    @Test func sourcesUseTheFieldsWords() throws {
        for file in try SourceTree.swiftFiles(below: "Sources") {
            for (index, line) in file.lines.enumerated() {
                let words = line.lowercased().split(whereSeparator: { !$0.isLetter })
                for word in Self.replaced {
                    #expect(!words.contains(Substring(word)), "\(file.path):\(index + 1) says \(word)")
                }
            }
        }
    }
}
