import CLibURing

/// io_uring's table of registered files: an operation that names a place in it spares the kernel taking and dropping a reference.
///
/// Safety: the array is allocated in init and freed by `destroy`.
@safe
struct URingFileTable {
    private static let capacity = 1024
    private let ring: UnsafeMutablePointer<io_uring>
    private let free: UnsafeMutablePointer<Int32>
    private var freeCount: Int

    /// Registers an empty table; kernels before 5.19 have none, and then every place is taken.
    init(_ ring: UnsafeMutablePointer<io_uring>) {
        unsafe self.ring = ring
        unsafe free = .allocate(capacity: Self.capacity)
        freeCount = unsafe io_uring_register_files_sparse(ring, UInt32(Self.capacity)) == 0 ? Self.capacity : 0
        for index in 0..<Self.capacity { unsafe (free + index).initialize(to: Int32(Self.capacity - 1 - index)) }
    }

    func destroy() { unsafe free.deallocate() }

    /// Puts a descriptor into the table and returns its place, or -1 when there is none.
    mutating func add(_ descriptor: Int32) -> Int32 {
        guard freeCount > 0 else { return -1 }
        let place = unsafe free[freeCount - 1]
        var files = [descriptor]
        guard unsafe io_uring_register_files_update(ring, UInt32(place), &files, 1) == 1 else { return -1 }
        freeCount -= 1
        return place
    }

    /// Clears a place; nothing in flight may name it.
    mutating func remove(_ place: Int32) {
        guard place >= 0 else { return }
        var files: [Int32] = [-1]
        _ = unsafe io_uring_register_files_update(ring, UInt32(place), &files, 1)
        unsafe free[freeCount] = place
        freeCount += 1
    }
}
