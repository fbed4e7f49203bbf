/// A read or write with one piece of data as every driver in use lays it out, so nearly every small request: a 16-byte readable descriptor
/// with the header, one for the data, and a 1-byte writable one for the status, in order; in an indirect table, or in the ring itself.
///
/// Safety: data and status are checked and translated; they are good as long as the memory they were translated in is mapped.
@frozen
@safe
public struct PlainTransfer {
    /// Goes back to the ring with `push`.
    public var handle: ChainHandle
    /// The first sector, as the guest wrote it.
    public let sector: UInt64
    /// The data.
    public let data: UnsafeMutableRawPointer
    /// Its length in bytes; 0 does not pass `BlockRequestCheck.passes`.
    public let dataLength: UInt32
    /// Whether the disk is read, and the data written.
    public let isRead: Bool
    /// Where the status byte goes.
    public let status: UnsafeMutableRawPointer
    /// What the chain's first descriptor names: an indirect table, or the header.
    public let named: UnsafeMutableRawPointer

    /// Reads the table of 48 bytes at `address` and the header it names, each word once.
    ///
    /// nil: another shape or another request, or not within the two memory windows, or misaligned. Nothing was done, and the general way
    /// takes it: it reads all of it again, and uses nothing of what was read here. This way has neither loops nor states nor segments,
    /// which halves the work.
    @inlinable
    @inline(__always)
    init?<Format: DescriptorFormat>(_ address: UInt64, _ format: Format.Type, _ windows: MemoryWindows) {
        // Misaligned tables and headers are legal, but 64-bit atomic loads want alignment.
        let window = unsafe windows.window(address)
        guard unsafe window.pointee.contains(address, 48) else { return nil }
        let table = unsafe MappedTable(base: window.pointee.place(address))
        guard unsafe UInt(bitPattern: table.base) & 7 == 0 else { return nil }
        let first = table.load(0)
        guard Format.isHeader(first.meta) else { return nil }
        let last = table.load(2)
        guard Format.isStatus(last.meta) else { return nil }
        let middle = table.load(1)
        guard Format.isData(middle.meta) else { return nil }
        unsafe self.init(
            header: first.address, data: middle, isWritable: Format.flags(middle.meta) & DescriptorFlags.write != 0, status: last.address,
            named: table.base, window, windows)
    }

    /// Reads the header at one address, once, and looks up the others. A driver has table, header and status in memory of one kind, so
    /// they share a window.
    @inlinable
    @inline(__always)
    init?(
        header address: UInt64, data middle: DescriptorCopy, isWritable: Bool, status statusAddress: UInt64,
        named: UnsafeMutableRawPointer?, _ window: UnsafePointer<MemoryWindow>, _ windows: MemoryWindows
    ) {
        guard unsafe window.pointee.contains(address, 16) else { return nil }
        let header = unsafe window.pointee.place(address)
        guard UInt(bitPattern: header) & 7 == 0 else { return nil }
        let type = UInt32(truncatingIfNeeded: unsafe header.shared64())
        sector = unsafe header.shared64(at: 8)
        guard unsafe window.pointee.contains(statusAddress, 1) else { return nil }
        unsafe status = window.pointee.place(statusAddress)
        isRead = isWritable
        dataLength = middle.length
        let dataWindow = unsafe windows.window(middle.address)
        guard type == (isRead ? BlockRequestType.read : BlockRequestType.write),
            unsafe dataWindow.pointee.contains(middle.address, dataLength)
        else { return nil }
        unsafe data = dataWindow.pointee.place(middle.address)
        unsafe self.named = named ?? header
        handle = ChainHandle()
    }

    /// The same of three descriptors of a split ring's own table, linked by `next`, the first of which was copied: what drivers without
    /// indirect descriptors send.
    @inlinable
    @inline(__always)
    init?(linked first: DescriptorCopy, in table: MappedTable, _ size: UInt32, _ windows: MemoryWindows) {
        let second = UInt32(truncatingIfNeeded: first.meta >> 48)
        guard second < size else { return nil }
        let middle = table.load(second)
        let third = UInt32(truncatingIfNeeded: middle.meta >> 48)
        let kind = SplitFormat.flags(middle.meta) & 0xffff & ~DescriptorFlags.write
        guard kind == DescriptorFlags.next, third < size else { return nil }
        let last = table.load(third)
        guard SplitFormat.isStatus(last.meta) else { return nil }
        unsafe self.init(
            header: first.address, data: middle, isWritable: SplitFormat.flags(middle.meta) & DescriptorFlags.write != 0,
            status: last.address, named: nil, windows.window(first.address), windows)
    }
}

/// What `popTransfer` found.
@frozen
public enum TransferPop {
    /// A transfer was popped.
    case transfer(PlainTransfer)
    /// Nothing more was seen.
    case empty
    /// Something that is not a plain transfer, or is wrong: nothing was popped, `popLinkedTransfer` or `pop` takes it.
    case other
}

/// What `look` saw.
@frozen
public enum RingLook {
    /// Nothing is available.
    case nothing
    /// Chains, for `popTransfer` to take.
    case chains
    /// Something else, for `pop`: chains that are to be resubmitted, or a fault.
    case other
}
