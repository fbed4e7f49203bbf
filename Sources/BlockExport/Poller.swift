internal import BlockIO
internal import LinuxSystem
internal import Synchronization

/// A pinned thread that runs queues. The rest of the process talks to it by posting jobs; they run between two turns.
final class Poller: Sendable {
    /// The CPU the thread is pinned to.
    let cpu: Int
    /// That CPU's NUMA node.
    let node: Int

    /// A job for the poller's thread.
    typealias Job = @Sendable (PollerLoop) -> Void

    private let mail = Locked<[Job]>([])
    private let hasMail = Atomic<Bool>(false)
    private let wake: EventFD
    private let thread = Locked<PinnedThread?>(nil)
    /// The io_urings of the poller's thread, by whether they are polled.
    private let rings = Locked<[Bool: Ring]>([:])
    /// What the poller tells of itself.
    let gauges = PollerGauges()

    /// What became of one of the two io_urings.
    private enum Ring {
        /// It waits for the thread.
        case made(URingSetup)
        /// The kernel did not make it.
        case refused(SystemError)
        /// The thread has it.
        case taken
    }

    /// Starts the thread.
    init(cpu: Int, node: Int, name: String = "poller") throws(SystemError) {
        self.cpu = cpu
        self.node = node
        wake = try EventFD()
        let epoll = try Epoll()
        try epoll.add(wake.descriptor.rawValue, .readable, token: PollerLoop.wakeToken)
        let started = try PinnedThread(name: "\(name)-\(cpu)", cpu: cpu, role: .poller) { [self] in
            // Without it a front-end's descriptor could hold the poller up for ever; there is no poller then.
            do throws(SystemError) { try PinnedThread.allowInterrupts() } catch { fatalError("poller \(cpu): \(error)") }
            PollerLoop(poller: self, epoll: epoll).run()
        }
        thread.withLock { $0 = started }
    }

    /// Makes the io_uring that queues with this engine need, unless there is one: the thread itself may not (docs/sandbox.md). To be called
    /// before such a queue is given to the thread, by a thread that may; not for the poller's.
    func prepare(for choice: EngineChoice) {
        guard choice.engine == .ioURing else { return }
        let isPolled = choice.pollsCompletions
        rings.withLock { rings in
            switch rings[isPolled] {
            case .made, .taken: return
            case .refused, nil: break
            }
            do throws(SystemError) {
                rings[isPolled] = .made(try URingSetup(node: node, isPolled: isPolled))
            } catch {
                rings[isPolled] = .refused(error)
            }
        }
    }

    /// Makes an engine of the io_uring that was prepared; on the poller's thread.
    func takeRing(isPolled: Bool) throws(SystemError) -> URingEngine {
        let ring = rings.withLock { rings in
            defer { rings[isPolled] = .taken }
            return rings[isPolled]
        }
        do throws(SystemError) {
            switch ring {
            case .made(let setup): return try URingEngine(setup, pollerCPU: cpu)
            case .refused(let error): throw error
            case .taken, nil: preconditionFailure("a ring is prepared for each queue that needs one")
            }
        } catch {
            // The next queue's preparation tries again.
            rings.withLock { $0[isPolled] = .refused(error) }
            throw error
        }
    }

    /// Runs a job on the poller's thread, soon; any thread may call.
    func post(_ job: @escaping Job) {
        mail.withLock { $0.append(job) }
        // Release: the poller that sees the flag sees the job (the mutex would do; the flag only saves taking it each turn).
        hasMail.store(true, ordering: .releasing)
        wake.signal()
    }

    /// The jobs posted since the last call; poller only.
    @inline(__always)
    func takeMail() -> [Job]? {
        guard hasMail.load(ordering: .relaxed) else { return nil }
        return drainMail()
    }

    @inline(never)
    private func drainMail() -> [Job] {
        // Cleared before the list is taken: a job posted in between is either in this list or raises the flag again.
        hasMail.store(false, ordering: .relaxed)
        return mail.withLock { jobs in
            defer { jobs = [] }
            return jobs
        }
    }

    /// The sleep ended by a post: its signal is taken here, after which the flag, raised before the signal, is seen.
    func wasWoken() { wake.drain() }

    /// Processor time the thread has used, nanoseconds; any thread.
    var cpuNanoseconds: UInt64 { thread.withLock { $0?.cpuNanoseconds ?? 0 } }

    /// Ends a system call in which the thread waits; any other thread.
    func interrupt() { thread.withLock { $0 }?.interrupt() }

    /// Ends the thread, which must run no queues, and waits for it. Not from the poller itself.
    func shutdown() {
        post { loop in loop.isEnding = true }
        thread.withLock { $0 }?.join()
    }
}
