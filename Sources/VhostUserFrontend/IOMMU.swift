import LinuxSystem
public import Virtio

/// A guest's IOMMU as its front-end sees it: which I/O virtual addresses stand for what, and what the device may do there.
///
/// Back-ends see pages of ``pageBytes`` one at a time, as with a guest that maps each buffer by itself.
public struct IOMMU: Sendable {
    /// Bytes that one translation covers; a power of two, at least 4096.
    public var pageBytes: UInt64 = 4096

    private struct Page {
        var frontendAddress: UInt64
        var access: MemoryAccess
    }
    private var pages: [UInt64: Page] = [:]

    /// An IOMMU that maps nothing.
    public init() {}

    /// Maps `size` bytes, a whole number of pages, at `iova` to an address of the front-end's.
    public mutating func map(iova: UInt64, size: UInt64, frontendAddress: UInt64, access: MemoryAccess = .readWrite) {
        for offset in stride(from: 0, to: size, by: Int(pageBytes)) {
            pages[(iova + offset) / pageBytes] = Page(frontendAddress: frontendAddress + offset, access: access)
        }
    }

    /// Maps all of a driver's memory, at the guest addresses that the driver uses.
    mutating func map(_ memory: DriverMemory) {
        for (index, region) in memory.regions.enumerated() {
            for number in 0..<Int(region.size) / PageSize.bytes {
                let page = UInt64(PageSize.bytes)
                map(
                    iova: region.guestAddress + UInt64(number) * page, size: page,
                    frontendAddress: memory.frontendPage(number, of: index))
            }
        }
    }

    /// Takes the mapping of `size` bytes at `iova` back.
    public mutating func unmap(iova: UInt64, size: UInt64) {
        for offset in stride(from: 0, to: size, by: Int(pageBytes)) { pages[(iova + offset) / pageBytes] = nil }
    }

    /// The page that `iova` lies in, if the device may do `access` there: its first address, what that stands for, and all that is allowed.
    public func translate(_ iova: UInt64, _ access: MemoryAccess) -> (iova: UInt64, frontendAddress: UInt64, access: MemoryAccess)? {
        guard let page = pages[iova / pageBytes], page.access.isSuperset(of: access) else { return nil }
        return (iova & ~(pageBytes - 1), page.frontendAddress, page.access)
    }
}
