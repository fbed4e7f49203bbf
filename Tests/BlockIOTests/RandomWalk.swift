import BlockIO
import LinuxSystem

/// Random operations of every kind, several at once, checked against a model. Ranges of operations in flight do not overlap: each slot has
/// extents of its own.
final class RandomWalk {
    private let rig: Rig
    private let slots: [Rig.Slot]
    private let unit: Int
    private let extent: Int
    private let mayMisalign: Bool
    private var model: DiskModel
    private var random: RandomNumbers
    private var mistakes: [String] = []

    private static let depth = 16
    private static let lengthMax = 128 << 10
    /// Bytes to write; a piece of it tells where it begins.
    private static let pattern: [UInt8] = {
        var random = RandomNumbers(seed: 1)
        return (0..<(1 << 18)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }()
    private static let memorySize = 1 << 20

    init(_ rig: Rig, _ backing: Backing, size: Int, seed: UInt64) throws {
        self.rig = rig
        unit = Int(backing.blockSize)
        extent = size / Self.depth
        mayMisalign = backing.isDirect
        model = DiskModel(size: size)
        random = RandomNumbers(seed: seed)
        slots = try (0..<Self.depth).map { _ in try rig.slot(size: Self.memorySize) }
    }

    /// The memory of every other slot, for those who register it.
    var someMemory: [IOVector] {
        stride(from: 0, to: slots.count, by: 2).map { unsafe IOVector(base: slots[$0].memory.base, length: Self.memorySize) }
    }

    /// Runs that many operations; returns what went wrong, in words.
    func run(operations: Int) -> [String] {
        var started = 0
        for (index, slot) in slots.enumerated() {
            start(slot, index)
            started += 1
        }
        var ended = 0
        while ended < started, let operation = unsafe rig.next() {
            ended += 1
            guard let index = slots.firstIndex(where: { unsafe $0.operation == operation }) else { return ["an unknown operation ended"] }
            check(slots[index])
            guard started < operations, mistakes.isEmpty else { continue }
            start(slots[index], index)
            started += 1
        }
        if ended < started { mistakes.append("\(started - ended) operations did not end") }
        return mistakes
    }

    private func start(_ slot: Rig.Slot, _ index: Int) {
        let length = Int.random(in: 1...Self.lengthMax / unit, using: &random) * unit
        let offset = index * extent + Int.random(in: 0...(extent - length) / unit, using: &random) * unit
        let flags: IOFlags = Int.random(in: 0..<8, using: &random) == 0 ? [.durable] : []
        switch Int.random(in: 0..<16, using: &random) {
        case 0: slot.set(.flush, at: 0, length: 0)
        case 1: slot.set(.discard, at: UInt64(offset), length: UInt64(length), flags: flags)
        case 2: slot.set(.writeZeroes, at: UInt64(offset), length: UInt64(length), flags: flags)
        case 3: slot.set(.writeZeroes, at: UInt64(offset), length: UInt64(length), flags: flags.union(.unmap))
        case 4...9: slot.set(.read, at: UInt64(offset), pieces: pieces(length))
        default:
            slot.set(.write, at: UInt64(offset), pieces: pieces(length), flags: flags)
            let start = Int.random(in: 0..<Self.pattern.count - length, using: &random)
            slot.bytes = Array(Self.pattern[start..<(start + length)])
        }
        unsafe rig.channel.add(slot.operation)
    }

    /// Cuts `length` bytes into pieces of memory; one time in eight they fit no alignment.
    private func pieces(_ length: Int) -> [(Int, Int)] {
        let misaligns = mayMisalign && Int.random(in: 0..<8, using: &random) == 0
        let grain = misaligns ? 1 : unit
        var pieces: [(Int, Int)] = []
        var left = length
        var position = misaligns ? Int.random(in: 1..<512, using: &random) : 0
        while left > 0 {
            let size = pieces.count == 15 ? left : min(left, Int.random(in: 1...max(1, length / grain / 2), using: &random) * grain)
            pieces.append((position, size))
            position += size + Int.random(in: 0...2, using: &random) * grain
            left -= size
        }
        return pieces
    }

    private func check(_ slot: Rig.Slot) {
        let kind = unsafe slot.operation.pointee.kind
        let offset = unsafe Int(slot.operation.pointee.offset)
        let length = unsafe Int(slot.operation.pointee.length)
        let expected = kind == .read || kind == .write ? Int64(length) : 0
        guard slot.result == expected else {
            mistakes.append("\(kind) of \(length) at \(offset) gave \(slot.result)")
            return
        }
        switch kind {
        case .read:
            if let mistake = model.firstMistake(slot.bytes, at: offset) { mistakes.append("sector \(mistake) is wrong") }
        case .write: model.write(slot.bytes, at: offset)
        case .writeZeroes: model.zero(offset..<(offset + length))
        case .discard: model.discard(offset..<(offset + length))
        case .flush, .secureErase: break
        }
    }
}
