/// Where running queues would be better, by what each of them did of late: a choice without side effects.
package struct LoadPlan: Sendable {
    /// A running queue.
    package struct Queue: Sendable {
        /// Which one.
        package var identity: QueueIdentity
        /// Where it runs.
        package var cpu: Int
        /// What it did in the time that was looked at: requests, and 16 KiB of data count as one more.
        package var load: UInt64
        /// The CPUs it may run on: its export's, on the right node. None when it cannot move now.
        package var choices: [Int]

        /// A queue in its parts.
        package init(identity: QueueIdentity, cpu: Int, load: UInt64, choices: [Int]) {
            (self.identity, self.cpu, self.load, self.choices) = (identity, cpu, load, choices)
        }
    }

    /// Loads below this are those of idle queues.
    package static let idleLoad: UInt64 = 25
    /// How often all queues are gone through: each move may make another one worth while.
    private static let passesMax = 4

    private var queues: [Queue]
    /// Loads that differ by no more are alike: a tenth of what a CPU has on average.
    private let tolerance: UInt64

    /// Plans for these queues; on `cpuCount` CPUs.
    package init(_ queues: [Queue], cpuCount: Int) {
        self.queues = queues.map {
            var queue = $0
            if queue.load < Self.idleLoad { queue.load = 0 }
            return queue
        }
        tolerance = self.queues.reduce(0) { $0 + $1.load } / (10 * UInt64(max(cpuCount, 1)))
    }

    /// The queues that are to move, and where: the busiest choose first; each goes where least is done, among alike CPUs where its export has
    /// the fewest queues, then where the fewest queues are. What is as good where it is stays.
    package mutating func moves() -> [(queue: QueueIdentity, cpu: Int)] {
        let before = queues.map(\.cpu)
        let order = queues.indices.sorted { queues[$0].load > queues[$1].load }
        for _ in 0..<Self.passesMax {
            var hasMoved = false
            for index in order {
                guard let cpu = better(index) else { continue }
                queues[index].cpu = cpu
                hasMoved = true
            }
            if !hasMoved { break }
        }
        return queues.indices.filter { queues[$0].cpu != before[$0] }.map { (queues[$0].identity, queues[$0].cpu) }
    }

    /// What a CPU has besides one queue.
    private struct Others {
        var load: UInt64 = 0
        var own = 0
        var count = 0
    }

    private func better(_ index: Int) -> Int? {
        let queue = queues[index]
        guard !queue.choices.isEmpty else { return nil }
        var others: [Int: Others] = [:]
        for (other, neighbour) in queues.enumerated() where other != index {
            others[neighbour.cpu, default: Others()].load += neighbour.load
            others[neighbour.cpu, default: Others()].count += 1
            if neighbour.identity.export == queue.identity.export { others[neighbour.cpu, default: Others()].own += 1 }
        }
        func of(_ cpu: Int) -> Others { others[cpu, default: Others()] }
        let limit = (queue.choices.map { of($0).load }.min() ?? 0) + tolerance
        let best = queue.choices.filter { of($0).load <= limit }.min { (of($0).own, of($0).count, $0) < (of($1).own, of($1).count, $1) }
        guard let best, best != queue.cpu else { return nil }
        let isFine = queue.choices.contains(queue.cpu) && of(queue.cpu).load <= limit
        return isFine && (of(queue.cpu).own, of(queue.cpu).count) <= (of(best).own, of(best).count) ? nil : best
    }
}
