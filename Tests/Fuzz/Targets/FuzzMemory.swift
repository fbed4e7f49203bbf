import Virtio

/// Guest memory for one input. Each region is an allocation of exactly its size, so that the address sanitizer sees the first byte too many.
///
/// Safety: the blocks are freed in deinit; `store` and `load` check each byte against them.
@safe
final class FuzzMemory {
    // unsafe: an allocation of this object's, followed only where the index was compared with the size.
    @safe
    private struct Block {
        var guest: UInt64
        var size: Int
        var base: UnsafeMutableRawPointer
    }

    private let blocks: [Block]
    let guest: GuestMemory

    /// Zeroed memory at these guest addresses.
    init(_ regions: [(guest: UInt64, size: Int)]) throws(FuzzFailure) {
        let blocks = regions.map { region in
            // Up to 16 bytes of alignment the block comes from malloc, which the sanitizer surrounds with poisoned bytes.
            let base = UnsafeMutableRawPointer.allocate(byteCount: region.size, alignment: 16)
            unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: region.size)
            return unsafe Block(guest: region.guest, size: region.size, base: base)
        }
        self.blocks = blocks
        do throws(GuestMemoryError) {
            let table = blocks.map { block in
                unsafe MemoryRegion(guestAddress: block.guest, size: UInt64(block.size), frontendAddress: block.guest, hostBase: block.base)
            }
            guest = try GuestMemory(regions: table, owners: [])
        } catch {
            for block in blocks { unsafe block.base.deallocate() }
            throw FuzzFailure("the fuzzer's own memory table is refused: \(error)")
        }
    }

    deinit {
        for block in blocks { unsafe block.base.deallocate() }
    }

    /// Where a guest address is; nil outside the regions.
    func place(_ address: UInt64) -> UnsafeMutableRawPointer? {
        for block in blocks where address &- block.guest < UInt64(block.size) {
            return unsafe block.base + Int(address - block.guest)
        }
        return nil
    }

    /// Whether `count` bytes of this process at `address` lie in one region.
    func holds(_ address: UnsafeMutableRawPointer, _ count: Int) -> Bool {
        blocks.contains { block in
            unsafe address >= block.base && count >= 0 && count <= block.size && address - block.base <= block.size - count
        }
    }

    /// Writes bytes as the driver does; what falls outside the regions is left out.
    func store(_ bytes: some Sequence<UInt8>, at address: UInt64) {
        for (index, byte) in bytes.enumerated() {
            unsafe place(address &+ UInt64(index))?.storeBytes(of: byte, as: UInt8.self)
        }
    }

    /// Writes a little-endian number.
    func store<Number: FixedWidthInteger>(_ value: Number, at address: UInt64) {
        store((0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> Number(8 * $0)) }, at: address)
    }

    /// Reads a little-endian number; bytes outside the regions are 0.
    func load<Number: FixedWidthInteger>(_ address: UInt64, as type: Number.Type = Number.self) -> Number {
        var value: Number = 0
        for index in 0..<Number.bitWidth / 8 {
            let byte = unsafe place(address &+ UInt64(index))?.load(as: UInt8.self) ?? 0
            value |= Number(truncatingIfNeeded: byte) << Number(8 * index)
        }
        return value
    }
}

/// Zeroed memory of exactly `size` bytes, for what is not the guest's: scratch blocks, inflight regions.
///
/// Safety: freed in deinit.
@safe
final class FuzzBlock {
    let base: UnsafeMutableRawPointer
    let size: Int

    init(size: Int) {
        self.size = max(size, 1)
        unsafe base = .allocate(byteCount: self.size, alignment: 16)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: self.size)
    }

    deinit { unsafe base.deallocate() }

    /// Overwrites one byte; the offset may be any.
    func store(_ byte: UInt8, at offset: Int) {
        unsafe base.storeBytes(of: byte, toByteOffset: offset % size, as: UInt8.self)
    }
}
