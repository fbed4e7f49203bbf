import Virtio

/// A descriptor as the driver writes it.
struct FuzzDescriptor {
    var address: UInt64
    var length: UInt32
    var flags: UInt16 = 0

    static let next: UInt16 = 1
    static let write: UInt16 = 2
    static let indirect: UInt16 = 4
}

/// The driver's side of a ring of either format, which can be honest or not.
struct FuzzDriver {
    let memory: FuzzMemory
    let isPacked: Bool
    let size: Int
    /// Guest addresses of the areas.
    let descriptors: UInt64
    let driverArea: UInt64
    let deviceArea: UInt64
    /// First byte after the areas, 16-byte aligned.
    let end: UInt64

    /// Split: descriptors that are free. Packed: buffer ids.
    private var free: [UInt16]
    /// Packed: ring descriptors that are free.
    private var freeSlots: Int
    /// What each chain in flight took.
    private var owned: [UInt16: [UInt16]] = [:]
    private var availIndex: UInt16
    private var position = 0
    private var wrap = true

    /// A driver whose areas begin at the guest address `start`; a split ring's indices begin at `index`.
    init(_ memory: FuzzMemory, isPacked: Bool, size: Int, start: UInt64, index: UInt16) {
        self.memory = memory
        self.isPacked = isPacked
        self.size = size
        let layout = VirtqueueLayout(queueSize: size, features: isPacked ? [.ringPacked, .ringEventIndex] : [.ringEventIndex])
        descriptors = start
        driverArea = descriptors + UInt64(layout.descriptorBytes)
        deviceArea = (driverArea + UInt64(layout.driverBytes) + 3) & ~3
        end = (deviceArea + UInt64(layout.deviceBytes) + 15) & ~15
        free = (0..<UInt16(size)).reversed()
        freeSlots = size
        availIndex = index
        guard !isPacked else { return }
        memory.store(index, at: driverArea + 2)
        memory.store(index, at: deviceArea + 2)
    }

    /// Where this process sees the areas.
    func addresses() throws(FuzzFailure) -> RingAddresses {
        guard let table = unsafe memory.place(descriptors), let driver = unsafe memory.place(driverArea),
            let device = unsafe memory.place(deviceArea)
        else { throw FuzzFailure("the fuzzer's ring is outside its memory") }
        return unsafe RingAddresses(descriptors: table, driver: driver, device: device)
    }

    /// Makes a chain available; nil when the ring has no room. `flags` of the descriptors need no NEXT.
    mutating func add(_ chain: [FuzzDescriptor]) -> UInt16? {
        guard chain.count <= (isPacked ? freeSlots : free.count), !chain.isEmpty, let head = free.last else { return nil }
        let taken = isPacked ? chain.map { _ in head } : Array(free.suffix(chain.count).reversed())
        free.removeLast(isPacked ? 1 : chain.count)
        freeSlots -= chain.count
        owned[head] = taken
        if isPacked { putPacked(chain, id: head) } else { putSplit(chain, taken) }
        return head
    }

    private mutating func putSplit(_ chain: [FuzzDescriptor], _ taken: [UInt16]) {
        for (index, descriptor) in chain.enumerated() {
            let isLast = index + 1 == chain.count
            write(
                descriptor, at: descriptors + 16 * UInt64(taken[index]), flags: descriptor.flags | (isLast ? 0 : FuzzDescriptor.next),
                tail: isLast ? 0 : taken[index + 1])
        }
        offer(taken[0])
    }

    /// Puts a head into the avail ring, whether it may be there or not. Split only.
    mutating func offer(_ head: UInt16) {
        memory.store(head, at: driverArea + 4 + 2 * UInt64(Int(availIndex) % size))
        availIndex &+= 1
        memory.store(availIndex, at: driverArea + 2)
    }

    private mutating func putPacked(_ chain: [FuzzDescriptor], id: UInt16) {
        for (index, descriptor) in chain.enumerated() {
            let place = descriptors + 16 * UInt64(position)
            memory.store(descriptor.address, at: place)
            memory.store(descriptor.length, at: place + 8)
            memory.store(id, at: place + 12)
            let link = index + 1 == chain.count ? 0 : FuzzDescriptor.next
            memory.store(descriptor.flags | link | (wrap ? 0x0080 : 0x8000), at: place + 14)
            position += 1
            if position == size {
                position = 0
                wrap.toggle()
            }
        }
    }

    /// Writes an indirect table.
    func writeTable(_ chain: [FuzzDescriptor], at table: UInt64) {
        for (index, descriptor) in chain.enumerated() {
            let place = table + 16 * UInt64(index)
            guard !isPacked else {
                memory.store(descriptor.address, at: place)
                memory.store(descriptor.length, at: place + 8)
                memory.store(0 as UInt16, at: place + 12)
                memory.store(descriptor.flags, at: place + 14)
                continue
            }
            let link = index + 1 == chain.count ? 0 : FuzzDescriptor.next
            write(descriptor, at: place, flags: descriptor.flags | link, tail: UInt16(truncatingIfNeeded: index + 1))
        }
    }

    private func write(_ descriptor: FuzzDescriptor, at place: UInt64, flags: UInt16, tail: UInt16) {
        memory.store(descriptor.address, at: place)
        memory.store(descriptor.length, at: place + 8)
        memory.store(flags, at: place + 12)
        memory.store(tail, at: place + 14)
    }

    /// The device gave a chain back: its descriptors are free again.
    mutating func reclaim(_ id: UInt16) {
        guard let taken = owned.removeValue(forKey: id) else { return }
        freeSlots += taken.count
        if isPacked { free.append(id) } else { free.append(contentsOf: taken.reversed()) }
    }

    /// Chains made available and not given back.
    var outstandingCount: Int { owned.count }

    /// Split: the used index the device published.
    var usedIndex: UInt16 { memory.load(deviceArea + 2) }
}
