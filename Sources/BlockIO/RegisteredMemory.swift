import CLibURing
import Glibc
public import LinuxSystem

/// A range of guest memory that io_uring keeps mapped and pinned, so that transfers to and from it need not look up and pin its pages each time.
///
/// Pinning brings every page into memory, counts against RLIMIT_MEMLOCK and must happen on the engine's thread, which stands still meanwhile:
/// so it is done piece by piece, and channels use a piece from the moment it is pinned. A piece of I/O that does not lie in one pinned piece
/// goes the usual way. A page that is taken out of its file afterwards (a balloon, free page reporting) stays pinned and is the guest's no more:
/// see docs/architecture.md, "Registered memory".
///
/// Safety: the table is allocated in init and freed in deinit; channels that use it retain this object.
@safe
public final class RegisteredMemory {
    /// Bytes of one piece, a power of two: the most that is pinned in one go, and what one entry of io_uring's table is for.
    public static let pieceSize = 1 << pieceShift
    static let pieceShift: UInt = 24

    /// Whose ring it is registered with.
    public let engine: URingEngine
    /// The memory as it is mapped here.
    public let range: IOVector
    /// Places of the pieces in io_uring's table, or -1 for pieces that are not pinned.
    let places: UnsafeMutablePointer<Int32>
    private let pieceCount: Int
    private var pinnedCount = 0

    /// Describes mapped memory, at least a byte; none of it is pinned yet.
    public init(_ range: IOVector, on engine: URingEngine) {
        precondition(range.length > 0, "a range has bytes")
        self.engine = engine
        self.range = range
        pieceCount = (range.length - 1) >> Int(Self.pieceShift) + 1
        unsafe places = .allocate(capacity: pieceCount)
        unsafe places.initialize(repeating: -1, count: pieceCount)
    }

    deinit {
        precondition(pinnedCount == 0, "registered memory is unpinned on its engine's thread before it goes")
        unsafe places.deallocate()
    }

    /// Bytes that are pinned.
    public var byteCount: Int { min(pinnedCount << Int(Self.pieceShift), range.length) }

    /// Pins the next piece; whether there is one more after it. On the engine's thread.
    ///
    /// - Throws: ENOMEM when RLIMIT_MEMLOCK or io_uring's table does not allow it, EOPNOTSUPP on kernels before 5.19 and for files of a disk's file
    ///   system; what was pinned before stays.
    public func pinNext() throws(SystemError) -> Bool {
        guard pinnedCount < pieceCount else { return false }
        let offset = pinnedCount << Int(Self.pieceShift)
        let piece = unsafe IOVector(base: range.base + offset, length: min(Self.pieceSize, range.length - offset))
        unsafe places[pinnedCount] = try engine.state.pointee.buffers.add(piece)
        pinnedCount += 1
        return pinnedCount < pieceCount
    }

    /// Unpins the last piece that is pinned; whether there is one more. On the engine's thread. Operations in flight keep what they need,
    /// channels go the usual way from now on.
    public func unpinNext() -> Bool {
        guard pinnedCount > 0 else { return false }
        pinnedCount -= 1
        unsafe engine.state.pointee.buffers.remove(places[pinnedCount])
        unsafe places[pinnedCount] = -1
        return pinnedCount > 0
    }
}

/// What a channel looks up: a ``RegisteredMemory`` as numbers.
///
/// Safety: `places` is that of a `RegisteredMemory` that the channel retains.
@safe
struct RegisteredRange {
    let start: UInt
    let end: UInt
    let places: UnsafeMutablePointer<Int32>

    init(_ memory: RegisteredMemory) {
        start = unsafe UInt(bitPattern: memory.range.base)
        end = start + UInt(memory.range.length)
        unsafe places = memory.places
    }

    /// Whether all the bytes from `first` to before `last`, at least one, are here.
    @inline(__always)
    func contains(_ first: UInt, _ last: UInt) -> Bool { first >= start && last <= end }

    /// The place of the piece that holds all of the bytes, which are here; nil when they lie in two, or in one that is not pinned.
    @inline(__always)
    func place(_ first: UInt, _ last: UInt) -> UInt16? {
        let piece = (first &- start) >> RegisteredMemory.pieceShift
        guard (last &- 1 &- start) >> RegisteredMemory.pieceShift == piece else { return nil }
        let place = unsafe places[Int(piece)]
        return place < 0 ? nil : UInt16(truncatingIfNeeded: place)
    }
}

/// io_uring's table of registered buffers.
///
/// Safety: holds only the ring's pointer, which the engine's state keeps.
@safe
struct URingBufferTable {
    /// The kernel's limit, IORING_MAX_REG_BUFFERS: 256 GiB of memory in whole pieces.
    private static let capacity: Int32 = 1 << 14
    private let ring: UnsafeMutablePointer<io_uring>
    private var free: [Int32] = []
    private var isRegistered = false

    init(_ ring: UnsafeMutablePointer<io_uring>) {
        unsafe self.ring = ring
    }

    /// Registers a piece of memory and returns its place.
    mutating func add(_ piece: IOVector) throws(SystemError) -> Int32 {
        let what = "register memory with io_uring"
        if !isRegistered {
            guard unsafe io_uring_register_buffers_sparse(ring, UInt32(Self.capacity)) == 0 else {
                throw SystemError(what, errno: EOPNOTSUPP)
            }
            isRegistered = true
            free = Array((0..<Self.capacity).reversed())
        }
        guard let place = free.last else { throw SystemError(what, errno: ENOMEM) }
        let status = update(place, piece)
        guard status >= 0 else { throw SystemError(what, errno: status) }
        free.removeLast()
        return place
    }

    /// Clears a place.
    mutating func remove(_ place: Int32) {
        _ = update(place, nil)
        free.append(place)
    }

    private func update(_ place: Int32, _ piece: IOVector?) -> Int32 {
        var vector = unsafe iovec(iov_base: piece?.base, iov_len: piece?.length ?? 0)
        var tag: UInt64 = 0
        return unsafe io_uring_register_buffers_update_tag(ring, UInt32(place), &vector, &tag, 1)
    }
}
