/// One operation, decided on and perhaps not submitted yet.
struct Operation {
    var kind: OperationKind
    var block: UInt64
    /// When it was submitted.
    var start: UInt64 = 0
}

/// A job's requests in flight, and a stack of the slots that are free; used by the job's thread alone.
@safe
final class SlotTable {
    // The memory is this object's own: taken in init, given back in deinit; slots are numbers that `pop` gave out.
    private let operations: UnsafeMutablePointer<Operation>
    private let free: UnsafeMutablePointer<Int32>
    private(set) var freeCount: Int
    let count: Int

    init(count: Int) {
        self.count = count
        freeCount = count
        unsafe operations = .allocate(capacity: count)
        unsafe free = .allocate(capacity: count)
        unsafe operations.initialize(repeating: Operation(kind: .flush, block: 0), count: count)
        for index in 0..<count { unsafe (free + index).initialize(to: Int32(count - 1 - index)) }
    }

    deinit {
        unsafe operations.deallocate()
        unsafe free.deallocate()
    }

    var inFlight: Int { count - freeCount }

    @inline(__always)
    subscript(slot: Int) -> Operation {
        get { unsafe operations[slot] }
        set { unsafe operations[slot] = newValue }
    }

    @inline(__always)
    func pop() -> Int {
        precondition(freeCount > 0, "no slot is free")
        freeCount -= 1
        return unsafe Int(free[freeCount])
    }

    @inline(__always)
    func push(_ slot: Int) {
        precondition(freeCount < count, "a slot came back twice")
        unsafe free[freeCount] = Int32(truncatingIfNeeded: slot)
        freeCount += 1
    }
}
