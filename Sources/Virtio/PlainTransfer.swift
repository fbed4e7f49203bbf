/// A read or write with one piece of data as every driver in use lays it out, so nearly every small request: an indirect table of a 16-byte
/// readable descriptor with the header, one for the data, and a 1-byte writable one for the status, in order.
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

    /// Reads the table of 48 bytes at `address` and the header it names, each word once.
    ///
    /// nil: another shape or another request, or not within the two memory windows, or misaligned. Nothing was done, and the general way
    /// takes it: it reads all of it again, and uses nothing of what was read here. This way has neither loops nor states nor segments,
    /// which halves the work.
    @inlinable
    @inline(__always)
    init?<Format: DescriptorFormat>(_ address: UInt64, _ format: Format.Type, _ windows: MemoryWindows) {
        // A driver has table, header and status in memory of one kind, so they share a window. Misaligned tables and headers are legal, but
        // 64-bit atomic loads want alignment.
        let window = unsafe windows.window(address)
        guard unsafe window.pointee.contains(address, 48) else { return nil }
        let table = unsafe MappedTable(base: window.pointee.place(address))
        guard unsafe UInt(bitPattern: table.base) & 7 == 0 else { return nil }
        // One after the other, so that few values live at a time: registers are what is short here.
        let first = table.load(0)
        guard Format.isHeader(first.meta), unsafe window.pointee.contains(first.address, 16) else { return nil }
        let header = unsafe window.pointee.place(first.address)
        guard UInt(bitPattern: header) & 7 == 0 else { return nil }
        let type = UInt32(truncatingIfNeeded: unsafe header.shared64())
        sector = unsafe header.shared64(at: 8)
        let last = table.load(2)
        guard Format.isStatus(last.meta), unsafe window.pointee.contains(last.address, 1) else { return nil }
        unsafe status = window.pointee.place(last.address)
        let middle = table.load(1)
        isRead = Format.flags(middle.meta) & DescriptorFlags.write != 0
        dataLength = middle.length
        let dataWindow = unsafe windows.window(middle.address)
        guard Format.isData(middle.meta), type == (isRead ? BlockRequestType.read : BlockRequestType.write),
            unsafe dataWindow.pointee.contains(middle.address, dataLength)
        else { return nil }
        unsafe data = dataWindow.pointee.place(middle.address)
        handle = ChainHandle()
    }
}

/// What `popTransfer` found.
@frozen
public enum TransferPop {
    /// A transfer was popped.
    case transfer(PlainTransfer)
    /// Nothing is available.
    case empty
    /// Something is available that is not a plain transfer, or is wrong: nothing was popped, `pop` takes it.
    case other
}
