public import LinuxSystem

/// Spreads the running queues of exports over their pollers anew, by what each does.
@ControlActor
public enum Rebalance {
    /// A queue that was moved.
    public struct Move: Sendable, Equatable {
        /// The export's name.
        public var export: String
        /// The queue's index.
        public var queue: Int
        /// The CPU whose poller runs it now.
        public var cpu: Int
    }

    /// For how long the queues are looked at, nanoseconds: a quarter of a second.
    public static let windowNanoseconds: UInt64 = 250_000_000

    /// Looks at the queues of all these exports for a while, and moves those that are better elsewhere, moved by hand or not. What cannot move
    /// now stays. The exports have their pollers in common.
    public static func run(_ exports: [Export]) async -> [Move] {
        for export in exports { export.device.cpuByHand = [:] }
        let before = work(of: exports)
        await withCheckedContinuation { continuation in
            EventLoop.control.after(nanoseconds: windowNanoseconds) { continuation.resume() }
        }
        let after = work(of: exports)
        var devices: [QueueIdentity: ExportDevice] = [:]
        var queues: [LoadPlan.Queue] = []
        for device in exports.map(\.device) {
            for queue in device.queues {
                guard let running = queue.running else { continue }
                devices[queue.identity] = device
                let load = (after[queue.identity] ?? 0) &- (before[queue.identity] ?? after[queue.identity] ?? 0)
                queues.append(
                    LoadPlan.Queue(
                        identity: queue.identity, cpu: running.poller.cpu, load: load, choices: device.choices(of: queue, running)))
            }
        }
        var plan = LoadPlan(queues, cpuCount: Set(queues.flatMap(\.choices)).count)
        var moved: [Move] = []
        for (identity, cpu) in plan.moves() where await devices[identity]?.moveByLoad(queue: identity.index, to: cpu) == true {
            moved.append(Move(export: identity.export, queue: identity.index, cpu: cpu))
        }
        return moved
    }

    private static func work(of exports: [Export]) -> [QueueIdentity: UInt64] {
        var work: [QueueIdentity: UInt64] = [:]
        for queue in exports.flatMap(\.device.queues) { work[queue.identity] = queue.counters.work }
        return work
    }
}
