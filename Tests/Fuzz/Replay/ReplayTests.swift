import Foundation
import Testing

/// The checked-in corpora through the fuzzers, and mutations of them that are the same each time: what `make fuzz` does for hours, for a
/// moment and without its sanitizers.
@Suite struct ReplayTests {
    /// An input that is checked in.
    struct Input: CustomTestStringConvertible, Sendable {
        var target: FuzzTarget
        var name: String
        var bytes: [UInt8]

        var testDescription: String { "\(target.rawValue)/\(name)" }
    }

    static let corpora = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Corpus")

    static func inputs(_ target: FuzzTarget) -> [Input] {
        let folder = corpora.appendingPathComponent(target.rawValue)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.sorted().compactMap { name in
            (try? Data(contentsOf: folder.appendingPathComponent(name))).map { Input(target: target, name: name, bytes: [UInt8]($0)) }
        }
    }

    /// How far a corpus gets at least, in the unit of its target: so that a fuzzer which stops at the door is noticed.
    static let reachMin: [FuzzTarget: Int] = [
        .chains: 1000, .messages: 300, .inflight: 300, .control: 20, .configuration: 8, .state: 2, .deviceState: 4,
    ]

    @Test("the corpora keep their promises, and get far", arguments: FuzzTarget.allCases)
    func corpus(target: FuzzTarget) throws {
        let inputs = Self.inputs(target)
        var reach = 0
        for input in inputs {
            do throws(FuzzFailure) {
                reach += try target.run(input.bytes)
            } catch {
                Issue.record("\(input.testDescription): \(error)")
            }
        }
        #expect(reach >= Self.reachMin[target, default: .max], "\(inputs.count) inputs reach \(reach)")
    }

    @Test("mutations of the corpora keep their promises", arguments: FuzzTarget.allCases)
    func mutations(target: FuzzTarget) throws {
        var random = SplitMix(state: 1)
        for input in Self.inputs(target) {
            for round in 0..<5 {
                let bytes = Self.mutated(input.bytes, &random)
                do throws(FuzzFailure) {
                    _ = try target.run(bytes)
                } catch {
                    Issue.record("\(input.testDescription), mutation \(round): \(error)\n\(Data(bytes).base64EncodedString())")
                }
            }
        }
    }

    @Test("the same input does the same each time", arguments: FuzzTarget.allCases)
    func repeats(target: FuzzTarget) throws {
        for input in Self.inputs(target).prefix(20) {
            #expect(try target.run(input.bytes) == target.run(input.bytes), "\(input.testDescription)")
        }
    }

    private static func mutated(_ bytes: [UInt8], _ random: inout SplitMix) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 1 where place < bytes.count: bytes.remove(at: place)
            default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
            }
        }
        return bytes
    }

    /// The same seed gives the same numbers everywhere.
    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var word = state
            word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
            return word ^ (word >> 31)
        }
    }
}
