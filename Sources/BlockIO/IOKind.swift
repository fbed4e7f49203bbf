/// What an operation does to the backing.
@frozen
public enum IOKind: UInt8, Sendable {
    /// Fills the segments from the backing.
    case read
    /// Stores the segments in the backing.
    case write
    /// Puts everything that completed before on stable storage.
    case flush
    /// Tells the backing that the range's content is no longer needed; advisory.
    case discard
    /// Makes the range read as zeroes; `IOFlags.unmap` permits to give the space back.
    case writeZeroes
    /// Makes the range's content unrecoverable.
    case secureErase
}
