import Virtio

/// The driver's side of a split ring in test memory, written straight from the specification's tables (virtio 1.3, 2.7).
struct SplitDriver {
    let memory: TestMemory
    let size: Int
    let areas: RingAreas
    var freeHeads: [UInt16]
    var availIndex: UInt16
    var usedSeen: UInt16
    /// Descriptors of each head in flight.
    var owned: [UInt16: [UInt16]] = [:]

    /// A driver whose ring starts at block offset `start`, with all indices at `index`.
    init(memory: TestMemory, size: Int, start: Int = 0, index: UInt16 = 0) {
        self.memory = memory
        self.size = size
        areas = RingAreas(descriptors: start, driver: start + 16 * size, device: (start + 18 * size + 6 + 3) & ~3)
        freeHeads = (0..<UInt16(size)).reversed()
        availIndex = index
        usedSeen = index
        memory.store(index, areas.driver + 2)
        memory.store(index, areas.device + 2)
    }

    /// First byte after the rings, 64-byte aligned.
    var end: Int { (areas.device + 6 + 8 * size + 63) & ~63 }

    /// Writes one descriptor of a table at a block offset.
    func write(_ index: Int, at table: Int? = nil, address: UInt64, length: UInt32, flags: UInt16, next: UInt16 = 0) {
        let place = (table ?? areas.descriptors) + 16 * index
        memory.store(address, place)
        memory.store(length, place + 8)
        memory.store(flags, place + 12)
        memory.store(next, place + 14)
    }

    /// Writes a linked table of the buffers: an indirect table.
    func writeTable(_ buffers: [TestBuffer], at table: Int) {
        for (index, buffer) in buffers.enumerated() {
            let flags = (buffer.isWritable ? Flags.write : 0) | (index + 1 < buffers.count ? Flags.next : 0)
            write(index, at: table, address: buffer.address, length: buffer.length, flags: flags, next: UInt16(index + 1))
        }
    }

    /// Puts a head into the avail ring without moving idx.
    mutating func stage(_ head: UInt16) {
        memory.store(head, areas.driver + 4 + 2 * (Int(availIndex) % size))
        availIndex &+= 1
    }

    /// Shows the device what was staged.
    func kick() { memory.store(availIndex, areas.driver + 2) }

    /// Makes a direct chain available; nil if there are too few descriptors.
    mutating func add(_ buffers: [TestBuffer]) -> UInt16? {
        guard freeHeads.count >= buffers.count else { return nil }
        let taken = buffers.map { _ in freeHeads.removeLast() }
        for (index, buffer) in buffers.enumerated() {
            let isLast = index + 1 == buffers.count
            write(
                Int(taken[index]), address: buffer.address, length: buffer.length,
                flags: (buffer.isWritable ? Flags.write : 0) | (isLast ? 0 : Flags.next), next: isLast ? 0 : taken[index + 1])
        }
        owned[taken[0]] = taken
        stage(taken[0])
        kick()
        return taken[0]
    }

    /// Makes one indirect descriptor available.
    mutating func addIndirect(tableAddress: UInt64, bytes: UInt32, flags: UInt16 = Flags.indirect) -> UInt16? {
        guard let head = freeHeads.popLast() else { return nil }
        write(Int(head), address: tableAddress, length: bytes, flags: flags)
        owned[head] = [head]
        stage(head)
        kick()
        return head
    }

    /// Takes one used element; nil if there is none.
    mutating func takeUsed() -> (id: UInt32, length: UInt32)? {
        guard memory.load(areas.device + 2, as: UInt16.self) != usedSeen else { return nil }
        let place = areas.device + 4 + 8 * (Int(usedSeen) % size)
        usedSeen &+= 1
        let id: UInt32 = memory.load(place)
        if let taken = owned.removeValue(forKey: UInt16(truncatingIfNeeded: id)) { freeHeads.append(contentsOf: taken.reversed()) }
        return (id, memory.load(place + 4))
    }

    var availFlags: UInt16 {
        get { memory.load(areas.driver) }
        nonmutating set { memory.store(newValue, areas.driver) }
    }
    var usedEvent: UInt16 {
        get { memory.load(areas.driver + 4 + 2 * size) }
        nonmutating set { memory.store(newValue, areas.driver + 4 + 2 * size) }
    }
    var usedFlags: UInt16 { memory.load(areas.device) }
    var usedIndex: UInt16 { memory.load(areas.device + 2) }
    var availEvent: UInt16 { memory.load(areas.device + 4 + 8 * size) }
}
