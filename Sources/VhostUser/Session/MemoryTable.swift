import LinuxSystem
import Virtio

/// The memory regions of a session: as described, as mapped, and as the snapshot that rings use.
struct MemoryTable {
    struct Entry {
        var description: MemoryRegionDescription
        var mapping: MappedMemory

        /// The region with its address in this process in place of the front-end's: what post-copy wants to know.
        var described: MemoryRegionDescription {
            var told = description
            told.frontendAddress = unsafe UInt64(UInt(bitPattern: mapping.base))
            return told
        }
    }

    private(set) var entries: [Entry] = []
    /// nil while there is no region.
    private(set) var memory: GuestMemory?

    init() {}

    /// Fails when two regions claim the same guest addresses, or one is empty or wraps. `awaited` is what their pages are waited for with.
    init(_ entries: [Entry], awaited: AwaitedMemory? = nil) throws(Refusal) {
        self.entries = entries
        if entries.isEmpty { return }
        let regions = entries.map { entry in
            unsafe MemoryRegion(
                guestAddress: entry.description.guestAddress, size: entry.description.size,
                frontendAddress: entry.description.frontendAddress, hostBase: entry.mapping.base)
        }
        do throws(GuestMemoryError) {
            let table = try GuestMemory(regions: regions, owners: entries.map(\.mapping.owner))
            memory = awaited.map { GuestMemory(table, awaited: $0) } ?? table
        } catch {
            throw Refusal(.memory, error.description)
        }
    }

    /// All pages are there.
    mutating func arrive() { memory = memory?.whenArrived }

    /// Bytes of all regions.
    var byteCount: UInt64 { entries.reduce(0) { $0 &+ $1.description.size } }

    /// The region that a piece of its memory lies in, as mapped; nil for a piece of none.
    func piece(_ bytes: UnsafeMutableRawBufferPointer) -> MappedPiece? {
        guard let base = bytes.baseAddress else { return nil }
        let entry = entries.first { entry in
            // unsafe: addresses are compared as numbers; nothing is followed.
            let offset = unsafe UInt64(UInt(bitPattern: base) &- UInt(bitPattern: entry.mapping.base))
            return offset < entry.description.size && UInt64(bytes.count) <= entry.description.size - offset
        }
        return entry.map { unsafe MappedPiece(base: base, count: bytes.count, of: $0.mapping) }
    }

    /// Where the guest sees what the front-end has at `address`; nil when that is in no region.
    func guestAddress(ofFrontend address: UInt64) -> UInt64? {
        let region = entries.lazy.map(\.description).first { address >= $0.frontendAddress && address - $0.frontendAddress < $0.size }
        return region.map { $0.guestAddress + (address - $0.frontendAddress) }
    }

    /// Where the front-end has what the guest sees at `address`; nil when that is in no region.
    func frontendAddress(ofGuest address: UInt64) -> UInt64? {
        let region = entries.lazy.map(\.description).first { address >= $0.guestAddress && address - $0.guestAddress < $0.size }
        return region.map { $0.frontendAddress + (address - $0.guestAddress) }
    }
}
