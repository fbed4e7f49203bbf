import ArgumentParser
import LinuxSystem
import Simulator

/// Runs simulations for a time, replays one, or finds the seeds that notice broken rules.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate", abstract: "Histories of a guest on a disk whose daemon is killed at any store, each from one seed.")

    @Option(help: "How long to run, one seed after the other.")
    var seconds = 60
    @Option(help: "Replays the history of one seed.")
    var seed: UInt64?
    @Option(help: "The first seed of a run.")
    var first: UInt64 = 1
    @Option(help: "Breaks a rule: with --seed in that history, without it until a seed notices.")
    var breaking: String?
    @Flag(help: "Breaks each rule in turn and prints the first seed that notices.")
    var rules = false

    @Flag(help: "Prints everything that happens, with --seed.")
    var trace = false

    mutating func validate() throws {
        guard seconds > 0 else { throw ValidationError("--seconds \(seconds): a run takes at least one") }
        if let breaking, BrokenRule(breaking) == nil {
            throw ValidationError("there is no rule \(breaking); there are: " + BrokenRule.all.map(\.description).joined(separator: ", "))
        }
    }

    func run() throws {
        let rule = breaking.flatMap { BrokenRule($0) }
        if rules {
            for rule in BrokenRule.all { try printSeed(of: rule) }
        } else if let seed {
            Self.print(try simulate(seed, rule), runs: 1, nanoseconds: 0)
        } else if let rule {
            try printSeed(of: rule)
        } else {
            try runForSeconds()
        }
    }

    private func simulate(_ seed: UInt64, _ rule: BrokenRule?) throws -> SimulationReport {
        do {
            return try Simulation.run(seed: seed, breaking: rule, tell: trace ? { Self.say($0) } : nil)
        } catch let failure as SimulationFailure {
            Self.say("failed: \(failure)")
            Self.say("again: make simulate SEED=\(failure.seed)")
            throw ExitCode.failure
        }
    }

    private func printSeed(of rule: BrokenRule) throws {
        guard let seed = try Simulation.firstSeed(breaking: rule, first: first, count: 20000) else {
            Self.say("\(rule): no seed notices")
            throw ExitCode.failure
        }
        do {
            _ = try Simulation.run(seed: seed, breaking: rule)
        } catch let failure as SimulationFailure {
            Self.say("\(rule) | \(seed) | \(failure.reason)")
        }
    }

    private func runForSeconds() throws {
        let start = MonotonicClock.now()
        let end = start + UInt64(seconds) * 1_000_000_000
        var told = start
        var runs: UInt64 = 0
        var total = SimulationReport()
        while MonotonicClock.now() < end {
            total.add(try simulate(first + runs, nil))
            runs += 1
            if MonotonicClock.now() - told > 10_000_000_000 {
                told = MonotonicClock.now()
                Self.print(total, runs: runs, nanoseconds: told - start)
            }
        }
        Self.print(total, runs: runs, nanoseconds: MonotonicClock.now() - start)
    }

    private static func print(_ report: SimulationReport, runs: UInt64, nanoseconds: UInt64) {
        Self.say(
            "\(nanoseconds / 1_000_000_000) s: \(runs) runs, \(report.crashes) crashes survived, \(report.requests) requests, "
                + "\(report.againCount) done again, \(report.verifiedSectors) sectors verified, \(report.stores) stores, "
                + "\(report.resets) resets, \(report.migrations) migrations, \(report.reconnects) reconnects, "
                + "\(report.memoryChanges) memory changes, \(report.resizes) resizes, \(report.powerLosses) power losses, "
                + "\(report.transfers) moves with a dirty log (\(report.pages) pages again), \(report.outages) times without a disk, "
                + "\(report.translations) translations, \(report.remaps) buffers moved, \(report.invalidations) times all translations lost"
        )
    }

    /// Unbuffered, so that a run whose output goes to a file can be followed.
    private static func say(_ text: String) { StandardStream.output.write(text + "\n") }
}
