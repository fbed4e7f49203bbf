import Virtio

/// Counts the stores that rings make to shared memory and stops the daemon after one of them.
///
/// Nothing can be stopped in the middle of a call, so the world keeps an image of the shared memory instead, lets the call run to its end
/// and puts the image back: what a `kill -9` after that store would have left.
final class StoreClock {
    /// The one of the simulation that runs. Simulations of one process take turns, see `Simulation.run`.
    nonisolated(unsafe) static var current: StoreClock?

    /// The rule that rings break.
    let broken: OrderingRule?
    /// Stores so far.
    private(set) var count: UInt64 = 0
    /// The daemon is dead: what it still does is to leave no trace.
    private(set) var isDead = false
    /// Keeps the image.
    var onDeath: () -> Void = {}
    private var left = 0
    /// How many stores in a row went near the one before, and where the last one went.
    private var runLength = 0
    private var lastAddress = 0
    /// An entry of a packed region; and more stores in a row than rings make for their requests.
    private static let nearBytes = 64
    private static let runMax = 64

    init(breaking broken: OrderingRule?) { self.broken = broken }

    /// Makes the daemon die after so many stores more.
    func arm(stores: Int) { if left == 0 { left = stores } }

    /// Makes the daemon die between two stores.
    func dieNow() {
        isDead = true
        onDeath()
    }

    /// The next daemon lives.
    func restart() {
        isDead = false
        left = 0
    }

    func didStore(at address: Int) {
        count &+= 1
        guard left > 0, !isDead else { return }
        // A fresh region has thousands of stores to one entry after the other: the daemon dies in the first or the last of them.
        runLength = abs(address - lastAddress) <= Self.nearBytes ? runLength + 1 : 0
        lastAddress = address
        guard runLength < Self.runMax else { return }
        left -= 1
        guard left == 0 else { return }
        isDead = true
        onDeath()
    }
}

/// What a simulated ring tells of its stores.
struct SimulatedObserver: StoreObserver {
    init() {}

    mutating func didStore(_ address: UnsafeMutableRawPointer, size: Int) {
        unsafe StoreClock.current?.didStore(at: Int(bitPattern: address))
    }

    static func breaks(_ rule: OrderingRule) -> Bool { unsafe StoreClock.current?.broken == rule }
}
