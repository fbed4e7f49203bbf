import Testing
import Virtio

/// A driver, a device and an inflight region that live through a random history. After every store the device makes, an image is kept of
/// what a `kill -9` would have left there; each image is then recovered from and checked.
final class CrashWorld<Driver: CrashDriver> {
    /// What is left at one instant.
    struct Image {
        var bytes: [UInt8]
        var driver: Driver
        /// Requests the driver has made available and not yet seen used, oldest first.
        var outstanding: [Request]
        var description: String
    }

    struct Request: Equatable {
        var tag: Int
        var id: UInt16
    }

    let size: Int
    let memory: TestMemory
    let regionOffset: Int
    let layout: InflightLayout
    let dataOffset: Int
    /// What GET_VRING_BASE would answer, as a front-end remembers it from the last orderly stop: the very start.
    let base: RingBase

    var driver: Driver
    var ring: Driver.Ring?
    var view: GuestMemoryView
    var scratch: TestScratch
    let segments = TestSegments()
    var outstanding: [Request] = []
    var nextTag = 0
    /// Popped and not pushed: tag and handle.
    var popped: [(tag: Int, handle: ChainHandle)] = []
    var images: [Image] = []
    var isRecording = false
    var step = ""

    /// A world over fresh memory.
    convenience init(size: Int, entryCount: Int) throws {
        let layout = InflightLayout(queueCount: 1, queueSize: entryCount, isPacked: Driver.features.contains(.ringPacked))
        let memory = try TestMemory(size: 0x1000 + (layout.regionBytes + 4095) & ~4095)
        self.init(size: size, layout: layout, memory: memory, driver: Driver(memory: memory, size: size, start: 0))
        start()
    }

    private init(size: Int, layout: InflightLayout, memory: TestMemory, driver: Driver) {
        self.size = size
        self.layout = layout
        self.memory = memory
        self.driver = driver
        regionOffset = 0x1000
        dataOffset = 0x800
        base = Driver.features.contains(.ringPacked) ? .packedStart : RingBase(split: 65533)
        view = memory.guest.view
        scratch = TestScratch(bytes: Driver.Ring.scratchBytes(queueSize: size, inflightEntries: layout.queueSize))
    }

    /// The world as an image has it, with no device yet.
    convenience init(_ other: CrashWorld, _ image: Image) throws {
        let memory = try TestMemory(size: other.memory.size)
        memory.image = image.bytes
        self.init(size: other.size, layout: other.layout, memory: memory, driver: image.driver.moved(to: memory))
        outstanding = image.outstanding
        nextTag = other.nextTag
        step = image.description
    }

    /// Starts a device: a new process that knows nothing but the shared memory.
    func start() {
        let inflight = unsafe layout.queue(0, in: memory.base + regionOffset)
        let configuration = unsafe VirtqueueConfiguration(
            size: size, addresses: driver.areas.addresses(in: memory), base: base, features: Driver.features, inflight: inflight,
            scratch: scratch.base)
        do {
            ring = try Driver.start(configuration, CrashObserver { [unowned self] in keepImage() })
        } catch {
            Issue.record("\(step): the region was refused: \(error)")
        }
    }

    private func keepImage() {
        guard isRecording else { return }
        images.append(Image(bytes: memory.image, driver: driver, outstanding: outstanding, description: "\(step), store \(images.count)"))
    }

    /// Makes a request available: a chain of up to three descriptors, or an indirect one.
    func add(descriptors: Int, isIndirect: Bool) {
        let tag = nextTag
        let address = TestMemory.guestBase + UInt64(dataOffset + tag % 256)
        let buffers = (0..<descriptors).map { _ in TestBuffer.writable(address, 1) }
        let id: UInt16?
        if isIndirect {
            // One table for all: it says nothing but which request this is, so it is told by its length.
            let table = dataOffset + 256 + 16 * (tag % 64)
            driver.writeTable([.writable(address, 1)], at: table)
            id = driver.addIndirect(tableAddress: TestMemory.guestBase + UInt64(table), bytes: 16, flags: Flags.indirect)
        } else {
            id = driver.add(buffers)
        }
        guard let id else { return }
        outstanding.append(Request(tag: tag, id: id))
        nextTag += 1
    }

    /// Pops one chain; false if there is none.
    func pop() -> Bool {
        segments.reset()
        guard let result = ring?.pop(&view, &segments.buffer, &segments.chain), result == .chain else { return false }
        popped.append((tag: segments.pieces(in: memory)[0].offset - dataOffset, handle: segments.chain.handle))
        return true
    }

    func push(at index: Int) {
        ring?.push(popped.remove(at: index).handle, length: 1)
    }

    func publish() { ring?.publish() }

    /// The driver takes what was used; an unknown or repeated id is a request completed twice.
    func takeUsed() {
        while let id = driver.takeUsedID() {
            guard let index = outstanding.firstIndex(where: { $0.id == id }) else {
                Issue.record("\(step): id \(id) was used twice")
                return
            }
            outstanding.remove(at: index)
        }
    }

    /// Recovers, and checks that what comes back is what the driver waits for, each once and in the order of submission; then completes
    /// it in the given order and in batches, and checks that nothing is left and that the ring still works.
    func recoverAndCheck(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        // What was used before the crash, the driver has seen or will see.
        takeUsed()
        start()
        while pop() {}
        let tags = outstanding.map { $0.tag % 256 }
        #expect(popped.map(\.tag) == tags, "\(step): popped after recovery")
        popped.shuffle(using: &random)
        while !popped.isEmpty {
            push(at: popped.count - 1)
            if Bool.random(using: &random) { publish() }
            if Bool.random(using: &random) { takeUsed() }
        }
        publish()
        takeUsed()
        #expect(outstanding.isEmpty, "\(step): lost")
        for _ in 0..<2 * size {
            add(descriptors: 1, isIndirect: false)
            guard pop() else {
                Issue.record("\(step): the ring is stuck")
                return
            }
            push(at: 0)
            publish()
            takeUsed()
        }
        #expect(outstanding.isEmpty, "\(step): lost later")
    }

    /// One random event.
    func live(_ random: inout SeededRandom) {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3:
            step = "add"
            add(descriptors: Int.random(in: 1...3, using: &random), isIndirect: Bool.random(using: &random))
        case 3..<6:
            step = "pop"
            _ = pop()
        case 6..<8:
            step = "push"
            if !popped.isEmpty { push(at: Int.random(in: 0..<popped.count, using: &random)) }
        case 8:
            step = "publish"
            publish()
        default:
            takeUsed()
        }
    }
}
