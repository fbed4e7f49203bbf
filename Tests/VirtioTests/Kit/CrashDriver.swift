import Virtio

/// What a crash test needs of a driver of either format. Each request is told from others by its data address.
protocol CrashDriver {
    associatedtype Ring: Virtqueue
    static var features: VirtioFeatures { get }
    var memory: TestMemory { get }
    var areas: RingAreas { get }
    init(memory: TestMemory, size: Int, start: Int)
    /// The same driver over another block.
    func moved(to memory: TestMemory) -> Self
    /// Makes a request available; nil if the ring is full.
    mutating func add(_ buffers: [TestBuffer]) -> UInt16?
    mutating func addIndirect(tableAddress: UInt64, bytes: UInt32, flags: UInt16) -> UInt16?
    func writeTable(_ buffers: [TestBuffer], at table: Int)
    mutating func takeUsedID() -> UInt16?
    static func start(_ configuration: VirtqueueConfiguration, _ observer: CrashObserver) throws(VirtqueueError) -> Ring
}

extension SplitDriver: CrashDriver {
    static var features: VirtioFeatures { [.version1, .ringIndirectDescriptors] }

    init(memory: TestMemory, size: Int, start: Int) { self.init(memory: memory, size: size, start: start, index: 65533) }

    func moved(to memory: TestMemory) -> SplitDriver {
        var copy = SplitDriver(copying: self, memory: memory)
        copy.freeHeads = freeHeads
        return copy
    }

    /// Takes over everything but the block, which it leaves alone.
    private init(copying other: SplitDriver, memory: TestMemory) {
        self.memory = memory
        size = other.size
        areas = other.areas
        freeHeads = other.freeHeads
        availIndex = other.availIndex
        usedSeen = other.usedSeen
        owned = other.owned
    }

    mutating func takeUsedID() -> UInt16? { takeUsed().map { UInt16($0.id) } }

    static func start(_ configuration: VirtqueueConfiguration, _ observer: CrashObserver) throws(VirtqueueError) -> SplitRing<CrashObserver>
    {
        try SplitRing(configuration, observer: observer)
    }
}

extension PackedDriver: CrashDriver {
    static var features: VirtioFeatures { [.version1, .ringIndirectDescriptors, .ringPacked] }

    func moved(to memory: TestMemory) -> PackedDriver { PackedDriver(copying: self, memory: memory) }

    private init(copying other: PackedDriver, memory: TestMemory) {
        self.memory = memory
        size = other.size
        areas = other.areas
        availNext = other.availNext
        availWrap = other.availWrap
        usedNext = other.usedNext
        usedWrap = other.usedWrap
        freeSlots = other.freeSlots
        freeIDs = other.freeIDs
        owned = other.owned
    }

    mutating func takeUsedID() -> UInt16? { takeUsed()?.id }

    static func start(_ configuration: VirtqueueConfiguration, _ observer: CrashObserver) throws(VirtqueueError) -> PackedRing<
        CrashObserver
    > {
        try PackedRing(configuration, observer: observer)
    }
}
