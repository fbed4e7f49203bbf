/// A list of objects that somebody else keeps, for loops that must not touch reference counts: each would be an atomic operation.
///
/// One thread uses it. It has a place of its own in memory, so that looking at it is no access to the object that has it.
@safe
struct ReferenceList<Element: AnyObject> {
    // @safe: `items` holds `count` references to objects that the list's owner keeps for as long as they are in it; freed by `destroy`.
    @safe
    private struct Storage {
        var items: UnsafeMutablePointer<Unmanaged<Element>>
        var count: Int
        var capacity: Int
    }

    private let storage: UnsafeMutablePointer<Storage>

    /// An empty list.
    init() {
        unsafe storage = .allocate(capacity: 1)
        unsafe storage.initialize(to: Storage(items: .allocate(capacity: 8), count: 0, capacity: 8))
    }

    /// Frees the list's own memory.
    func destroy() {
        unsafe storage.pointee.items.deallocate()
        unsafe storage.deallocate()
    }

    /// Number of objects.
    @inline(__always)
    var count: Int { unsafe storage.pointee.count }

    /// Calls `body` with an object; `index` is below ``count``.
    @inline(__always)
    func with<Result>(_ index: Int, _ body: (Element) -> Result) -> Result {
        assert(index < count)
        return unsafe storage.pointee.items[index]._withUnsafeGuaranteedRef(body)
    }

    /// Adds an object at the end.
    func append(_ element: Element) {
        if unsafe storage.pointee.count == storage.pointee.capacity { grow() }
        unsafe (storage.pointee.items + storage.pointee.count).initialize(to: .passUnretained(element))
        unsafe storage.pointee.count += 1
    }

    /// Takes an object out, if it is there; the others keep their order.
    func remove(_ element: Element) {
        let items = unsafe storage.pointee.items
        guard let index = (0..<count).first(where: { unsafe items[$0].toOpaque() == Unmanaged.passUnretained(element).toOpaque() }) else {
            return
        }
        for next in index + 1..<count { unsafe items[next - 1] = items[next] }
        unsafe storage.pointee.count -= 1
    }

    private func grow() {
        let capacity = unsafe 2 * storage.pointee.capacity
        let items = UnsafeMutablePointer<Unmanaged<Element>>.allocate(capacity: capacity)
        unsafe items.moveInitialize(from: storage.pointee.items, count: count)
        unsafe storage.pointee.items.deallocate()
        unsafe storage.pointee.items = items
        unsafe storage.pointee.capacity = capacity
    }
}
