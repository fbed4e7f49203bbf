import LinuxSystem

/// A fixed number of aligned buffers for transfers whose memory the kernel does not take. Misaligned guest buffers are legal (virtio 1.2,
/// 2.6.4) and rare, so few buffers do; who finds none waits.
///
/// Safety: the buffers lie in `memory`, which the pool keeps; each is in the free list or in use by one operation.
@safe
struct BouncePool {
    /// Bytes of each buffer; larger transfers go in pieces.
    static let bufferSize = 128 << 10
    static let bufferCount = 32

    private let memory: MemoryMapping
    private var free: UnsafeMutablePointer<UnsafeMutableRawPointer>
    private var freeCount: Int

    /// Reserves address space on `node`; pages are taken as buffers are used.
    init(node: Int?) throws(SystemError) {
        memory = try MemoryMapping(anonymous: Self.bufferSize * Self.bufferCount, node: node)
        unsafe free = .allocate(capacity: Self.bufferCount)
        freeCount = Self.bufferCount
        for index in 0..<freeCount {
            unsafe (free + index).initialize(to: memory.base + index * Self.bufferSize)
        }
    }

    /// A buffer, or nil when all are in use.
    mutating func take() -> UnsafeMutableRawPointer? {
        guard freeCount > 0 else { return nil }
        freeCount -= 1
        return unsafe free[freeCount]
    }

    /// Returns a buffer.
    mutating func give(_ buffer: UnsafeMutableRawPointer) {
        unsafe free[freeCount] = buffer
        freeCount += 1
    }

    /// Frees what the struct owns besides `memory`; it must not be used after that.
    func destroy() { unsafe free.deallocate() }
}
