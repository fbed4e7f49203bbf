/// What happened between the queues of an export and its backing; counters that only grow.
public struct BackingStats: DescribedObject {
    /// Transfers through a bounce buffer.
    public var bounced: UInt64 = 0
    /// Waits for a bounce buffer.
    public var bounceWaits: UInt64 = 0
    /// Waits for a place in the engine.
    public var engineFullWaits: UInt64 = 0
    /// Transfers done in part and continued.
    public var shortTransfers: UInt64 = 0
    /// Transfers the kernel asked to try again.
    public var retries: UInt64 = 0
    /// Discards without effect.
    public var ignoredDiscards: UInt64 = 0
    /// Writes of zeroes that had to be written.
    public var writtenZeroes: UInt64 = 0
    /// Operations that ended in an error.
    public var errors: UInt64 = 0

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case bounced
        case bounceWaits = "bounce_waits"
        case engineFullWaits = "engine_full_waits"
        case shortTransfers = "short_transfers"
        case retries
        case ignoredDiscards = "ignored_discards"
        case writtenZeroes = "written_zeroes"
        case errors
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(
                CodingKeys.bounced, .natural, "reads and writes that were copied, since their memory did not fit the backing's alignment"),
            .required(CodingKeys.bounceWaits, .natural, "times such a copy waited for a buffer"),
            .required(CodingKeys.engineFullWaits, .natural, "times an operation waited since the engine was full"),
            .required(CodingKeys.shortTransfers, .natural, "transfers that the kernel did in part and that were continued"),
            .required(CodingKeys.retries, .natural, "transfers that the kernel asked to try again (EAGAIN, EINTR)"),
            .required(CodingKeys.ignoredDiscards, .natural, "discards without effect, since the backing cannot discard"),
            .required(CodingKeys.writtenZeroes, .natural, "writes of zeroes done by writing, since the backing has nothing quicker"),
            .required(
                CodingKeys.errors, .natural, "operations that the backing ended with an error, tries of held requests included"),
        ]
    }

    /// All zero.
    public init() {}

    /// Those that are not zero, in words: "3 bounced".
    public var texts: [String] {
        let all = [
            (bounced, "bounced"), (bounceWaits, "waits for a bounce buffer"), (engineFullWaits, "waits for the engine"),
            (shortTransfers, "short transfers"), (retries, "retries"), (ignoredDiscards, "discards ignored"),
            (writtenZeroes, "zeroes written"), (errors, "errors"),
        ]
        return all.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
    }
}

/// Requests of an export that its backing failed and that wait to be tried again (`on_error` hold).
public struct HoldInfo: DescribedObject {
    /// How many.
    public var requests: UInt64
    /// For how long.
    public var durationNS: UInt64
    /// Tries.
    public var tries: UInt64
    /// The last error.
    public var lastError: String

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case requests
        case durationNS = "duration_ns"
        case tries
        case lastError = "last_error"
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.requests, .natural, "requests that are held, those that are just being tried included"),
            .required(CodingKeys.durationNS, .natural, "for how long requests have been held, in nanoseconds"),
            .required(CodingKeys.tries, .natural, "how often they were tried again"),
            .required(CodingKeys.lastError, .text, "the last error in words"),
        ]
    }

    /// A hold.
    public init(requests: UInt64, durationNS: UInt64, tries: UInt64, lastError: String) {
        self.requests = requests
        self.durationNS = durationNS
        self.tries = tries
        self.lastError = lastError
    }
}
