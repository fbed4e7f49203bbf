/// Pages written and not yet marked in a ``DirtyLog``: neighbours are gathered, so that a page that several writes of a batch went to is
/// marked once, and eight pages in a row cost one locked instruction.
///
/// A write is added after its store. It is in the log after the next `flush`, or earlier. One thread owns it.
public struct DirtyMarks {
    private let log: DirtyLog
    /// The log's byte that is being gathered.
    private var index: UInt64 = 0
    private var mask: UInt8 = 0
    /// Whether bits were set since the last ``takeChange()``.
    private var hasChanged = false

    /// Marks for a log.
    public init(_ log: DirtyLog) { self.log = log }

    /// Adds `length` bytes written at a guest physical address; 0 adds nothing.
    public mutating func add(_ address: UInt64, _ length: UInt64) {
        if length == 0 { return }
        let (sum, overflow) = address.addingReportingOverflow(length - 1)
        // A log address of the front-end's may be anything. What lies past the log is counted there, once for each write.
        let last = min(overflow ? .max : sum, max(address, log.end)) / DirtyLog.pageSize
        var page = address / DirtyLog.pageSize
        while page <= last {
            let byte = page / 8
            // The pages from here to the end of the range, or of the byte.
            let upper = min(last, byte * 8 + 7)
            gather(byte, UInt8(truncatingIfNeeded: (0xff as UInt64) << (page % 8) & (0xff as UInt64) >> (7 - upper % 8)))
            page = upper + 1
        }
    }

    private mutating func gather(_ byte: UInt64, _ bits: UInt8) {
        if byte != index { flush() }
        index = byte
        mask |= bits
    }

    /// Puts what was gathered into the log.
    public mutating func flush() {
        guard mask != 0 else { return }
        log.set(mask, at: index)
        mask = 0
        hasChanged = true
    }

    /// Whether bits were set since the last call.
    public mutating func takeChange() -> Bool {
        defer { hasChanged = false }
        return hasChanged
    }
}
