public import LinuxSystem
public import Virtio

/// Guest memory of the driver's own: regions at chosen guest addresses, and a bump allocator in each.
///
/// Allocation is for set-up and belongs to one thread at a time; the memory itself may be used by any.
public final class DriverMemory: @unchecked Sendable {
    // Sendable: everything but `used` is written once, and `used` belongs to the thread that sets up.

    /// Where a region lies for the guest.
    public struct Range: Sendable, Equatable {
        /// First guest physical address.
        public var guestAddress: UInt64
        /// Length in bytes, a multiple of the page size.
        public var size: Int
        /// The front-end virtual address that the region is told under; nil for the one where it is mapped.
        public var frontendAddress: UInt64?
        /// Where in its file the region begins; bytes before it belong to nobody.
        public var fileOffset: UInt64

        /// A region of `size` bytes at a guest address.
        public init(guestAddress: UInt64, size: Int, frontendAddress: UInt64? = nil, fileOffset: UInt64 = 0) {
            self.guestAddress = guestAddress
            self.size = size
            self.frontendAddress = frontendAddress
            self.fileOffset = fileOffset
        }
    }

    /// The regions as a back-end's memory table has them.
    public let regions: [MemoryRegion]
    /// The file of each region, to be sent to a back-end; empty for anonymous memory.
    public let files: [FileDescriptor]
    /// Where each region begins in its file.
    public let fileOffsets: [UInt64]
    /// Keeps the regions mapped.
    public let mappings: [MemoryMapping]
    /// With an IOMMU the driver's guest addresses are I/O virtual ones; the guest-physical addresses, in memory tables, are this much higher.
    public var tableOffset: UInt64 = 0
    /// Whether pages that are side by side for the driver and the device are apart in guest-physical memory.
    public let isScattered: Bool
    private var used: [Int]

    /// Plain zeroed memory of this process, for a device in the same process.
    public init(anonymous ranges: [Range]) throws(SystemError) {
        var mappings: [MemoryMapping] = []
        for range in ranges { mappings.append(try MemoryMapping(anonymous: range.size)) }
        self.mappings = mappings
        regions = Self.regions(ranges, mappings, mappings)
        files = []
        fileOffsets = []
        isScattered = false
        used = ranges.map { _ in 0 }
    }

    /// Memory files (memfd) that a back-end can map, one for each region.
    ///
    /// - Parameter isScattered: the pages of each region are in the opposite order in its file, and so in guest-physical memory, as those of a
    ///   guest behind an IOMMU may be in any: no two that follow each other do so there. See ``frontendPage(_:of:)``.
    public init(shared ranges: [Range], isScattered: Bool = false) throws(SystemError) {
        var files: [FileDescriptor] = []
        var mappings: [MemoryMapping] = []
        for range in ranges {
            let size = UInt64(range.size)
            files.append(try MemoryFile.create(name: "vhublk-guest", size: range.fileOffset + size))
            mappings.append(try MemoryMapping(descriptor: files[files.count - 1], offset: range.fileOffset, size: size))
        }
        let views = isScattered ? try mappings.map(Self.reversed) : mappings
        self.mappings = isScattered ? mappings + views : mappings
        self.files = files
        self.isScattered = isScattered
        regions = Self.regions(ranges, mappings, views)
        fileOffsets = ranges.map(\.fileOffset)
        used = ranges.map { _ in 0 }
    }

    /// The pages of a mapping from its end to its beginning.
    private static func reversed(_ mapping: MemoryMapping) throws(SystemError) -> MemoryMapping {
        let pages = stride(from: mapping.size - PageSize.bytes, through: 0, by: -PageSize.bytes)
        return try MemoryMapping(joining: pages.map { MemoryMapping.Part(of: mapping, offset: $0, size: PageSize.bytes) })
    }

    private static func regions(_ ranges: [Range], _ mappings: [MemoryMapping], _ views: [MemoryMapping]) -> [MemoryRegion] {
        ranges.indices.map { index in
            let (range, mapping) = (ranges[index], mappings[index])
            // The bases are only copied: whoever follows one keeps this object, which keeps the mapping.
            return unsafe MemoryRegion(
                guestAddress: range.guestAddress, size: UInt64(range.size),
                frontendAddress: range.frontendAddress ?? UInt64(UInt(bitPattern: mapping.base)), hostBase: views[index].base)
        }
    }

    /// The front-end's address of what the driver has in page `number` of a region.
    public func frontendPage(_ number: Int, of index: Int) -> UInt64 {
        let region = regions[index]
        let count = Int(region.size) / PageSize.bytes
        return region.frontendAddress + UInt64((isScattered ? count - 1 - number : number) * PageSize.bytes)
    }

    /// The guest-physical address, as the memory table and the dirty log have it, of what the driver has at `address`, which is a guest
    /// address here and an I/O virtual one with an IOMMU; nil when it is in no region.
    public func tableAddress(_ address: UInt64) -> UInt64? {
        guard let index = regions.firstIndex(where: { address >= $0.guestAddress && address - $0.guestAddress < $0.size }) else {
            return nil
        }
        let (region, page) = (regions[index], UInt64(PageSize.bytes))
        let offset = address - region.guestAddress
        return frontendPage(Int(offset / page), of: index) - region.frontendAddress + offset % page + region.guestAddress &+ tableOffset
    }

    /// The same memory as a device in this process sees it.
    public func deviceMemory() throws(GuestMemoryError) -> GuestMemory {
        try GuestMemory(regions: regions, owners: mappings)
    }

    /// Takes `size` bytes from a region; nil when it has no room. The memory is zero, and is not given back before the whole is.
    public func allocate(_ size: Int, alignment: Int = 16, region index: Int = 0) -> SharedBuffer? {
        precondition(alignment > 0 && alignment & (alignment - 1) == 0, "alignment is a power of two")
        let start = (used[index] + alignment - 1) & ~(alignment - 1)
        guard size >= 0, start + size <= Int(regions[index].size) else { return nil }
        used[index] = start + size
        return buffer(region: index, offset: start, size: size)
    }

    /// A part of a region, allocated or not.
    public func buffer(region index: Int, offset: Int, size: Int) -> SharedBuffer {
        let region = regions[index]
        precondition(offset >= 0 && size >= 0 && offset + size <= Int(region.size), "buffer outside its region")
        // Inside the region by the check above.
        return unsafe SharedBuffer(
            pointer: region.hostBase + offset, guestAddress: region.guestAddress + UInt64(offset),
            frontendAddress: region.frontendAddress + UInt64(offset), size: size)
    }
}
