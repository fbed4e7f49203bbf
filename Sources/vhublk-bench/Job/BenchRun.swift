import LinuxSystem
import Synchronization
import VhostUserFrontend

/// A whole run: connects, starts the jobs, watches them and the connection, gathers the results.
struct BenchRun {
    private let options: BenchOptions
    private let driver: BlockDriver
    private let plan: RunPlan
    private let monitors: [JobMonitor]
    private var samples: [RateSamples]
    private var sampled: [[UInt64]]
    private var recoveries: [Recovery] = []
    /// When the back-end was lost, until one that came back completes a request.
    private var lostAt: UInt64?
    private var reconnections: UInt64 = 0
    private var failure: String?
    private static let interval: UInt64 = 500_000_000

    init(_ options: BenchOptions) throws {
        self.options = options
        try RunPlan.checkOptions(options)
        driver = try Self.connect(options)
        plan = try RunPlan(options, features: driver.features, config: driver.config)
        monitors = plan.jobs.map { _ in JobMonitor() }
        samples = plan.jobs.map { _ in RateSamples() }
        sampled = plan.jobs.map { _ in [0, 0, 0] }
    }

    /// With --reconnect a back-end may also go away while the device is being started.
    private static func connect(_ options: BenchOptions) throws -> BlockDriver {
        let deadline = MonotonicClock.now() &+ options.device.timeout.nanoseconds
        while true {
            do {
                return try BlockDriver(path: options.socket, options: try driverOptions(options))
            } catch let error as FrontendError {
                guard options.device.reconnect, error.kind == .disconnected, MonotonicClock.now() < deadline else { throw error }
            }
        }
    }

    private static func driverOptions(_ options: BenchOptions) throws(BenchError) -> BlockDriverOptions {
        var driver = BlockDriverOptions()
        let segments = RunPlan.segmentCount(options)
        driver.queueCount = options.jobCount
        driver.timeoutNanoseconds = options.device.timeout.nanoseconds
        driver.patienceNanoseconds = 2_000_000_000
        driver.waitsForBackend = options.device.reconnect
        driver.tracksInflight = options.device.inflight == .on
        driver.usesIOMMU = options.device.iommu
        driver.scattersPages = options.device.scattered
        driver.layout = BlockQueueLayout(
            ringSize: try RunPlan.ringSize(options), format: options.device.packed ? .packed : .split,
            options: DriverRingOptions(
                eventIndex: options.device.eventIndex == .on, indirect: options.device.indirect == .on, indirectCapacity: segments + 2),
            slotCount: options.depth, slotBytes: Int(options.blockSize.bytes),
            segmentBytes: options.device.segmentBytes.map { Int(max(1, $0.bytes)) } ?? Int.max,
            usesIndirect: options.device.indirect == .on)
        return driver
    }

    /// Runs the jobs to their end.
    mutating func run() throws -> RunResult {
        Interrupts.watch()
        let startTime = WallClock.now()
        var threads: [PinnedThread] = []
        for (index, job) in plan.jobs.enumerated() {
            threads.append(try start(job, driver.queues[index], monitors[index]))
        }
        watch()
        for thread in threads { thread.join() }
        driver.close()
        return RunResult(
            jobs: monitors.compactMap(\.result), samples: samples, startTime: startTime, recoveries: recoveries, failure: failure)
    }

    private func start(_ job: JobPlan, _ queue: any BlockRequestQueue, _ monitor: JobMonitor) throws -> PinnedThread {
        // The concrete type, once: the loop is compiled for each ring format.
        if let split = queue as? BlockQueue<DriverSplitQueue> { return try launch(job, split, monitor) }
        if let packed = queue as? BlockQueue<DriverPackedQueue> { return try launch(job, packed, monitor) }
        preconditionFailure("a queue of an unknown format")
    }

    private func launch<Ring>(_ job: JobPlan, _ queue: BlockQueue<Ring>, _ monitor: JobMonitor) throws -> PinnedThread {
        try PinnedThread(name: "\(job.name)\(job.index)", cpu: job.cpu) {
            var runner = JobRunner(queue: queue, plan: job, monitor: monitor)
            runner.run()
        }
    }

    /// Until all jobs are done: progress, samples, and what becomes of the connection.
    private mutating func watch() {
        let begin = MonotonicClock.now()
        let progress = ProgressLine(plan: plan, options: options)
        var next = begin + Self.interval
        while !monitors.allSatisfy({ $0.isDone.load(ordering: .acquiring) }) {
            obeyInterrupts()
            let now = MonotonicClock.now()
            if isConnectionLost(waiting: Int64(clamping: min(20_000_000, next > now ? next - now : 0))) { handleLoss() }
            guard MonotonicClock.now() >= next else { continue }
            takeSamples()
            progress.show(monitors, elapsed: MonotonicClock.now() - begin)
            next += Self.interval
        }
        progress.clear()
    }

    /// The first interrupt ends the run and shows what was measured; the second does not wait for requests in flight.
    private mutating func obeyInterrupts() {
        guard Interrupts.count > 0 else { return }
        failure = failure ?? "interrupted: this is the result up to then"
        for monitor in monitors { monitor.tell(Interrupts.count > 1 ? .abort : .drain) }
    }

    private mutating func takeSamples() {
        for (index, monitor) in monitors.enumerated() where !monitor.isDone.load(ordering: .acquiring) {
            let counts = monitor.counts
            if counts != sampled[index] {
                let rates = zip(counts, sampled[index]).map { Double($0 - $1) * 1e9 / Double(Self.interval) }
                samples[index].append(rates)
            }
            sampled[index] = counts
        }
    }

    /// Waits a little; true when the back-end is gone.
    private func isConnectionLost(waiting nanoseconds: Int64) -> Bool {
        guard let poller = try? Epoll() else { return false }
        // Once the run has failed nothing is done about the connection any more: this only waits.
        if failure == nil { try? poller.add(driver.connection.descriptor.rawValue, [.peerClosed], token: 0) }
        return pause(poller, nanoseconds: nanoseconds)
    }

    /// Waits for what `poller` watches; true when something happened.
    private func pause(_ poller: Epoll, nanoseconds: Int64) -> Bool {
        unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
            unsafe poller.wait(into: ready, timeoutNanoseconds: nanoseconds) > 0
        }
    }

    /// Everything that came back so far.
    private var progress: UInt64 {
        monitors.reduce(0) { $0 + $1.counts.reduce(0, +) + $1.verified.load(ordering: .relaxed) }
    }

    /// Waits for the first completion after a reconnection, a second at most; when it was seen, nil when the back-end went away before.
    private func awaitProgress(beyond before: UInt64) -> UInt64? {
        let limit = MonotonicClock.now() + 1_000_000_000
        while progress == before, MonotonicClock.now() < limit, !monitors.allSatisfy({ $0.isDone.load(ordering: .acquiring) }) {
            if isConnectionLost(waiting: 20_000) { return nil }
        }
        return MonotonicClock.now()
    }

    private mutating func handleLoss() {
        if options.device.reconnect {
            do {
                let lost = lostAt ?? MonotonicClock.now()
                lostAt = lost
                // What the lost back-end had completed may be reaped after its loss was seen: it is not taken for the new one's.
                var before: UInt64 = 0
                try driver.reconnect(timeoutNanoseconds: options.device.timeout.nanoseconds) { before = progress }
                reconnections += 1
                for monitor in monitors { monitor.reconnections.store(reconnections, ordering: .relaxed) }
                guard let completed = awaitProgress(beyond: before) else { return }
                recoveries.append(Recovery(lost: lost, connected: driver.connectedAt, completed: completed))
                lostAt = nil
                return
            } catch {
                failure = "the back-end went away and did not come back: \(error)"
            }
        } else {
            failure = "the back-end closed the connection (--reconnect waits for it to come back)"
        }
        for monitor in monitors { monitor.tell(.abort) }
    }
}
