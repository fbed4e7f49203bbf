/// What happened on one channel, counted since it was made.
@frozen
public struct IOChannelCounters: Equatable, Sendable {
    /// Reads and writes that went through a bounce buffer, since their memory did not fit the backing's alignment.
    public var bounced: UInt64 = 0
    /// Times an operation waited for a bounce buffer.
    public var bounceWaits: UInt64 = 0
    /// Times an operation waited since the engine was full.
    public var engineFullWaits: UInt64 = 0
    /// Transfers that the kernel did in part and that were continued.
    public var shortTransfers: UInt64 = 0
    /// Transfers that the kernel asked to try again.
    public var retries: UInt64 = 0
    /// Discards that succeeded without any effect, since the backing cannot discard.
    public var ignoredDiscards: UInt64 = 0
    /// Writes of zeroes that were done by writing, since the backing has nothing quicker.
    public var writtenZeroes: UInt64 = 0
    /// Operations that ended in an error.
    public var errors: UInt64 = 0

    /// All zero.
    public init() {}
}
