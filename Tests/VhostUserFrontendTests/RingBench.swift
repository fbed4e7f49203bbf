import VhostUserFrontend
import Virtio

/// One ring over anonymous memory, and plain reads and writes of its bytes: the test plays the device by hand.
/// A class, since `#expect` cannot call a mutating function.
final class RingBench<Queue: DriverQueue> {
    var queue: Queue
    let memory: DriverMemory

    init(_ format: RingFormat, size: Int, eventIndex: Bool = false, indirectCapacity: Int = 4) throws {
        memory = try DriverMemory(anonymous: [.init(guestAddress: 0x10000, size: 1 << 20)])
        let options = DriverRingOptions(eventIndex: eventIndex, indirect: true, indirectCapacity: indirectCapacity)
        let area = DriverRingArea(size: size, format: format, options: options, memory: memory)!
        queue = Queue(area: area, options: options)
    }

    func add(_ token: Int, _ readable: [DriverSegment] = [header], _ writable: [DriverSegment] = [status], indirect: Bool = false) -> Bool {
        queue.add(token: UInt32(token), readable: readable, writable: writable, indirect: indirect)
    }

    func shouldKick() -> Bool { queue.shouldKick() }
    func enableCalls() -> Bool { queue.enableCalls() }
    func reapAll() throws(RingViolation) -> [UsedBuffer] { try queue.reapAll() }

    func reap() -> ReapResult {
        var used = UsedBuffer()
        return queue.reap(&used)
    }

    func read<Word: FixedWidthInteger>(_ part: KeyPath<DriverRingArea, SharedBuffer>, _ offset: Int, as: Word.Type) -> Word {
        let buffer = queue.area[keyPath: part]
        precondition(offset + MemoryLayout<Word>.size <= buffer.size)
        return unsafe Word(littleEndian: buffer.pointer.loadUnaligned(fromByteOffset: offset, as: Word.self))
    }

    func write<Word: FixedWidthInteger>(_ part: KeyPath<DriverRingArea, SharedBuffer>, _ offset: Int, _ value: Word) {
        let buffer = queue.area[keyPath: part]
        precondition(offset + MemoryLayout<Word>.size <= buffer.size)
        unsafe buffer.pointer.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Word.self)
    }

    func bytes(_ part: KeyPath<DriverRingArea, SharedBuffer>, _ range: Range<Int>) -> [UInt8] {
        range.map { read(part, $0, as: UInt8.self) }
    }
}

extension RingBench where Queue == DriverSplitQueue {
    /// Puts a used element at `index` (not wrapped yet) and shows it.
    func complete(_ index: UInt16, id: UInt32, length: UInt32) {
        let slot = Int(index) % queue.area.size
        write(\.device, 4 + 8 * slot, id)
        write(\.device, 8 + 8 * slot, length)
        write(\.device, 2, index &+ 1)
    }
}

extension RingBench where Queue == DriverPackedQueue {
    /// Marks the descriptor at `place` used in the lap `wrap`.
    func complete(_ place: Int, wrap: Bool, id: UInt16, length: UInt32, flags: UInt16 = RingFlag.write) {
        write(\.descriptors, 16 * place + 8, length)
        write(\.descriptors, 16 * place + 12, id)
        write(\.descriptors, 16 * place + 14, flags | (wrap ? RingFlag.available | RingFlag.used : 0))
    }
}

let header = DriverSegment(address: 0x1122_3344_5566_7788, length: 16)
let data = DriverSegment(address: 0x2000, length: 4096)
let status = DriverSegment(address: 0x3000, length: 1)
