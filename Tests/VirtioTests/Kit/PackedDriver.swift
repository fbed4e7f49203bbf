import Virtio

/// The driver's side of a packed ring in test memory, written straight from the specification's tables (virtio 1.3, 2.8).
struct PackedDriver {
    let memory: TestMemory
    let size: Int
    let areas: RingAreas
    var availNext = 0
    var availWrap = true
    var usedNext = 0
    var usedWrap = true
    var freeSlots: Int
    var freeIDs: [UInt16]
    /// Ring descriptors of each id in flight.
    var owned: [UInt16: Int] = [:]

    /// A driver whose ring starts at block offset `start`.
    init(memory: TestMemory, size: Int, start: Int = 0) {
        self.memory = memory
        self.size = size
        areas = RingAreas(descriptors: start, driver: start + 16 * size, device: start + 16 * size + 4)
        freeSlots = size
        freeIDs = (0..<UInt16(size)).reversed()
    }

    /// First byte after the ring, 64-byte aligned.
    var end: Int { (areas.device + 4 + 63) & ~63 }

    /// The flags that make a descriptor available in this lap.
    func availableFlags(_ wrap: Bool) -> UInt16 { wrap ? 0x0080 : 0x8000 }

    func write(_ index: Int, at table: Int? = nil, address: UInt64, length: UInt32, id: UInt16, flags: UInt16) {
        let place = (table ?? areas.descriptors) + 16 * index
        memory.store(address, place)
        memory.store(length, place + 8)
        memory.store(id, place + 12)
        memory.store(flags, place + 14)
    }

    /// Writes an indirect table.
    func writeTable(_ buffers: [TestBuffer], at table: Int) {
        for (index, buffer) in buffers.enumerated() {
            write(index, at: table, address: buffer.address, length: buffer.length, id: 0, flags: buffer.isWritable ? Flags.write : 0)
        }
    }

    /// Puts descriptors into the ring, the first one's flags last. `chain` holds address, length and flags other than the ownership bits.
    mutating func put(_ chain: [(address: UInt64, length: UInt32, flags: UInt16)], id: UInt16) {
        let head = availNext
        let headWrap = availWrap
        for (offset, descriptor) in chain.enumerated() {
            let flags = descriptor.flags | availableFlags(availWrap)
            write(
                availNext, address: descriptor.address, length: descriptor.length, id: id,
                flags: offset == 0 ? flags ^ 0x8080 : flags)
            availNext += 1
            if availNext == size {
                availNext = 0
                availWrap.toggle()
            }
        }
        memory.store(chain[0].flags | availableFlags(headWrap), areas.descriptors + 16 * head + 14)
    }

    /// Makes a direct chain available; nil if there are too few descriptors.
    mutating func add(_ buffers: [TestBuffer]) -> UInt16? {
        guard freeSlots >= buffers.count, let id = freeIDs.popLast() else { return nil }
        put(
            buffers.enumerated().map { index, buffer in
                (
                    buffer.address, buffer.length,
                    (buffer.isWritable ? Flags.write : 0) | (index + 1 < buffers.count ? Flags.next : 0)
                )
            }, id: id)
        freeSlots -= buffers.count
        owned[id] = buffers.count
        return id
    }

    /// Makes one indirect descriptor available.
    mutating func addIndirect(tableAddress: UInt64, bytes: UInt32, flags: UInt16 = Flags.indirect) -> UInt16? {
        guard freeSlots >= 1, let id = freeIDs.popLast() else { return nil }
        put([(tableAddress, bytes, flags)], id: id)
        freeSlots -= 1
        owned[id] = 1
        return id
    }

    /// Takes one used descriptor; nil if there is none. An id that is not in flight is returned all the same and moves on by one.
    mutating func takeUsed() -> (id: UInt16, length: UInt32, flags: UInt16)? {
        let place = areas.descriptors + 16 * usedNext
        let flags: UInt16 = memory.load(place + 14)
        guard flags & 0x8080 == (usedWrap ? 0x8080 : 0) else { return nil }
        let id: UInt16 = memory.load(place + 12)
        let slots = owned.removeValue(forKey: id)
        if let slots {
            freeSlots += slots
            freeIDs.append(id)
        }
        usedNext += slots ?? 1
        if usedNext >= size {
            usedNext -= size
            usedWrap.toggle()
        }
        return (id, memory.load(place + 8), flags)
    }

    /// The driver's event suppression area.
    func wish(offset: Int = 0, wrap: Bool = false, flags: UInt16) {
        memory.store(UInt16(offset) | (wrap ? 0x8000 : 0), areas.driver)
        memory.store(flags, areas.driver + 2)
    }

    var deviceWish: (offset: Int, wrap: Bool, flags: UInt16) {
        let word: UInt16 = memory.load(areas.device)
        return (Int(word & 0x7fff), word & 0x8000 != 0, memory.load(areas.device + 2))
    }
}
