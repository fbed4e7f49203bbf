import Virtio

/// Finding rings in memory.
extension Session {
    /// An area as a range of the addresses that the front-end gave.
    typealias Area = (address: UInt64, length: UInt64)

    /// The ring's areas: descriptors, what the driver writes, what the device writes. None before the ring is described.
    func ringAreas(_ index: Int) -> [Area] {
        guard let size = rings[index].size, let address = rings[index].address else { return [] }
        let layout = VirtqueueLayout(queueSize: size, features: features)
        return [
            (address.descriptor, UInt64(layout.descriptorBytes)), (address.available, UInt64(layout.driverBytes)),
            (address.used, UInt64(layout.deviceBytes)),
        ]
    }

    /// Finds a ring's areas in guest memory, that of `table`; each has to lie in one region, or with an IOMMU in pieces that can be mapped
    /// side by side, aligned as the format demands, and no two may share a byte. nil when the ring is not described yet, when a translation
    /// is missing, which is asked for, and when pages are.
    func locate(_ index: Int, in memory: GuestMemory, of table: MemoryTable) throws(Refusal) -> RingPlace? {
        let areas = ringAreas(index)
        guard let size = rings[index].size, areas.count == 3 else { return nil }
        if memory.isTranslated, !areTranslated(areas, in: memory) { return nil }
        for (first, second) in [(0, 1), (0, 2), (1, 2)] {
            let (lower, upper) =
                areas[first].address <= areas[second].address ? (areas[first], areas[second]) : (areas[second], areas[first])
            if upper.address - lower.address < lower.length { throw Refusal(.memory, "areas of ring \(index) overlap") }
        }
        let isJoined = memory.isTranslated ? try join(areas, index, in: memory, of: table) : true
        guard isJoined else { return nil }
        guard
            let descriptors = unsafe place(of: areas[0], 0, index, in: memory),
            let driver = unsafe place(of: areas[1], 1, index, in: memory),
            let device = unsafe place(of: areas[2], 2, index, in: memory)
        else { throw Refusal(.memory, "an area of ring \(index) is outside guest memory, or crosses the end of a region") }
        // A region may be mapped from any offset, so that what is aligned for the front-end need not be so here.
        let layout = VirtqueueLayout(queueSize: size, features: features)
        let isAligned =
            UInt(bitPattern: descriptors) % UInt(layout.descriptorAlignment) == 0
            && UInt(bitPattern: driver) % UInt(layout.driverAlignment) == 0 && UInt(bitPattern: device) % UInt(layout.deviceAlignment) == 0
        guard isAligned else {
            throw Refusal(.memory, "an area of ring \(index) is misaligned where its memory region is mapped")
        }
        let joined = rings[index].joined
        return unsafe RingPlace(
            addresses: RingAddresses(descriptors: descriptors, driver: driver, device: device),
            joined: joined.isEmpty ? nil : joined.values.map(\.mapping), log: ringLog(index, in: memory))
    }

    /// Whether the IOTLB has all of the areas; asks for what is missing. The device area and a packed ring's descriptors are written, and a
    /// driver has no reason to map the others otherwise than the whole ring.
    private func areTranslated(_ areas: [Area], in memory: GuestMemory) -> Bool {
        var view = memory.view
        var isComplete = true
        for (number, area) in areas.enumerated() {
            let access: MemoryAccess = number == 2 || number == 0 && features.contains(.ringPacked) ? .readWrite : .read
            var (address, rest) = area
            while rest > 0 {
                let count = UInt64(unsafe view.prefix(address, rest, for: access).count)
                if count == 0 {
                    ask(MemoryMiss(address: address, access: access))
                    isComplete = false
                    break
                }
                // No overflow: what is translated ends at 2^64 at the latest, and then nothing is left.
                address &+= count
                rest -= count
            }
        }
        return isComplete
    }

    /// Where an area is mapped, if it lies in one piece. Its address is the front-end's own, or the guest's with GPA_ADDRESSES, or with an
    /// IOMMU an I/O virtual one.
    private func place(of area: Area, _ number: Int, _ index: Int, in memory: GuestMemory) -> UnsafeMutableRawPointer? {
        if let joined = rings[index].joined[number] { return unsafe joined.mapping.base }
        var view = memory.view
        guard memory.isTranslated || protocolFeatures.contains(.guestPhysicalAddresses) else {
            return unsafe view.translateFrontend(area.address, length: area.length)
        }
        // With an IOMMU the area is in one piece, of which the device may do more in some pages than in others.
        let first = unsafe view.prefix(area.address, area.length)
        return memory.isTranslated || UInt64(first.count) == area.length ? first.baseAddress : nil
    }

    // MARK: Areas in pieces

    /// Has every translated area whose pages lie apart mapped once more in one piece. False when that has to wait: a page that is missing
    /// yet could not be waited for there, by an address that the front-end does not know.
    private func join(_ areas: [Area], _ index: Int, in memory: GuestMemory, of table: MemoryTable) throws(Refusal) -> Bool {
        for (number, area) in areas.enumerated() {
            let pieces = try pieces(of: area, index, in: memory, of: table)
            guard pieces.count > 1 else {
                rings[index].joined[number] = nil
                continue
            }
            if rings[index].joined[number]?.isMade(of: pieces) ?? false { continue }
            guard memory.awaited == nil else {
                warnOnce(
                    UInt32(index) | 1 << 26, "ring \(index) waits for the end of the post-copy migration: its pages lie apart in memory")
                return false
            }
            rings[index].joined[number] = nil
            let others = rings.reduce(0) { $0 + $1.joined.values.reduce(0) { $0 + $1.pieceCount } }
            guard others + pieces.count <= limits.joinedPieceCountMax else {
                throw Refusal(
                    .limit, "rings whose pages lie apart: ring \(index) would make more than \(limits.joinedPieceCountMax) pieces of them")
            }
            do throws(Refusal) {
                rings[index].joined[number] = JoinedArea(pieces, mapping: try host.join(pieces))
            } catch {
                throw Refusal(
                    error.code,
                    "an area of ring \(index) lies in \(pieces.count) pieces of memory, which have to meet at page boundaries, on pages that are not huge: \(error)"
                )
            }
        }
        return true
    }

    /// The pieces of memory that a translated area lies in; those that are mapped side by side are one.
    private func pieces(
        of area: Area, _ index: Int, in memory: GuestMemory, of table: MemoryTable
    ) throws(Refusal) -> [MappedPiece] {
        var view = memory.view
        var pieces: [MappedPiece] = []
        var offset: UInt64 = 0
        while offset < area.length {
            let bytes = unsafe view.prefix(area.address &+ offset, area.length - offset)
            guard let piece = unsafe table.piece(bytes) else {
                throw Refusal(.memory, "an area of ring \(index) is outside guest memory, or crosses the end of a region")
            }
            if let last = pieces.last, unsafe last.base + last.count == piece.base, unsafe last.mapping.base == piece.mapping.base {
                pieces[pieces.count - 1].count += piece.count
            } else {
                pieces.append(piece)
            }
            offset += UInt64(bytes.count)
        }
        return pieces
    }

    /// Where an area lies for the dirty log: an address that is not translated stands for itself.
    func logged(_ area: Area, in memory: GuestMemory?) -> LoggedArea {
        guard let memory, memory.isTranslated else { return LoggedArea(area.address) }
        var view = memory.view
        var logged = LoggedArea()
        var offset: UInt64 = 0
        while offset < area.length {
            let address = area.address &+ offset
            let bytes = unsafe view.prefix(address, area.length - offset, for: .write)
            let place = unsafe bytes.baseAddress.flatMap { unsafe memory.guestAddress(of: $0) }
            logged.append(place ?? address, at: Int(offset))
            // What is not translated may be from the next page on.
            offset += place == nil ? 4096 - address % 4096 : UInt64(bytes.count)
        }
        return logged
    }
}
