import LinuxSystem
import Virtio

/// The memory regions of a session: as described, as mapped, and as the snapshot that rings use.
struct MemoryTable {
    struct Entry {
        var description: MemoryRegionDescription
        var mapping: MappedMemory
    }

    private(set) var entries: [Entry] = []
    /// nil while there is no region.
    private(set) var memory: GuestMemory?

    init() {}

    /// Fails when two regions claim the same guest addresses, or one is empty or wraps.
    init(_ entries: [Entry]) throws(Refusal) {
        self.entries = entries
        if entries.isEmpty { return }
        let regions = entries.map { entry in
            unsafe MemoryRegion(
                guestAddress: entry.description.guestAddress, size: entry.description.size,
                frontendAddress: entry.description.frontendAddress, hostBase: entry.mapping.base)
        }
        do throws(GuestMemoryError) {
            memory = try GuestMemory(regions: regions, owners: entries.map(\.mapping.owner))
        } catch {
            throw Refusal(.memory, error.description)
        }
    }

    /// Bytes of all regions.
    var byteCount: UInt64 { entries.reduce(0) { $0 &+ $1.description.size } }
}
