/// Operations in order of arrival, linked through `IOOperation.next`; nothing is allocated.
///
/// Safety: every operation in it is in place until it is taken out (see `IOOperation`).
@safe
struct OperationQueue {
    private var head: UnsafeMutablePointer<IOOperation>?
    private var tail: UnsafeMutablePointer<IOOperation>?

    var isEmpty: Bool { unsafe head == nil }

    /// Adds at the end.
    mutating func append(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe operation.pointee.next = nil
        if let last = unsafe tail {
            unsafe last.pointee.next = operation
        } else {
            unsafe head = operation
        }
        unsafe tail = operation
    }

    /// Puts an operation that was taken back to its place before all others.
    mutating func prepend(_ operation: UnsafeMutablePointer<IOOperation>) {
        unsafe operation.pointee.next = head
        if unsafe head == nil { unsafe tail = operation }
        unsafe head = operation
    }

    /// Takes the first.
    mutating func pop() -> UnsafeMutablePointer<IOOperation>? {
        guard let first = unsafe head else { return nil }
        unsafe head = first.pointee.next
        if unsafe head == nil { unsafe tail = nil }
        return unsafe first
    }

    /// Takes out what belongs to `completions`, in order; the others keep theirs.
    mutating func takeAll(of completions: UnsafeMutablePointer<IOCompletionList>) -> OperationQueue {
        var kept = OperationQueue()
        var taken = OperationQueue()
        while let operation = unsafe pop() {
            if unsafe operation.pointee.completions == completions {
                unsafe taken.append(operation)
            } else {
                unsafe kept.append(operation)
            }
        }
        self = kept
        return taken
    }
}
