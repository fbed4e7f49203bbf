import BlockExport
import Testing

/// Where queues go by what they do.
@Suite struct LoadPlanTests {
    /// Queues as (export, index, cpu, load), which may all run anywhere on CPUs 0 and 1 unless said otherwise.
    private static func queues(_ given: [(String, Int, Int, UInt64)], choices: [Int] = [0, 1]) -> [LoadPlan.Queue] {
        given.map {
            LoadPlan.Queue(identity: QueueIdentity(export: $0.0, index: $0.1), cpu: $0.2, load: $0.3, choices: choices)
        }
    }

    private static func moves(_ queues: [LoadPlan.Queue], cpuCount: Int = 2) -> [String] {
        var plan = LoadPlan(queues, cpuCount: cpuCount)
        return plan.moves().map { "\($0.queue) to \($0.cpu)" }
    }

    @Test func aBusyQueueLeavesItsBusyNeighbour() {
        #expect(Self.moves(Self.queues([("a", 0, 0, 1000), ("b", 0, 0, 900)])) == ["a/0 to 1"])
    }

    @Test func whatIsDoneCountsNotHowManyThereAre() {
        // One CPU has one busy queue, the other three that do little: nothing is to be gained.
        let fine = Self.queues([("a", 0, 0, 1000), ("b", 0, 1, 300), ("c", 0, 1, 300), ("d", 0, 1, 300)])
        #expect(Self.moves(fine) == [])
        // Counted by number this would be fine.
        let uneven = Self.queues([("a", 0, 0, 1000), ("b", 0, 0, 1000), ("c", 0, 1, 0), ("d", 0, 1, 0)])
        #expect(Self.moves(uneven).contains { $0 == "a/0 to 1" || $0 == "b/0 to 1" })
    }

    @Test func withoutLoadTheirNumberDecidesAndThoseOfAnExportSpread() {
        #expect(Self.moves(Self.queues([("a", 0, 0, 0), ("a", 1, 0, 3)])).count == 1, "a few requests are none")
        #expect(Self.moves(Self.queues([("a", 0, 0, 0), ("b", 0, 1, 0), ("a", 1, 1, 0)])) == [])
    }

    @Test func littleDifferencesMoveNothing() {
        #expect(Self.moves(Self.queues([("a", 0, 0, 1040), ("b", 0, 1, 960), ("c", 0, 0, 40), ("d", 0, 1, 30)])) == [])
    }

    @Test func aQueueGoesWhereItMayOnly() {
        let bound = Self.queues([("a", 0, 0, 1000), ("b", 0, 0, 1000)], choices: [0])
        #expect(Self.moves(bound) == [])
        // One that is where it should not be leaves, whatever the load is there.
        #expect(Self.moves(Self.queues([("a", 0, 3, 10)], choices: [0, 1])) == ["a/0 to 0"])
        // One that cannot move now counts all the same.
        let stuck = Self.queues([("a", 0, 0, 1000)], choices: []) + Self.queues([("b", 0, 0, 500)])
        #expect(Self.moves(stuck) == ["b/0 to 1"])
    }

    @Test func whatWasPlannedIsAsGoodAsItGets() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var given = Self.queues(
                (0..<12).map {
                    ("e\($0 % 5)", $0, Int.random(in: 0..<4, using: &generator), UInt64.random(in: 0..<5000, using: &generator))
                },
                choices: [0, 1, 2, 3])
            func spread() -> UInt64 {
                let loads = (0..<4).map { cpu in given.filter { $0.cpu == cpu }.reduce(0) { $0 + $1.load } }
                return (loads.max() ?? 0) - (loads.min() ?? 0)
            }
            let before = spread()
            var plan = LoadPlan(given, cpuCount: 4)
            for (identity, cpu) in plan.moves() {
                for index in given.indices where given[index].identity == identity { given[index].cpu = cpu }
            }
            let largest = given.map(\.load).max() ?? 0
            #expect(spread() <= max(before, largest), "\(given)")
        }
    }
}
