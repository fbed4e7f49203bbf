import LinuxSystem
import Synchronization

/// What a job tells the main thread while it runs, and what it is told; all of it relaxed, since nothing else hangs on it.
final class JobMonitor: Sendable {
    /// How a job is to go on.
    enum Command: UInt8 {
        /// Work.
        case run
        /// Begin nothing new, wait for what is in flight.
        case drain
        /// End at once.
        case abort
    }

    /// Completed requests by direction.
    let reads = Atomic<UInt64>(0)
    let writes = Atomic<UInt64>(0)
    let trims = Atomic<UInt64>(0)
    /// Blocks read back, and how many there are to read.
    let verified = Atomic<UInt64>(0)
    let verifyTotal = Atomic<UInt64>(0)
    let isDone = Atomic<Bool>(false)
    private let command = Atomic<UInt8>(Command.run.rawValue)
    /// Counts reconnections: a job that waits for a lost back-end begins its time-out again.
    let reconnections = Atomic<UInt64>(0)
    private let outcome = Locked<JobResult?>(nil)

    func tell(_ command: Command) { self.command.store(command.rawValue, ordering: .relaxed) }

    var told: Command { Command(rawValue: command.load(ordering: .relaxed)) ?? .run }

    func finish(_ result: JobResult) {
        outcome.withLock { $0 = result }
        isDone.store(true, ordering: .releasing)
    }

    /// The result, once `isDone`.
    var result: JobResult? { outcome.withLock { $0 } }

    /// Completed requests: reads, writes, trims.
    var counts: [UInt64] { [reads.load(ordering: .relaxed), writes.load(ordering: .relaxed), trims.load(ordering: .relaxed)] }
}
