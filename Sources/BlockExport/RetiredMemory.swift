internal import Virtio

/// Memory tables that were replaced while requests were in flight: each stays mapped until the last request that points into it is done.
///
/// The kernel may still write a read's data, and the queue its status byte, through the old mapping; unmapping it earlier would turn that
/// into a fault or, once the addresses are reused, into somebody else's memory.
struct RetiredMemory {
    private struct Entry {
        var epoch: UInt32
        var memory: GuestMemory
        var remaining: Int
    }

    private var entries: [Entry] = []

    /// Keeps a table until `inFlight` requests of its epoch have ended.
    ///
    /// - Parameter inFlight: all requests in flight, of this epoch and of earlier ones.
    mutating func retire(_ memory: GuestMemory, epoch: UInt32, inFlight: Int) {
        let own = inFlight - entries.reduce(0) { $0 + $1.remaining }
        precondition(own >= 0)
        if own > 0 { entries.append(Entry(epoch: epoch, memory: memory, remaining: own)) }
    }

    /// Tells that a request of an earlier epoch ended; lets go of the table with its last one.
    mutating func requestEnded(epoch: UInt32) {
        guard let index = entries.firstIndex(where: { $0.epoch == epoch }) else { preconditionFailure("a request outlived its memory") }
        entries[index].remaining -= 1
        if entries[index].remaining == 0 { entries.remove(at: index) }
    }

    /// The table of an earlier epoch of which a request is in flight.
    func memory(epoch: UInt32) -> GuestMemory {
        guard let entry = entries.first(where: { $0.epoch == epoch }) else { preconditionFailure("a request outlived its memory") }
        return entry.memory
    }

    /// Tables that are still kept.
    var count: Int { entries.count }
}
