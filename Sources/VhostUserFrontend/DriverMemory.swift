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
    private var used: [Int]

    /// Plain zeroed memory of this process, for a device in the same process.
    public init(anonymous ranges: [Range]) throws(SystemError) {
        var mappings: [MemoryMapping] = []
        for range in ranges { mappings.append(try MemoryMapping(anonymous: range.size)) }
        self.mappings = mappings
        regions = Self.regions(ranges, mappings)
        files = []
        fileOffsets = []
        used = ranges.map { _ in 0 }
    }

    /// Memory files (memfd) that a back-end can map, one for each region.
    public init(shared ranges: [Range]) throws(SystemError) {
        var files: [FileDescriptor] = []
        var mappings: [MemoryMapping] = []
        for range in ranges {
            let size = UInt64(range.size)
            files.append(try MemoryFile.create(name: "vhublk-guest", size: range.fileOffset + size))
            mappings.append(try MemoryMapping(descriptor: files[files.count - 1], offset: range.fileOffset, size: size))
        }
        self.mappings = mappings
        self.files = files
        regions = Self.regions(ranges, mappings)
        fileOffsets = ranges.map(\.fileOffset)
        used = ranges.map { _ in 0 }
    }

    private static func regions(_ ranges: [Range], _ mappings: [MemoryMapping]) -> [MemoryRegion] {
        zip(ranges, mappings).map { range, mapping in
            // The base is only copied: whoever follows it keeps this object, which keeps the mapping.
            unsafe MemoryRegion(
                guestAddress: range.guestAddress, size: UInt64(range.size),
                frontendAddress: range.frontendAddress ?? UInt64(UInt(bitPattern: mapping.base)), hostBase: mapping.base)
        }
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
