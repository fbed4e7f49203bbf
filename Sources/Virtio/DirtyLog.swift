internal import Synchronization

/// The dirty log of a live migration (vhost-user specification, "Migration"): a bit for each page of 4096 bytes, counted from guest
/// physical address 0, in memory that the front-end shares. The device sets bits, the front-end takes them back at any time.
///
/// Any thread may use it.
///
/// Safety: the pointer is written once in init and kept mapped by `owner`; every index is compared with `byteCount` first, whatever the
/// guest's addresses or the front-end's log addresses are.
@safe
public final class DirtyLog: @unchecked Sendable {
    /// Bytes of guest memory that a bit stands for (VHOST_LOG_PAGE).
    public static let pageSize: UInt64 = 4096

    private let base: UnsafeMutableRawPointer
    /// Bytes of the log.
    public let byteCount: UInt64
    private let owner: any Sendable
    private let missed = Atomic<UInt64>(0)

    /// Takes over `byteCount` mapped bytes, at least one, which `owner` keeps mapped.
    public init(base: UnsafeMutableRawPointer, byteCount: UInt64, owner: any Sendable) {
        precondition(byteCount > 0, "a log has at least a byte")
        unsafe self.base = unsafe base
        self.byteCount = byteCount
        self.owner = owner
    }

    /// First guest address that the log has no bit for.
    public var end: UInt64 { byteCount.multipliedReportingOverflow(by: 8 * Self.pageSize).partialValue }

    /// Writes that no bit was there for: the log was too short for them, and nothing was stored.
    public var missedCount: UInt64 { missed.load(ordering: .relaxed) }

    /// Sets the bits of `mask` in the log's byte `index`; both may come from anywhere.
    ///
    /// Call it after the stores to the pages it is about. Release: the front-end that takes the bit sees those stores when it reads the
    /// page afterwards; if it took the bits before, ours is there for its next round. A load first, to save the locked instruction where
    /// the bit is set already, would want a full fence between the stores and the load: dearer than what it saves.
    func set(_ mask: UInt8, at index: UInt64) {
        guard index < byteCount else {
            missed.wrappingAdd(1, ordering: .relaxed)
            return
        }
        // The index is below the mapping's size.
        unsafe (base + Int(index)).assumingMemoryBound(to: Atomic<UInt8>.self).pointee.bitwiseOr(mask, ordering: .releasing)
    }

    /// Sets the bits of all pages that a range of guest addresses touches, as far as the log goes: for writes of which nobody kept the
    /// addresses. As fast as memory is written: 64 pages with a store, where the log is aligned for that.
    public func markAll(from address: UInt64, byteCount length: UInt64) {
        guard length > 0 else { return }
        let (last, overflow) = address.addingReportingOverflow(length - 1)
        let end = min((overflow ? .max : last) / Self.pageSize + 1, 8 * byteCount)
        var page = address / Self.pageSize
        while page < end {
            let place = unsafe base + Int(page / 8)
            if page % 8 == 0, end - page >= 64, Int(bitPattern: place) % MemoryLayout<UInt64>.alignment == 0 {
                // Below the mapping's size, as 64 pages are. A store of all bits is what an OR of all is, at a fraction of its cost. Release:
                // as in `set`.
                unsafe place.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(.max, ordering: .releasing)
                page += 64
            } else {
                let upper = min(end, (page / 8 + 1) * 8)
                set(UInt8.max << UInt8(page % 8) & UInt8.max >> UInt8(7 - (upper - 1) % 8), at: page / 8)
                page = upper
            }
        }
    }
}
