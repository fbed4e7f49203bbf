/// What one session may take up at most, whatever its front-end sends.
public struct SessionLimits: Equatable, Sendable {
    /// Memory regions; what GET_MAX_MEM_SLOTS answers. KVM has 509 slots for a guest.
    public var memoryRegionCountMax = 509
    /// Regions of one SET_MEM_TABLE. The specification draws 8, front-ends in Rust send up to 32.
    public var memoryTableRegionCountMax = 32
    /// Bytes of guest memory mapped at a time. Mappings take address space, of which a process has 128 TiB for all its sessions.
    public var mappedByteCountMax: UInt64 = 16 << 40
    /// Bytes of a dirty log: enough for guest addresses of 47 bits.
    public var logByteCountMax: UInt64 = 4 << 30
    /// Messages that wait while one is being answered. An owner that watches `isReady` never lets one wait.
    public var waitingMessageCountMax = 16
    /// Kinds of refused messages that are logged, once each.
    public var noticeCountMax = 64
    /// Requests on the back-end channel that the front-end has not answered.
    public var unansweredRequestCountMax = 8

    /// Translations of an IOMMU that are kept.
    public var translationCountMax = 16384
    /// Pieces of rings whose pages lie apart behind an IOMMU, each a mapping: those of 128 rings of 1024 descriptors.
    public var joinedPieceCountMax = 1024

    /// The defaults.
    public init() {}
}
