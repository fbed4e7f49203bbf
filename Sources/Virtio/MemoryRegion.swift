/// One region of guest memory as a front-end described it and as this process mapped it.
///
/// vhost-user specification, "Memory region description". All addresses are in bytes.
@frozen
@safe
public struct MemoryRegion: @unchecked Sendable {
    /// First guest physical address of the region.
    public var guestAddress: UInt64
    /// Length of the region in bytes, never 0; `guestAddress + size` and `frontendAddress + size` do not overflow.
    public var size: UInt64
    /// The address of the region's first byte in the front-end's own address space; ring addresses use it.
    public var frontendAddress: UInt64
    /// Where this process has mapped the region's first byte.
    public var hostBase: UnsafeMutableRawPointer
    /// What the device may do there: everything, unless an IOMMU says otherwise.
    public var access = MemoryAccess.readWrite

    /// Describes a region; the caller has checked the ranges.
    public init(guestAddress: UInt64, size: UInt64, frontendAddress: UInt64, hostBase: UnsafeMutableRawPointer) {
        self.guestAddress = guestAddress
        self.size = size
        self.frontendAddress = frontendAddress
        unsafe self.hostBase = hostBase
    }

    /// Whether `next` goes on where this region ends, here and for the device, with the same permissions.
    func isContinued(by next: MemoryRegion) -> Bool {
        // unsafe: addresses are compared as numbers; nothing is followed.
        let isAdjacent = unsafe UInt(bitPattern: hostBase) &+ UInt(truncatingIfNeeded: size) == UInt(bitPattern: next.hostBase)
        return isAdjacent && access == next.access && guestAddress &+ size == next.guestAddress
    }
}
