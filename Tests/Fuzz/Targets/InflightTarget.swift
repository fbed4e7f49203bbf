import LinuxSystem
import Virtio

/// An inflight region, a ring beside it and a device that dies again and again, with a front-end that writes into both.
enum InflightTarget {
    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        var reader = InputReader(input)
        let isPacked = reader.byte() & 1 != 0
        let choice = Int(reader.byte())
        let size = isPacked ? 1 + choice % 64 : 1 << (choice % 7)
        return isPacked
            ? try InflightRun<PackedVirtqueue>(isPacked: true, size: size, &reader).run(&reader)
            : try InflightRun<SplitVirtqueue>(isPacked: false, size: size, &reader).run(&reader)
    }
}

private final class InflightRun<Ring: Virtqueue> {
    private static var ringStart: UInt64 { 0x1_0000 }
    private static var dataBytes: UInt64 { 4096 }

    private let isPacked: Bool
    private let size: Int
    private let memory: FuzzMemory
    private var driver: FuzzDriver
    private let region: FuzzBlock
    private let queue: InflightQueue
    private let scratch: FuzzBlock
    private var segments: [IOVector]
    private var view: GuestMemoryView
    private var ring: ObservedRing<Ring>?
    private var popped: [ChainHandle] = []
    private var staged: [UInt16] = []
    /// What the driver waits for, oldest first.
    private var outstanding: [UInt16] = []
    private var isHonest = true
    private var recoveredCount = 0
    private let base: RingBase

    init(isPacked: Bool, size: Int, _ reader: inout InputReader) throws(FuzzFailure) {
        (self.isPacked, self.size) = (isPacked, size)
        let index: UInt16 = reader.word()
        let layout = VirtqueueLayout(queueSize: size, features: isPacked ? [.ringPacked] : [])
        let ringBytes = layout.descriptorBytes + layout.driverBytes + layout.deviceBytes + 32
        memory = try FuzzMemory([(Self.ringStart, (ringBytes + 15) & ~15 + Int(Self.dataBytes))])
        driver = FuzzDriver(memory, isPacked: isPacked, size: size, start: Self.ringStart, index: index)
        let entryCount = size + reader.number(below: 9)
        region = FuzzBlock(size: InflightLayout(queueCount: 1, queueSize: entryCount, isPacked: isPacked).regionBytes)
        unsafe queue = InflightQueue(base: region.base, entryCount: entryCount)
        scratch = FuzzBlock(size: Ring.scratchBytes(queueSize: size, inflightEntries: entryCount))
        segments = unsafe Array(repeating: IOVector(base: region.base, length: 0), count: 64)
        view = memory.guest.view
        // As a front-end remembers it from the last orderly stop, which is the very start; or anything.
        base = reader.chance(in: 8) ? RingBase(rawValue: reader.word()) : isPacked ? .packedStart : RingBase(split: index)
        if base != (isPacked ? .packedStart : RingBase(split: index)) { isHonest = false }
    }

    func run(_ reader: inout InputReader) throws(FuzzFailure) -> Int {
        if reader.chance(in: 4) { fill(&reader) }
        guard try start() else { return 0 }
        while !reader.isAtEnd {
            switch reader.byte() % 16 {
            case 0...3: add(&reader)
            case 4...6: try pop()
            case 7...9: push(&reader)
            case 10, 11: publish()
            case 12, 13: damage(&reader)
            case 14: fill(&reader)
            default: guard try start() else { return recoveredCount }
            }
        }
        // A last crash; what comes back is done, and then nothing is left.
        guard try start() else { return recoveredCount }
        try drain()
        guard isHonest || isConsistent else { return recoveredCount }
        try FuzzFailure.require(!isHonest || outstanding.isEmpty, "\(outstanding.count) requests are lost")
        let isAgain = try start()
        try FuzzFailure.require(isAgain && ring?.resubmitCount == 0, "a region whose requests are all done is not empty at the next start")
        return recoveredCount
    }

    /// Nobody but the ring wrote since it started, so that what it wrote is what it finds.
    private var isConsistent = false

    /// A new process: it knows nothing but the shared memory. False when it refuses the region.
    private func start() throws(FuzzFailure) -> Bool {
        popped = []
        staged = []
        ring = nil
        do {
            ring = try unsafe ObservedRing<Ring>(
                VirtqueueConfiguration(
                    size: size, addresses: driver.addresses(), base: base,
                    features: isPacked ? [.version1, .ringPacked, .ringIndirectDescriptors] : [.version1, .ringIndirectDescriptors],
                    inflight: queue, scratch: scratch.base))
        } catch {
            try FuzzFailure.require(!isHonest, "the region of an honest front-end is refused: \(error)")
            return false
        }
        isConsistent = true
        let count = ring?.resubmitCount ?? 0
        recoveredCount += count
        try FuzzFailure.require(count >= 0 && count <= size, "\(count) requests to do again on a ring of \(size)")
        guard isHonest else { return true }
        for (index, wanted) in outstanding.enumerated() {
            guard try pop() else { throw FuzzFailure("after a crash request \(index) of \(outstanding.count) does not come back") }
            let found = popped.last?.id
            try FuzzFailure.require(found == wanted, "after a crash request \(index) is \(found ?? 0), not \(wanted)")
        }
        return true
    }

    private func add(_ reader: inout InputReader) {
        let count = 1 + reader.number(below: 4)
        let chain = (0..<count).map { index in
            FuzzDescriptor(address: driver.end + UInt64(index), length: 1, flags: FuzzDescriptor.write)
        }
        if let head = driver.add(chain) { outstanding.append(head) }
    }

    @discardableResult
    private func pop() throws(FuzzFailure) -> Bool {
        var chain = DescriptorChain()
        var found = PopResult.empty
        let count = segments.count
        try unsafe segments.withUnsafeMutableBufferPointer { (places) throws(FuzzFailure) in
            guard let first = places.baseAddress else { return }
            var buffer = unsafe SegmentBuffer(base: first, capacity: Int32(count), spill: nil, spillCapacity: 0)
            found = ring?.pop(&view, &buffer, &chain) ?? .empty
            guard case .chain = found else { return }
            for index in 0..<Int(chain.readableCount + chain.writableCount) {
                let segment = unsafe places[index]
                let isInside = unsafe memory.holds(segment.base, segment.length)
                try FuzzFailure.require(isInside, "segment \(index) of \(segment.length) bytes is not in guest memory")
            }
        }
        try ring?.journal.check()
        switch found {
        case .chain, .malformed:
            popped.append(chain.handle)
            try FuzzFailure.require(popped.count <= size, "\(popped.count) requests in flight on a ring of \(size)")
            return true
        case .broken(let fault):
            try FuzzFailure.require(!isHonest, "an honest driver's ring is given up: \(fault)")
            return false
        case .empty, .blocked, .missed: return false
        }
    }

    private func push(_ reader: inout InputReader) {
        guard !popped.isEmpty else { return }
        let handle = popped.remove(at: reader.number(below: popped.count))
        ring?.push(handle, length: 1)
        staged.append(handle.id)
    }

    private func publish() {
        ring?.publish()
        for id in staged {
            driver.reclaim(id)
            outstanding.removeAll { $0 == id }
        }
        staged = []
    }

    private func drain() throws(FuzzFailure) {
        for _ in 0..<2 * size + 2 where try !pop() { break }
        while let handle = popped.popLast() {
            ring?.push(handle, length: 1)
            staged.append(handle.id)
        }
        publish()
        // A chain with more segments than there is room for stays where it is.
        if ring?.resubmitCount != 0 { isConsistent = false }
    }

    /// The front-end changes something small, where it matters.
    private func damage(_ reader: inout InputReader) {
        (isHonest, isConsistent) = (false, false)
        let value = reader.edge(as: UInt16.self)
        if reader.chance(in: 2) {
            let place = reader.number(below: 65536)
            region.store(UInt8(truncatingIfNeeded: value), at: place)
            if value > 255 { region.store(UInt8(value >> 8), at: place + 1) }
        } else {
            memory.store(value, at: driver.descriptors + UInt64(reader.number(below: Int(driver.end - driver.descriptors))))
        }
    }

    /// The front-end writes a piece of the region anew.
    private func fill(_ reader: inout InputReader) {
        (isHonest, isConsistent) = (false, false)
        let start = reader.chance(in: 2) ? reader.number(below: 65536) : 0
        for (index, byte) in reader.take(reader.number(below: 256)).enumerated() { region.store(byte, at: start + index) }
    }
}
