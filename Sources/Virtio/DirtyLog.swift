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

    /// Sets the bits of all pages below a guest address, as far as the log goes: for writes of which nobody kept the addresses.
    public func markAll(below address: UInt64) {
        let bytes = min(byteCount, (address &+ (8 * Self.pageSize - 1)) / (8 * Self.pageSize))
        for index in 0..<bytes { set(.max, at: index) }
    }
}
