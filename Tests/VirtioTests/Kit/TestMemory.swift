import LinuxSystem
import Virtio

/// Memory that plays a guest's: one block of this process, shown to the guest at one or several addresses.
///
/// Safety: freed in deinit; every access is checked against the block.
@safe
final class TestMemory {
    /// Guest address of the first byte, unless regions are given.
    static let guestBase: UInt64 = 0x1_0000
    let size: Int
    let base: UnsafeMutableRawPointer
    let guest: GuestMemory

    /// A block of `size` bytes; `regions` are (guest address, offset in the block, size), by default the whole block at `guestBase`.
    init(size: Int, regions: [(guest: UInt64, offset: Int, size: Int)]? = nil) throws {
        self.size = size
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
        unsafe block.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        unsafe base = block
        let table = (regions ?? [(Self.guestBase, 0, size)]).map { region in
            unsafe MemoryRegion(
                guestAddress: region.guest, size: UInt64(region.size), frontendAddress: 0x7f00_0000_0000 + region.guest,
                hostBase: block + region.offset)
        }
        guest = try GuestMemory(regions: table, owners: [])
    }

    deinit { unsafe base.deallocate() }

    /// The block's bytes: what a crash leaves behind, or what to go on with.
    var image: [UInt8] {
        get { unsafe Array(UnsafeRawBufferPointer(start: base, count: size)) }
        set {
            precondition(newValue.count == size)
            unsafe base.copyMemory(from: newValue, byteCount: size)
        }
    }

    /// The value at a byte offset of the block.
    func load<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: Value.Type = Value.self) -> Value {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= size)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: type)
    }

    /// Changes the value at a byte offset of the block.
    func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, _ offset: Int) {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= size)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: Value.self)
    }

    /// Where a host address lies in the block.
    func offset(of address: UnsafeMutableRawPointer) -> Int { unsafe address - base }
}

/// A place for popped segments, a few at first and a spill block.
///
/// Safety: freed in deinit.
@safe
final class TestSegments {
    let inline: UnsafeMutablePointer<IOVector>
    let spill: UnsafeMutablePointer<IOVector>
    let inlineCapacity: Int
    let spillCapacity: Int
    var buffer: SegmentBuffer
    var chain = DescriptorChain()

    init(inline inlineCapacity: Int = 4, spill spillCapacity: Int = 64) {
        self.inlineCapacity = inlineCapacity
        self.spillCapacity = spillCapacity
        unsafe inline = .allocate(capacity: inlineCapacity)
        unsafe spill = .allocate(capacity: spillCapacity)
        unsafe buffer = SegmentBuffer(
            base: inline, capacity: Int32(inlineCapacity), spill: spill, spillCapacity: Int32(spillCapacity))
    }

    deinit {
        unsafe inline.deallocate()
        unsafe spill.deallocate()
    }

    /// Makes the buffer ready for another pop.
    func reset(hasSpill: Bool = true) {
        unsafe buffer = SegmentBuffer(
            base: inline, capacity: Int32(inlineCapacity), spill: hasSpill ? spill : nil, spillCapacity: Int32(spillCapacity))
        chain = DescriptorChain()
    }

    /// The popped segments as offsets and lengths in `memory`'s block.
    func pieces(in memory: TestMemory) -> [Piece] {
        (0..<Int(chain.readableCount + chain.writableCount)).map { index in
            unsafe Piece(memory.offset(of: buffer.base[index].base), buffer.base[index].length)
        }
    }
}

/// A range of a test memory's block.
struct Piece: Equatable, CustomStringConvertible {
    var offset: Int
    var length: Int

    init(_ offset: Int, _ length: Int) {
        self.offset = offset
        self.length = length
    }

    var description: String { "\(offset)+\(length)" }
}

/// Scratch memory of a ring.
///
/// Safety: freed in deinit.
@safe
final class TestScratch {
    let base: UnsafeMutableRawPointer

    init(bytes: Int) {
        unsafe base = .allocate(byteCount: max(bytes, 16), alignment: 64)
        // Not zeroes: a ring has to set up what it relies on.
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0xa5, count: max(bytes, 16))
    }

    deinit { unsafe base.deallocate() }
}
