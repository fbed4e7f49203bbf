import LinuxSystem

/// What an engine needs to know of a channel for each operation; in memory of its own, so that reading it touches no reference counts.
///
/// Safety: the unmanaged references are retained by the channel, which outlives its operations.
@safe
struct ChannelState {
    /// The backing's descriptor.
    let descriptor: Int32
    /// Its place in io_uring's table of registered files, or -1.
    var registeredFile: Int32 = -1
    /// Memory registered with the engine, and the range of it that was used last.
    private var registered: UnsafePointer<RegisteredRange>?
    private var registeredCount = 0
    private var registeredLast = 0
    /// Alignment of memory less 1; 0 when anything will do.
    let memoryMask: UInt
    /// Alignment of offsets and lengths less 1.
    let offsetMask: UInt64
    /// Whether a flush has nothing to do.
    let flushIsFree: Bool
    /// Whether the engine cannot flush: a polled ring reads and writes, and nothing else.
    var flushIsSlow = false
    /// Whether transfers are complete when the call that starts them returns.
    let completesInPlace: Bool
    /// Does what the engine cannot, one after the other for each backing.
    let slowWorker: Unmanaged<SlowWorker>
    /// Where that worker returns operations.
    let mailbox: Unmanaged<SlowMailbox>
    var counters = IOChannelCounters()

    /// nil for a null backing.
    init?(_ backing: Backing, mailbox: SlowMailbox) {
        guard let descriptor = backing.descriptor, let slowWorker = backing.slowWorker else { return nil }
        self.descriptor = descriptor.rawValue
        memoryMask = UInt(backing.memoryAlignment) - 1
        offsetMask = UInt64(backing.offsetAlignment) - 1
        flushIsFree = backing.flushIsFree
        completesInPlace = backing.isMemory
        unsafe self.slowWorker = .passUnretained(slowWorker)
        unsafe self.mailbox = .passUnretained(mailbox)
    }

    /// Makes transfers use registered memory, a table of `count` ranges that the channel keeps.
    mutating func use(_ ranges: UnsafePointer<RegisteredRange>?, count: Int) {
        registeredCount = count
        unsafe registered = count > 0 ? ranges : nil
        registeredLast = 0
    }

    /// The place of the registered piece that holds all of a buffer; nil when none does.
    @inline(__always)
    mutating func registeredIndex(_ base: UnsafeMutableRawPointer, _ length: UInt32) -> UInt16? {
        guard let registered = unsafe registered else { return nil }
        let first = UInt(bitPattern: base)
        let last = first &+ UInt(length)
        if unsafe !registered[registeredLast].contains(first, last) {
            guard let index = (0..<registeredCount).first(where: { unsafe registered[$0].contains(first, last) }) else { return nil }
            registeredLast = index
        }
        return unsafe registered[registeredLast].place(first, last)
    }
}
