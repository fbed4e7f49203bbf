import Foundation
import Simulator
import Testing

extension Simulations {
    /// The simulator is worth what it notices: with each rule broken in turn some history ends badly, which with the rule kept ends well.
    @Suite("Broken rules")
    struct RuleTests {
        @Test("a broken rule is noticed", arguments: BrokenRule.all)
        func notice(rule: BrokenRule) throws {
            let seed = try #require(
                try Simulation.firstSeed(breaking: rule, first: Self.seeds[rule.description] ?? 1, count: 400), "no seed notices \(rule)")
            _ = try Simulation.run(seed: seed)
        }

        @Test func everyRuleIsInTheManual() {
            #expect(Set(Self.seeds.keys) == Set(BrokenRule.all.map(\.description)))
        }

        /// The seeds of the table in docs/recovery.md, by rule: where the search begins.
        private static let seeds: [String: UInt64] = {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..").standardized
            let text = (try? String(contentsOf: root.appendingPathComponent("docs/recovery.md"), encoding: .utf8)) ?? ""
            var seeds: [String: UInt64] = [:]
            for line in text.split(separator: "\n") {
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                guard cells.count == 3, cells[0].hasPrefix("`"), let seed = UInt64(cells[2]) else { continue }
                seeds[cells[0].trimmingCharacters(in: ["`"])] = seed
            }
            return seeds
        }()
    }
}
