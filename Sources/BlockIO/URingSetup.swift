public import LinuxSystem

/// An io_uring that is made and that nobody can submit to yet. Any thread may make one; the thread that is to use it makes its engine of it,
/// so that this thread need not be allowed to make rings at all (docs/sandbox.md).
///
/// `@unchecked Sendable`: the ring is handed over whole, once.
public final class URingSetup: @unchecked Sendable {
    /// The most operations with the kernel at once.
    let depth: Int
    /// Where its memory is to be.
    let node: Int?
    private let ring: Locked<Handed?>

    /// Carries the ring's addresses, which nobody follows before it is taken.
    private struct Handed: @unchecked Sendable {
        let ring: URingRing
    }

    /// Makes a ring for `depth` operations with the kernel at once, 1 to 16384, with its memory on `node`. With `isPolled` completions are
    /// asked for at the device. Fails with EPERM or ENOSYS where io_uring is not allowed (see `URingSupport`).
    public init(depth: Int = 1024, node: Int? = nil, isPolled: Bool = false) throws(SystemError) {
        precondition((1...16384).contains(depth), "the depth of an engine is 1 to 16384")
        self.depth = depth
        self.node = node
        ring = Locked(Handed(ring: try NUMA.preferring(node) { () throws(SystemError) in try URingRing(depth: depth, isPolled: isPolled) }))
    }

    deinit { ring.withLock { $0 }?.ring.destroy() }

    /// The ring, for the one who asks first.
    func take() -> URingRing {
        let taken = ring.withLock { ring in
            defer { ring = nil }
            return ring
        }
        guard let taken else { preconditionFailure("an engine has a ring of its own") }
        return taken.ring
    }
}
