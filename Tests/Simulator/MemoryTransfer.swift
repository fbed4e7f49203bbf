import Glibc
import LinuxSystem
import VhostUserFrontend
import Virtio

/// The memory of a guest on its way to another host: all of it is copied once, then page by page what was written since, as the dirty log
/// says of the device and as the host knows of the guest. What is not the same in the end was written and not logged.
@safe
final class MemoryTransfer {
    private struct Page: Hashable {
        var region: Int
        var number: Int
    }

    private let guest: SimulatedGuest
    private let log: DirtyBitmap
    private var copy: [[UInt8]]
    private var writtenByGuest: Set<Page> = []
    private static let pageBytes = Int(DirtyBitmap.pageSize)
    /// Pages that were copied again.
    private(set) var pageCount: UInt64 = 0

    /// Copies everything.
    init(_ guest: SimulatedGuest, _ log: DirtyBitmap) {
        self.guest = guest
        self.log = log
        copy = Self.bytes(of: guest)
    }

    private static func bytes(of guest: SimulatedGuest) -> [[UInt8]] {
        guest.memory.mappings.map { unsafe Array(UnsafeRawBufferPointer(start: $0.base, count: $0.size)) }
    }

    /// Does something as the guest, whose writes its host sees.
    func asGuest<Result>(_ body: () -> Result) -> Result {
        let before = Self.bytes(of: guest)
        defer {
            for (region, mapping) in guest.memory.mappings.enumerated() {
                for number in 0..<mapping.size / Self.pageBytes where unsafe differs(mapping.base, before[region], number) {
                    writtenByGuest.insert(Page(region: region, number: number))
                }
            }
        }
        return body()
    }

    private func differs(_ base: UnsafeMutableRawPointer, _ other: [UInt8], _ number: Int) -> Bool {
        let start = number * Self.pageBytes
        // The page lies in the mapping, and in its copy of the same size.
        return unsafe other.withUnsafeBytes { unsafe memcmp(base + start, $0.baseAddress.unsafelyUnwrapped + start, Self.pageBytes) != 0 }
    }

    /// Copies what was written since the last time: the bits are taken first.
    func copyWritten() {
        var pages = writtenByGuest
        writtenByGuest = []
        for address in log.takePages() {
            for (index, region) in guest.memory.regions.enumerated() {
                let start = region.guestAddress + guest.memory.tableOffset
                if address >= start, address - start < region.size {
                    pages.insert(Page(region: index, number: Int(address - start) / Self.pageBytes))
                }
            }
        }
        for page in pages {
            let start = page.number * Self.pageBytes
            let base = unsafe guest.memory.mappings[page.region].base + start
            unsafe copy[page.region].replaceSubrange(
                start..<start + Self.pageBytes, with: UnsafeRawBufferPointer(start: base, count: Self.pageBytes))
        }
        pageCount += UInt64(pages.count)
    }

    /// The machine stands still: copies the rest, and tells what is not as it should be.
    func finish() -> String? {
        copyWritten()
        // What requests wrote that nobody has completed, the next host's device writes again.
        let unfinished = unsafe guest.queues.flatMap(\.unfinished)
        for (region, mapping) in guest.memory.mappings.enumerated() {
            for number in 0..<mapping.size / Self.pageBytes where unsafe differs(mapping.base, copy[region], number) {
                for offset in number * Self.pageBytes..<(number + 1) * Self.pageBytes {
                    let place = unsafe mapping.base + offset
                    if unsafe place.load(as: UInt8.self) == copy[region][offset] { continue }
                    if unsafe unfinished.contains(where: { unsafe $0.contains(place) }) { continue }
                    return "the device wrote byte \(offset) of memory region \(region), and its page is not in the log"
                }
            }
        }
        return nil
    }
}

extension UnsafeRawBufferPointer {
    /// Whether an address lies in it.
    fileprivate func contains(_ place: UnsafeRawPointer) -> Bool {
        guard let base = baseAddress else { return false }
        // Compared as numbers, not followed.
        let offset = UInt(bitPattern: place) &- UInt(bitPattern: base)
        return offset < UInt(count)
    }
}
