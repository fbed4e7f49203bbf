import CLibURing
import Glibc
public import LinuxSystem

/// Guest memory that io_uring keeps mapped and pinned, so that transfers to and from it need not look up and pin its pages each time.
///
/// Pinning brings every page into memory and counts against RLIMIT_MEMLOCK: for guests whose memory is there anyway. It may take long and
/// must happen on the engine's thread. Channels use it after `URingChannel.use`; a piece of I/O that does not lie in one registered piece
/// goes the usual way.
///
/// Safety: the table is allocated in init and freed in deinit; channels that use it retain this object.
@safe
public final class RegisteredMemory {
    /// A part of a range, as large as one entry of io_uring's table may be.
    struct Piece {
        let start: UInt
        let end: UInt
        let index: UInt16
    }

    /// The kernel's limit for one entry (io_uring_register(2)).
    static let pieceSizeMax = 1 << 30

    private let engine: URingEngine
    let table: UnsafeMutablePointer<Piece>
    let count: Int
    private var isClosed = false

    /// Registers `ranges` of mapped memory. Fails with ENOMEM when RLIMIT_MEMLOCK or io_uring's table does not allow it, and with EOPNOTSUPP
    /// on kernels before 5.19; nothing is registered then.
    public init(_ ranges: [IOVector], on engine: URingEngine) throws(SystemError) {
        var parts: [IOVector] = []
        for range in ranges {
            var offset = 0
            while offset < range.length {
                let length = min(Self.pieceSizeMax, range.length - offset)
                parts.append(unsafe IOVector(base: range.base + offset, length: length))
                offset += length
            }
        }
        let places = try unsafe engine.state.pointee.buffers.add(parts)
        self.engine = engine
        count = parts.count
        unsafe table = .allocate(capacity: max(count, 1))
        for (index, part) in parts.enumerated() {
            let start = unsafe UInt(bitPattern: part.base)
            let piece = Piece(start: start, end: start + UInt(part.length), index: UInt16(places[index]))
            unsafe (table + index).initialize(to: piece)
        }
    }

    deinit {
        precondition(isClosed, "registered memory is closed on its engine's thread before it goes")
        unsafe table.deallocate()
    }

    /// Unpins the memory, on the engine's thread; no channel may use it any more. Operations in flight keep what they need.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        for index in 0..<count { unsafe engine.state.pointee.buffers.remove(Int(table[index].index)) }
    }
}

/// io_uring's table of registered buffers.
///
/// Safety: holds only the ring's pointer, which the engine's state keeps.
@safe
struct URingBufferTable {
    private static let capacity = 1024
    private let ring: UnsafeMutablePointer<io_uring>
    private var free: [Int] = []
    private var isRegistered = false

    init(_ ring: UnsafeMutablePointer<io_uring>) {
        unsafe self.ring = ring
    }

    /// Registers all of `parts`, or none, and returns their places.
    mutating func add(_ parts: [IOVector]) throws(SystemError) -> [Int] {
        let what = "register \(parts.count) pieces of memory with io_uring"
        if !isRegistered {
            guard unsafe io_uring_register_buffers_sparse(ring, UInt32(Self.capacity)) == 0 else {
                throw SystemError(what, errno: EOPNOTSUPP)
            }
            isRegistered = true
            free = Array((0..<Self.capacity).reversed())
        }
        guard parts.count <= free.count else { throw SystemError(what, errno: ENOMEM) }
        var places: [Int] = []
        for part in parts {
            let place = free.removeLast()
            let status = update(place, part)
            guard status >= 0 else {
                free.append(place)
                for done in places { remove(done) }
                throw SystemError(what, errno: status)
            }
            places.append(place)
        }
        return places
    }

    /// Clears a place.
    mutating func remove(_ place: Int) {
        _ = update(place, nil)
        free.append(place)
    }

    private func update(_ place: Int, _ part: IOVector?) -> Int32 {
        var vector = unsafe iovec(iov_base: part?.base, iov_len: part?.length ?? 0)
        var tag: UInt64 = 0
        return unsafe io_uring_register_buffers_update_tag(ring, UInt32(place), &vector, &tag, 1)
    }
}
