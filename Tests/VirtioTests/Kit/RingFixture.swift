import Virtio

/// A ring in test memory with everything around it, for either format.
final class RingFixture<Ring: Virtqueue> {
    let memory: TestMemory
    let segments: TestSegments
    let scratch: TestScratch
    let configuration: VirtqueueConfiguration
    var view: GuestMemoryView
    var ring: Ring

    /// Starts a ring whose areas are at the given byte offsets of the memory's block.
    init(
        memory: TestMemory, size: Int, features: VirtioFeatures, areas: RingAreas, base: RingBase? = nil, inflight: InflightQueue? = nil,
        segments: TestSegments = TestSegments()
    ) throws {
        self.memory = memory
        self.segments = segments
        let isPacked = features.contains(.ringPacked)
        scratch = TestScratch(bytes: Ring.scratchBytes(queueSize: size, inflightEntries: inflight?.entryCount ?? 0))
        configuration = unsafe VirtqueueConfiguration(
            size: size, addresses: areas.addresses(in: memory), base: base ?? (isPacked ? .packedStart : RingBase(split: 0)),
            features: features, inflight: inflight, scratch: scratch.base)
        view = memory.guest.view
        ring = try Ring(configuration)
    }

    /// Pops into a fresh segment buffer.
    func pop(hasSpill: Bool = true) -> PopResult {
        segments.reset(hasSpill: hasSpill)
        return ring.pop(&view, &segments.buffer, &segments.chain)
    }

    /// Pops and pushes back whatever comes, in one batch; returns the handles.
    func drain(length: UInt32 = 1) -> [ChainHandle] {
        var handles: [ChainHandle] = []
        while case .chain = pop() {
            handles.append(segments.chain.handle)
            ring.push(segments.chain.handle, length: length)
        }
        ring.publish()
        return handles
    }

    func shouldNotify() -> Bool { ring.shouldNotify() }

    func enableNotifications() -> Bool { ring.enableNotifications() }

    /// The popped segments.
    var pieces: [Piece] { segments.pieces(in: memory) }
}

/// Where a ring's areas lie in a test memory's block.
struct RingAreas {
    var descriptors: Int
    var driver: Int
    var device: Int

    func addresses(in memory: TestMemory) -> RingAddresses {
        unsafe RingAddresses(
            descriptors: memory.base + descriptors, driver: memory.base + driver, device: memory.base + device)
    }
}

/// A buffer of a chain as the driver describes it.
struct TestBuffer {
    var address: UInt64
    var length: UInt32
    var isWritable: Bool

    static func readable(_ address: UInt64, _ length: UInt32) -> TestBuffer {
        TestBuffer(address: address, length: length, isWritable: false)
    }

    static func writable(_ address: UInt64, _ length: UInt32) -> TestBuffer {
        TestBuffer(address: address, length: length, isWritable: true)
    }
}

/// Descriptor flags of both formats.
enum Flags {
    static let next: UInt16 = 1
    static let write: UInt16 = 2
    static let indirect: UInt16 = 4
}

/// The same random numbers for the same seed (splitmix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}
