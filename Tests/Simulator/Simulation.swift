internal import Synchronization

/// What a simulation did.
public struct SimulationReport: Sendable {
    /// Events that were thrown.
    public var events: UInt64 = 0
    /// Daemons that died.
    public var crashes: UInt64 = 0
    /// Requests that came back to the guest.
    public var requests: UInt64 = 0
    /// Requests in flight at a crash that were done again.
    public var againCount: UInt64 = 0
    /// Sectors that were compared with the model.
    public var verifiedSectors: UInt64 = 0
    /// Stores to shared memory that were watched.
    public var stores: UInt64 = 0
    /// Guest resets with requests in flight.
    public var resets: UInt64 = 0
    /// Moves to another host.
    public var migrations: UInt64 = 0
    /// Front-ends that left and came back.
    public var reconnects: UInt64 = 0
    /// Changes of the memory table.
    public var memoryChanges: UInt64 = 0
    /// Changes of the disk's size.
    public var resizes: UInt64 = 0
    /// Times the host lost its power.
    public var powerLosses: UInt64 = 0
    /// Times the guest's memory was copied while the device logged its writes.
    public var transfers: UInt64 = 0
    /// Pages that were copied again because of it.
    public var pages: UInt64 = 0
    /// Times the disk failed everything for a while, and requests were held.
    public var outages: UInt64 = 0
    /// Translations of I/O virtual addresses that the device asked for and got.
    public var translations: UInt64 = 0
    /// Buffers whose address came to stand for other memory.
    public var remaps: UInt64 = 0
    /// Times all translations were taken back.
    public var invalidations: UInt64 = 0

    /// Nothing yet.
    public init() {}

    /// Adds what another one did.
    public mutating func add(_ other: SimulationReport) {
        events += other.events
        crashes += other.crashes
        requests += other.requests
        againCount += other.againCount
        verifiedSectors += other.verifiedSectors
        stores += other.stores
        resets += other.resets
        migrations += other.migrations
        reconnects += other.reconnects
        memoryChanges += other.memoryChanges
        resizes += other.resizes
        powerLosses += other.powerLosses
        transfers += other.transfers
        pages += other.pages
        outages += other.outages
        translations += other.translations
        remaps += other.remaps
        invalidations += other.invalidations
    }
}

/// What went wrong, and the seed that makes it go wrong again.
public struct SimulationFailure: Error, Sendable, CustomStringConvertible {
    /// Replays the failure.
    public var seed: UInt64
    /// What the guest, the disk or the front-end saw.
    public var reason: String
    /// The event at which it was seen.
    public var event: UInt64
    /// What happened last.
    public var lastDeed: String
    /// The shape of the simulation.
    public var scenario: String

    /// One line for a person.
    public var description: String { "seed \(seed), event \(event) (\(lastDeed)): \(reason) [\(scenario)]" }
}

/// Histories of a guest, a front-end, a disk and daemons that die, each from one seed.
public enum Simulation {
    /// The observer of the stores is the process's: simulations take turns.
    private static let turn = Mutex<Void>(())

    /// Lets the history of a seed happen, with a rule broken if one is given.
    ///
    /// - Parameter tell: gets a line for everything that happens.
    /// - Throws: ``SimulationFailure`` when something was seen that no correct daemon does; other errors when this machine lacks memory or
    ///   descriptors.
    public static func run(seed: UInt64, breaking broken: BrokenRule? = nil, tell: ((String) -> Void)? = nil) throws -> SimulationReport {
        try turn.withLock { _ in
            let world = try SimulatedWorld(seed: seed, breaking: broken, trace: Trace(tell))
            if let reason = try world.run() {
                throw SimulationFailure(
                    seed: seed, reason: reason, event: world.report.events, lastDeed: world.lastDeed,
                    scenario: world.scenario.description)
            }
            return world.report
        }
    }

    /// The first seed, from `first` on, at which the simulation notices that a rule is broken; nil when none of `count` does.
    public static func firstSeed(breaking rule: BrokenRule, first: UInt64 = 1, count: Int) throws -> UInt64? {
        for seed in first..<first + UInt64(count) where rule.concerns(isPacked: seed % 2 == 1) {
            do {
                _ = try run(seed: seed, breaking: rule)
            } catch is SimulationFailure {
                return seed
            }
        }
        return nil
    }
}
