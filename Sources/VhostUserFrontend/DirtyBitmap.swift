public import LinuxSystem
import Synchronization
import Virtio

/// The front-end's end of a dirty log (vhost-user specification, "Migration"): memory shared with the back-end, in which that sets a bit for
/// each page of guest memory it writes, and from which this takes them.
///
/// Any thread may use it.
public final class DirtyBitmap: Sendable {
    /// Bytes of guest memory that a bit stands for.
    public static let pageSize: UInt64 = 4096

    /// The memory file, for SET_LOG_BASE.
    public let file: FileDescriptor
    /// Bytes of the log.
    public let byteCount: UInt64
    /// Where in the file it begins.
    public let offset: UInt64
    private let mapping: MemoryMapping

    /// A log without a bit set.
    ///
    /// - Parameters:
    ///   - byteCount: at least 1; each byte is for 32 KiB of guest addresses, from 0 on.
    ///   - offset: any place in the file; bytes before it belong to nobody.
    /// - Throws: ``FrontendError`` of kind `.memory` when the memory is not there.
    public init(byteCount: UInt64, offset: UInt64 = 0) throws(FrontendError) {
        precondition(byteCount > 0, "a log has at least a byte")
        self.byteCount = byteCount
        self.offset = offset
        do {
            file = try MemoryFile.create(name: "vhublk-log", size: offset + byteCount)
            mapping = try MemoryMapping(descriptor: file, offset: offset, size: byteCount)
        } catch { throw FrontendError(.memory, "cannot make a dirty log: \(error)") }
    }

    /// A log just long enough for all of `memory`.
    public convenience init(covering memory: DriverMemory) throws(FrontendError) {
        let end = memory.regions.map { $0.guestAddress + $0.size }.max() ?? 0
        try self.init(byteCount: max(1, (end + 8 * Self.pageSize - 1) / (8 * Self.pageSize)))
    }

    /// The log as it is, without taking a bit.
    public var bytes: [UInt8] {
        // A copy, of the mapping's size.
        unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: mapping.size))
    }

    /// Puts the log back to what ``bytes`` was.
    public func put(_ bytes: [UInt8]) {
        guard bytes.count == mapping.size else { return }
        unsafe mapping.base.copyMemory(from: bytes, byteCount: bytes.count)
    }

    /// Takes all bits that are set, and answers the guest addresses of their pages, in order. Copy those pages after this call, not before:
    /// what the back-end writes later sets the bits again.
    public func takePages() -> [UInt64] {
        var pages: [UInt64] = []
        for index in 0..<byteCount {
            // The index is below the mapping's size.
            let byte = unsafe (mapping.base + Int(index)).assumingMemoryBound(to: Atomic<UInt8>.self)
            // Looked at first: exchanging every byte would take each cache line away from the back-end.
            if unsafe byte.pointee.load(ordering: .relaxed) == 0 { continue }
            // Acquire: whoever sees the bit sees the page as it was when the bit was set, or newer.
            let bits = unsafe byte.pointee.exchange(0, ordering: .acquiring)
            for bit in 0..<8 where bits >> bit & 1 != 0 { pages.append((index * 8 + UInt64(bit)) * Self.pageSize) }
        }
        return pages
    }
}
