import Glibc
import LinuxSystem
import Testing

@testable import BlockIO

/// A kernel that transfers what it likes: any prefix of what it is asked for.
private struct FakeKernel {
    var disk: [UInt8]
    var random: RandomNumbers
    let unit: Int
    var calls = 0

    /// Does a part of what the operation asks for next and returns what the kernel would.
    mutating func call(_ operation: UnsafeMutablePointer<IOOperation>, bounceSize: Int) -> Int64 {
        calls += 1
        let offset = unsafe Int(operation.pointee.offset + operation.pointee.done)
        let isRead = unsafe operation.pointee.kind == .read
        var pieces: [IOVector] = []
        if let buffer = unsafe operation.pointee.bounce {
            pieces = unsafe [IOVector(base: buffer, length: operation.pointee.bouncePiece)]
        } else {
            for index in 0..<(unsafe Int(operation.pointee.segmentCountOfCall)) {
                pieces.append(unsafe operation.pointee.restOfSegments[index])
            }
        }
        let asked = pieces.reduce(0) { $0 + $1.length }
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return -Int64(EAGAIN)
        case 1: return -Int64(EINTR)
        default: break
        }
        var left = asked
        if Bool.random(using: &random) { left = Int.random(in: 1...asked / unit, using: &random) * unit }
        let done = left
        var position = offset
        for piece in pieces where left > 0 {
            let count = min(left, piece.length)
            if isRead {
                unsafe disk.withUnsafeBytes { unsafe piece.base.copyMemory(from: $0.baseAddress! + position, byteCount: count) }
            } else {
                let bytes = unsafe Array(UnsafeRawBufferPointer(start: piece.base, count: count))
                disk.replaceSubrange(position..<(position + count), with: bytes)
            }
            position += count
            left -= count
        }
        return Int64(done)
    }
}

/// A core with a channel to a file that nobody touches.
@safe
private final class CoreRig {
    let folder = TemporaryDisk()
    let backing: Backing
    let channel: UnsafeMutablePointer<ChannelState>
    let completions: UnsafeMutablePointer<IOCompletionList>
    var core: EngineCore

    init() throws {
        backing = try Backing.open(.file(path: folder.path))
        unsafe channel = .allocate(capacity: 1)
        let state = try ChannelState(backing, mailbox: SlowMailbox())
        unsafe channel.initialize(to: try #require(state))
        unsafe completions = .allocate(capacity: 1)
        unsafe completions.initialize(to: IOCompletionList())
        core = try EngineCore(node: nil)
    }

    deinit {
        core.destroy()
        unsafe channel.deallocate()
        unsafe completions.deallocate()
    }

    /// What a slot's operation needs next.
    func begin(_ slot: Rig.Slot) -> EngineCore.Step { unsafe core.begin(slot.operation, channel) }
    func settle(_ slot: Rig.Slot, _ answer: Int64) -> EngineCore.Step { unsafe core.settle(slot.operation, answer) }
    func slot(size: Int = 4 << 20) throws -> Rig.Slot { try unsafe Rig.Slot(completions, size: size) }
    var counters: IOChannelCounters { unsafe channel.pointee.counters }
}

@Suite("Transfers in parts")
struct TransferTests {
    @Test("However the kernel cuts a transfer, all of it is done once and the segments are as they were", arguments: [true, false])
    func anyParts(aligned: Bool) throws {
        let rig = try CoreRig()
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = RandomNumbers(seed: seed)
        let size = 2 << 20
        let disk = (0..<size / 8).flatMap { _ in unsafe withUnsafeBytes(of: random.next()) { unsafe Array($0) } }
        var kernel = FakeKernel(disk: disk, random: random, unit: 512)
        let slot = try rig.slot()
        for round in 0..<60 {
            let kind: IOKind = round % 2 == 0 ? .read : .write
            let pieces = Self.pieces(&random, aligned: aligned)
            let length = pieces.reduce(0) { $0 + $1.1 }
            let offset = Int.random(in: 0...(size - length) / 512, using: &random) * 512
            slot.set(kind, at: UInt64(offset), pieces: pieces)
            let data = (0..<length).map { UInt8(truncatingIfNeeded: $0 &+ round) }
            if kind == .write { slot.bytes = data }
            let given = (0..<pieces.count).map { unsafe (UInt(bitPattern: slot.segments[$0].base), slot.segments[$0].length) }
            var step = rig.begin(slot)
            var calls = 0
            while step == .transfer, calls < 10_000 {
                calls += 1
                step = rig.settle(slot, unsafe kernel.call(slot.operation, bounceSize: BouncePool.bufferSize))
            }
            #expect(slot.result == Int64(length), "seed \(seed)")
            #expect(slot.bytes == Array(kernel.disk[offset..<(offset + length)]), "seed \(seed)")
            if kind == .write { #expect(slot.bytes == data) }
            let kept = (0..<pieces.count).map { unsafe (UInt(bitPattern: slot.segments[$0].base), slot.segments[$0].length) }
            #expect(given.elementsEqual(kept, by: ==), "seed \(seed)")
            #expect(unsafe rig.completions.pointee.pop() == slot.operation)
        }
        #expect(rig.core.inFlight == 0)
        #expect(rig.counters.shortTransfers > 0)
        #expect(rig.counters.bounced == (aligned ? 0 : 60))
    }

    private static func pieces(_ random: inout RandomNumbers, aligned: Bool) -> [(Int, Int)] {
        var position = aligned ? 0 : 3
        var pieces: [(Int, Int)] = []
        var total = 0
        for _ in 0..<Int.random(in: 1...40, using: &random) {
            let size = aligned ? Int.random(in: 0...16, using: &random) * 512 : Int.random(in: 0...9000, using: &random)
            pieces.append((position, size))
            position += size + (aligned ? 512 : 1)
            total += size
        }
        pieces.append((position, (total + 512) / 512 * 512 - total))
        return pieces
    }

    @Test("A read that ends within the file's last block, or at once, is an error and not stale memory", arguments: [0, 100, 512 + 7])
    func endOfFile(answer: Int64) throws {
        let rig = try CoreRig()
        let slot = try rig.slot()
        slot.set(.read, at: 0, pieces: [(0, 8192)])
        #expect(rig.begin(slot) == .transfer)
        #expect(rig.settle(slot, 4096) == .transfer)
        #expect(rig.settle(slot, answer) == .taken)
        #expect(slot.result == -Int64(EIO))
        #expect(rig.counters.errors == 1)
    }

    @Test("A kernel that claims to have done more than it was asked for is not believed")
    func tooMuch() throws {
        let rig = try CoreRig()
        let slot = try rig.slot()
        slot.set(.read, at: 0, pieces: [(0, 4096)])
        #expect(rig.begin(slot) == .transfer)
        #expect(rig.settle(slot, 8192) == .taken)
        #expect(slot.result == -Int64(EIO))
    }

    @Test("Trying again has an end")
    func retriesEnd() throws {
        let rig = try CoreRig()
        let slot = try rig.slot()
        slot.set(.write, at: 0, pieces: [(0, 4096)])
        var step = rig.begin(slot)
        var calls = 0
        while step == .transfer, calls < 100_000 {
            step = rig.settle(slot, -Int64(EAGAIN))
            calls += 1
        }
        #expect(calls < 100_000)
        #expect(slot.result == -Int64(EAGAIN))
    }

    @Test("Without a free bounce buffer operations wait, and go on in order as buffers come back")
    func bounceBuffersRunOut() throws {
        let rig = try CoreRig()
        let slots = try (0..<BouncePool.bufferCount + 3).map { _ in try rig.slot(size: 8192) }
        for (index, slot) in slots.enumerated() {
            slot.set(.read, at: 0, pieces: [(1, 512)])
            #expect(rig.begin(slot) == (index < BouncePool.bufferCount ? .transfer : .taken))
        }
        #expect(rig.counters.bounceWaits == 3)
        #expect(unsafe rig.core.nextWaiting() == nil)
        for index in 0..<3 {
            #expect(rig.settle(slots[index], 512) == .taken)
            #expect(unsafe rig.core.nextWaiting() == slots[BouncePool.bufferCount + index].operation)
        }
        for slot in slots[3...] { #expect(rig.settle(slot, 512) == .taken) }
        #expect(rig.core.inFlight == 0)
    }
}
