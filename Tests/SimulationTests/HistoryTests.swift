import Simulator
import Testing

extension Simulations {
    /// Histories with daemons that die, from seeds that are always the same.
    @Suite("Simulated histories")
    struct HistoryTests {
        @Test("nothing is lost, nothing is done twice", arguments: 0..<20)
        func survive(block: Int) throws {
            var total = SimulationReport()
            for seed in UInt64(block * 20 + 1)...UInt64(block * 20 + 20) { total.add(try Simulation.run(seed: seed)) }
            #expect(total.crashes > 0)
            #expect(total.requests > 0)
        }
    }
}
