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
