/// Where a queue is to run: the choice of a CPU, without side effects.
package struct Placement: Sendable, Equatable {
    /// The chosen CPU.
    package var cpu: Int
    /// Its NUMA node.
    package var node: Int
    /// What decided.
    package var reason: Reason

    /// A placement in its parts.
    package init(cpu: Int, node: Int, reason: Reason) {
        (self.cpu, self.node, self.reason) = (cpu, node, reason)
    }

    /// What a placement was decided by, in order of precedence.
    package enum Reason: String, Sendable {
        /// The export's CPU list.
        case cpus
        /// The node of the guest's memory.
        case guestMemory = "guest memory"
        /// The node of the backing's device.
        case backing
        /// Nothing but how much the pollers have to do.
        case load
        /// Somebody asked for this CPU while the queue ran.
        case hand = "by hand"
        /// The guest's memory is not all there: a poller that only this export's queues use.
        case postcopy = "post-copy"
    }

    /// A CPU that a poller may be pinned to.
    package struct Candidate: Sendable, Equatable {
        package var cpu: Int
        package var node: Int
        /// Queues on it, of all exports.
        package var queueCount: Int
        /// Queues on it of the export that is being placed.
        package var ownQueueCount: Int

        /// A candidate in its parts.
        package init(cpu: Int, node: Int, queueCount: Int, ownQueueCount: Int) {
            (self.cpu, self.node, self.queueCount, self.ownQueueCount) = (cpu, node, queueCount, ownQueueCount)
        }
    }

    /// Chooses among the candidates: by hand, else on the node of the guest's memory, else on the backing's, else anywhere; within that
    /// the queues of one export spread first, then the load decides, then the lower number. Nil when no candidate is left.
    package static func choose(among candidates: [Candidate], cpus: [Int]?, memoryNode: Int?, backingNode: Int?) -> Placement? {
        let (reason, eligible) = choices(among: candidates, cpus: cpus, memoryNode: memoryNode, backingNode: backingNode)
        return eligible.min { ($0.ownQueueCount, $0.queueCount, $0.cpu) < ($1.ownQueueCount, $1.queueCount, $1.cpu) }
            .map { Placement(cpu: $0.cpu, node: $0.node, reason: reason) }
    }

    /// The candidates that come into question, and what limits them to those.
    package static func choices(
        among candidates: [Candidate], cpus: [Int]?, memoryNode: Int?, backingNode: Int?
    ) -> (reason: Reason, candidates: [Candidate]) {
        if let cpus { return (.cpus, candidates.filter { cpus.contains($0.cpu) }) }
        if Set(candidates.map(\.node)).count > 1 {
            for (reason, node) in [(Reason.guestMemory, memoryNode), (.backing, backingNode)] {
                let eligible = candidates.filter { $0.node == node }
                if node != nil, !eligible.isEmpty { return (reason, eligible) }
            }
        }
        return (.load, candidates)
    }
}
