import BlockIO

/// The way from a queue to the simulated disk, which also watches the order in which requests come.
@safe
final class SimulatedChannel: IOChannel {
    private let disk: SimulatedDisk
    private let clock: StoreClock
    private let order: RequestOrder
    private let queue: Int

    init(queue: Int, disk: SimulatedDisk, clock: StoreClock, order: RequestOrder) {
        self.queue = queue
        self.disk = disk
        self.clock = clock
        self.order = order
    }

    func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        let operation = unsafe DiskOperation(operation)
        disk.add(operation, isDead: clock.isDead)
        if !clock.isDead { order.begin(operation.requestNumber, queue: queue) }
    }

    func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {
        disk.cancelQueued { unsafe $0.isOf(completions) }
    }

    func close() {}

    var counters: IOChannelCounters { IOChannelCounters() }
}

/// The order in which the daemons took the guest's requests: one in flight at a crash is done again in its place, before any new one.
final class RequestOrder {
    /// When each request was taken first.
    private var taken: [UInt64: Int] = [:]
    /// By queue, of the daemon that lives: what it has begun, the last of what it did again, whether it took something new.
    private var begun: [Set<UInt64>]
    private var lastAgain: [Int]
    private var tookNew: [Bool]
    /// Requests that a dead daemon had taken and that were begun again.
    private(set) var againCount: UInt64 = 0
    /// Something that no correct daemon does.
    private(set) var problem: String?

    init(queueCount: Int) {
        begun = Array(repeating: [], count: queueCount)
        lastAgain = Array(repeating: -1, count: queueCount)
        tookNew = Array(repeating: false, count: queueCount)
    }

    /// A request came to its channel.
    func begin(_ number: UInt64, queue: Int) {
        // A request of several ranges comes several times.
        guard begun[queue].insert(number).inserted else { return }
        guard let place = taken[number] else {
            taken[number] = taken.count
            tookNew[queue] = true
            return
        }
        againCount += 1
        if tookNew[queue] { problem = "request \(number) is done again after a new one was taken" }
        if place < lastAgain[queue] { problem = "request \(number) is done again out of order" }
        lastAgain[queue] = place
    }

    /// Another daemon, or another start of the rings.
    func restart() {
        for queue in begun.indices {
            begun[queue] = []
            lastAgain[queue] = -1
            tookNew[queue] = false
        }
    }
}
