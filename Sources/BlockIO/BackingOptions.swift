/// Whether the page cache is bypassed.
public enum DirectIO: String, Sendable, CaseIterable {
    /// Direct wherever the file system and the alignment allow it.
    case automatic = "auto"
    /// Direct, or the backing is refused.
    case on
    /// Through the page cache.
    case off
}

/// How to open a backing.
public struct BackingOptions: Equatable, Sendable {
    /// Never write; other readers are admitted beside us.
    public var isReadOnly: Bool
    /// Whether the page cache is bypassed.
    public var direct: DirectIO
    /// The block size of the disk that the guest will see, in bytes: 512 or 4096; nil takes what suits the backing best.
    public var blockSize: UInt32?
    /// Whether opening takes the backing's lock at once; otherwise `Backing.lock()` does.
    public var takesLock: Bool

    /// Options; the defaults are those of a new export.
    public init(isReadOnly: Bool = false, direct: DirectIO = .automatic, blockSize: UInt32? = nil, takesLock: Bool = true) {
        self.isReadOnly = isReadOnly
        self.direct = direct
        self.blockSize = blockSize
        self.takesLock = takesLock
    }
}
