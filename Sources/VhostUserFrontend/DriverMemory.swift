public import Virtio

/// Guest memory of the driver's own: regions at chosen guest addresses, and a bump allocator in each.
///
/// Allocation is for set-up and belongs to one thread at a time; the memory itself may be used by any.
@safe
public final class DriverMemory: @unchecked Sendable {
    /// Where a region lies for the guest.
    public struct Range: Sendable, Equatable {
        /// First guest physical address.
        public var guestAddress: UInt64
        /// Length in bytes, a multiple of the page size.
        public var size: Int

        /// A region of `size` bytes at a guest address.
        public init(guestAddress: UInt64, size: Int) {
            self.guestAddress = guestAddress
            self.size = size
        }
    }

    /// The regions as a back-end's memory table has them.
    public let regions: [MemoryRegion]
    private var used: [Int]

    /// Plain zeroed memory of this process, for a device in the same process.
    public init(anonymous ranges: [Range]) {
        regions = ranges.map { range in
            // The page alignment is that of a mapping; deinit gives it back.
            let base = UnsafeMutableRawPointer.allocate(byteCount: range.size, alignment: 4096)
            unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: range.size)
            return unsafe MemoryRegion(
                guestAddress: range.guestAddress, size: UInt64(range.size), frontendAddress: UInt64(UInt(bitPattern: base)), hostBase: base)
        }
        used = ranges.map { _ in 0 }
    }

    deinit {
        for region in regions {
            unsafe region.hostBase.deallocate()
        }
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
