/// A range of guest memory that both sides see: where this process has mapped it, and the two addresses under which a back-end is told of it.
@frozen
@safe
public struct SharedBuffer: @unchecked Sendable {
    // The pointer is only an address: the DriverMemory that handed it out keeps the mapping, and whoever uses it keeps that memory.
    /// First byte in this process.
    public var pointer: UnsafeMutableRawPointer
    /// Guest physical address of the first byte; descriptors carry this one.
    public var guestAddress: UInt64
    /// Front-end virtual address of the first byte; SET_VRING_ADDR carries this one.
    public var frontendAddress: UInt64
    /// Length in bytes.
    public var size: Int

    /// Describes a range; it must lie inside one region.
    public init(pointer: UnsafeMutableRawPointer, guestAddress: UInt64, frontendAddress: UInt64, size: Int) {
        unsafe self.pointer = pointer
        self.guestAddress = guestAddress
        self.frontendAddress = frontendAddress
        self.size = size
    }

    /// The part that starts `offset` bytes in and is `size` bytes long.
    @inlinable
    public func slice(_ offset: Int, _ size: Int) -> SharedBuffer {
        precondition(offset >= 0 && size >= 0 && offset + size <= self.size, "slice outside its buffer")
        return unsafe SharedBuffer(
            pointer: pointer + offset, guestAddress: guestAddress + UInt64(offset), frontendAddress: frontendAddress + UInt64(offset),
            size: size)
    }
}
