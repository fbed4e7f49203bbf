import CLinux
import Glibc

/// A range of memory that mmap(2) made; it is unmapped when the last reference goes.
///
/// Sendable: the object itself never changes; who may touch the memory is the owner's business.
@safe
public final class MemoryMapping: @unchecked Sendable {
    /// The first byte asked for.
    public let base: UnsafeMutableRawPointer
    /// Length asked for, in bytes.
    public let size: Int
    /// What mmap returned and munmap takes: `base` and `size` rounded outwards to the mapping's page size.
    private let mappedBase: UnsafeMutableRawPointer
    private let mappedSize: Int
    /// The number of the mapping's guard; nil when it has none.
    private let guardNumber: Int32?
    /// Of awaited memory: its file, and where `mappedBase` is in it.
    private let source: (file: FileDescriptor, offset: Int64)?
    /// Of a file's mapping: the unit in which mmap works on the file.
    private let unit: Int?

    /// Maps `size` bytes at `offset` of a file, shared with everybody else who maps it. Nothing is populated, so this is quick for any
    /// size; memory that the file lacks raises SIGBUS when touched. Neither offset nor size need be aligned: both are rounded outwards to
    /// the file's page size, which is the huge page's on hugetlbfs (munmap fails there with less).
    ///
    /// - Parameters:
    ///   - owner: with a number, no SIGBUS reaches the process: see ``MemoryGuard``, which tells the number again.
    ///   - awaited: with this, which needs a guard, pages that the file lacks are waited for; not touched before this returns.
    public init(
        descriptor: FileDescriptor, offset: UInt64, size: UInt64, writable: Bool = true, guardedFor owner: UInt64? = nil,
        awaited: AwaitedMemory? = nil
    ) throws(SystemError) {
        precondition(awaited == nil || owner != nil, "memory that may be withdrawn is guarded")
        let what = "map \(size) bytes at \(offset) of descriptor \(descriptor.rawValue)"
        let unit = UInt64(Self.pageSize(of: descriptor))
        let lead = offset % unit
        guard size > 0, size <= UInt64(Int.max) - lead - unit, offset <= UInt64(Int64.max) - size else {
            throw SystemError(what, errno: EINVAL)
        }
        let rounded = (lead + size + unit - 1) / unit * unit
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        let address = clinux_mmap(
            Int(rounded), protection, MAP_SHARED | MAP_NORESERVE, descriptor.rawValue, Int64(offset - lead))
        let mapped = unsafe UnsafeMutableRawPointer(bitPattern: Int(try SystemError.check(address, what)))!
        unsafe mappedBase = mapped
        mappedSize = Int(rounded)
        unsafe base = mapped + Int(lead)
        self.size = Int(size)
        source = awaited == nil ? nil : (descriptor, Int64(offset - lead))
        self.unit = Int(unit)
        do {
            try unsafe awaited?.faults.register(mapped, Int(rounded))
            guardNumber = try owner.map { owner throws(SystemError) in try unsafe MemoryGuard.add(mapped, Int(rounded), owner: owner) }
        } catch {
            // What an initialiser that throws leaves behind no deinit takes away.
            _ = unsafe clinux_munmap(mapped, Int(rounded))
            throw error
        }
        awaited?.note(self)
    }

    /// Private memory, all zero, that takes physical pages as it is touched: from NUMA node `node` where given and possible.
    public init(anonymous size: Int, node: Int? = nil) throws(SystemError) {
        let what = "allocate \(size) bytes"
        guard size > 0, size <= Int.max - PageSize.bytes else { throw SystemError(what, errno: EINVAL) }
        let rounded = (size + PageSize.bytes - 1) / PageSize.bytes * PageSize.bytes
        let address = clinux_mmap(rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        let mapped = unsafe UnsafeMutableRawPointer(bitPattern: Int(try SystemError.check(address, what)))!
        unsafe mappedBase = mapped
        mappedSize = rounded
        unsafe base = mapped
        self.size = size
        guardNumber = nil
        source = nil
        unit = nil
        if let node { unsafe NUMA.prefer(node: node, forRange: mapped, size: rounded) }
    }

    /// A part of a file's mapping.
    public struct Part: Sendable {
        /// The mapping, of a whole file or of some of it.
        public var mapping: MemoryMapping
        /// Where the part begins, in bytes from the mapping's ``MemoryMapping/base``.
        public var offset: Int
        /// Its length in bytes.
        public var size: Int

        /// Names the part; it has to lie in the mapping.
        public init(of mapping: MemoryMapping, offset: Int, size: Int) {
            (self.mapping, self.offset, self.size) = (mapping, offset, size)
        }

        fileprivate var pages: Range<UInt> {
            let page = UInt(PageSize.bytes)
            let start = unsafe UInt(bitPattern: mapping.base) + UInt(offset)
            return start / page * page..<(start + UInt(size) + page - 1) / page * page
        }
    }

    /// Maps parts of files' mappings once more, side by side in their order. It stays when the mappings that it was made from go, and shares
    /// their files' pages; missing pages of awaited memory it does not wait for.
    ///
    /// Fails with EINVAL when the parts do not meet at page boundaries, or one is of huge pages, which are mapped as a whole only.
    ///
    /// - Parameter owner: with a number, no SIGBUS reaches the process: see ``MemoryGuard``, which tells the number again.
    public init(joining parts: [Part], guardedFor owner: UInt64? = nil) throws(SystemError) {
        let what = "map \(parts.count) parts of memory side by side"
        guard let first = parts.first, Self.meet(parts) else { throw SystemError(what, errno: EINVAL) }
        let lead = unsafe Int((UInt(bitPattern: first.mapping.base) + UInt(first.offset)) - first.pages.lowerBound)
        let bytes = parts.reduce(0) { $0 + $1.pages.count }
        let mapped = unsafe UnsafeMutableRawPointer(bitPattern: Int(try SystemError.check(clinux_reserve(bytes), what)))!
        unsafe mappedBase = mapped
        mappedSize = bytes
        unsafe base = mapped + lead
        size = parts.reduce(0) { $0 + $1.size }
        source = nil
        unit = nil
        try unsafe Self.fill(mapped, bytes, parts, what)
        do throws(SystemError) {
            guardNumber = try owner.map { owner throws(SystemError) in try unsafe MemoryGuard.add(mapped, bytes, owner: owner) }
        } catch {
            _ = unsafe clinux_munmap(mapped, bytes)
            throw error
        }
    }

    /// Whether each part lies in a mapping whose pages are of the usual size, and goes on at a page boundary where the one before ends at one.
    private static func meet(_ parts: [Part]) -> Bool {
        for (index, part) in parts.enumerated() {
            guard part.mapping.unit == PageSize.bytes, part.offset >= 0, part.size > 0, part.size <= part.mapping.size - part.offset
            else { return false }
            let start = unsafe UInt(bitPattern: part.mapping.base) + UInt(part.offset)
            if index > 0, start != part.pages.lowerBound { return false }
            if index < parts.count - 1, start + UInt(part.size) != part.pages.upperBound { return false }
        }
        return true
    }

    /// Puts the parts' pages in the place of reserved addresses; gives these back when it fails.
    private static func fill(
        _ reserved: UnsafeMutableRawPointer, _ size: Int, _ parts: [Part], _ what: String
    ) throws(SystemError) {
        var filled = 0
        for part in parts {
            let count = part.pages.count
            // unsafe: pages of a mapping that the part keeps.
            let copy = unsafe clinux_map_again(UnsafeMutableRawPointer(bitPattern: part.pages.lowerBound), count)
            if copy < 0 {
                _ = unsafe clinux_munmap(reserved, size)
                throw SystemError(what, errno: Int32(-copy))
            }
            let result = unsafe clinux_move_mapping(UnsafeMutableRawPointer(bitPattern: Int(copy)), count, reserved + filled)
            if result < 0 {
                _ = unsafe clinux_munmap(UnsafeMutableRawPointer(bitPattern: Int(copy)), count)
                // The reservation may be gone there and the addresses somebody else's already: they are left alone.
                if filled > 0 { _ = unsafe clinux_munmap(reserved, filled) }
                if filled + count < size { _ = unsafe clinux_munmap(reserved + filled + count, size - filled - count) }
                throw SystemError(what, errno: -result)
            }
            filled += count
        }
    }

    deinit {
        // First: a guard must never stand over addresses that may be somebody else's.
        if let guardNumber { MemoryGuard.remove(guardNumber) }
        _ = unsafe clinux_munmap(mappedBase, mappedSize)
    }

    /// Missing pages are waited for.
    func beginWaiting(_ faults: Userfault) throws(SystemError) { try unsafe faults.register(mappedBase, mappedSize) }

    /// Who waits for a page of awaited memory looks again whether it is there.
    func wakeWaiting(_ faults: Userfault) throws(SystemError) { try unsafe faults.wake(mappedBase, mappedSize) }

    /// Pages that awaited memory lacks are zero pages from now on.
    func endWaiting(_ faults: Userfault) throws(SystemError) { try unsafe faults.unregister(mappedBase, mappedSize) }

    /// The pages of awaited memory that are missing never come: see ``AwaitedMemory/withdraw()``.
    func withdraw(_ faults: Userfault, empty: FileDescriptor) throws(SystemError) {
        guard let source, let guardNumber else { preconditionFailure("only awaited memory is withdrawn") }
        try MemoryGuard.withdraw(guardNumber, source.file, source.offset, empty: empty)
        try wakeWaiting(faults)
    }

    /// The unit in which mmap works on this file: the huge page's size on hugetlbfs, the base page otherwise.
    static func pageSize(of descriptor: FileDescriptor) -> Int {
        let hugetlbfsMagic: Int64 = 0x9584_58f6
        guard clinux_file_system_type(descriptor.rawValue) == hugetlbfsMagic else { return PageSize.bytes }
        let block = Int(clinux_file_system_block(descriptor.rawValue))
        return block > PageSize.bytes ? block : PageSize.bytes
    }
}
