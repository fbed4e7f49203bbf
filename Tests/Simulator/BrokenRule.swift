public import Virtio

/// A rule that the simulation breaks, to show that it notices.
public enum BrokenRule: Hashable, Sendable, CustomStringConvertible {
    /// One that the rings hold.
    case ring(OrderingRule)
    /// One that is held elsewhere.
    case world(WorldRule)

    /// Rules that are held outside of the rings; the simulator breaks them by undoing what holds them.
    public enum WorldRule: String, CaseIterable, Sendable {
        /// The status byte is stored before the used element (QueueCore): broken, it comes after.
        case statusBeforeUsed
        /// A new daemon begins when the requests of the earlier one have ended (BackingLock): broken, they end later.
        case fence
        /// RESET_DEVICE makes the region's parts fresh ones (Session): broken, they are as before.
        case regionForgottenAtReset
        /// GET_INFLIGHT_FD gives a region of zeroes (Session): broken, it gives what was in the last one.
        case newRegionIsZero
        /// A request that the backing failed waits and is tried again (HeldRequests): broken, it ends with its error.
        case failuresAreHeld
        /// A ring starts when the abandoned requests of its export have ended (ExportQueue): broken, at once.
        case abandonedAreAwaited
        /// Those of other rings too: broken, its own only.
        case abandonedOfOtherRingsAreAwaited
        /// A ring that is stopped while it waits to begin does first what is in flight by the region (ExportQueue): broken, it does not.
        case waitingRingsOweRequests
        /// An invalidation is acknowledged when no poller uses the translation any more (Session): broken, some go on.
        case invalidationBeforeAnswer
        /// A log that comes after the ring ran gets every page (Session): broken, only what is written from then on.
        case unknownWritesAreMarked
        /// The device goes on with the cache mode that came with its state (Disk): broken, with the initial one.
        case stateIsLoaded
    }

    /// Every rule.
    public static let all: [BrokenRule] = OrderingRule.allCases.map(BrokenRule.ring) + WorldRule.allCases.map(BrokenRule.world)

    /// The rule's name.
    public var description: String {
        switch self {
        case .ring(let rule): rule.rawValue
        case .world(let rule): rule.rawValue
        }
    }

    /// The rule of a name.
    public init?(_ name: String) {
        guard let rule = Self.all.first(where: { $0.description == name }) else { return nil }
        self = rule
    }

    /// Whether a simulation with rings of that format can break it at all.
    public func concerns(isPacked: Bool) -> Bool {
        let name = description
        return !name.hasPrefix(isPacked ? "split" : "packed")
    }
}
