import LinuxSystem
import Synchronization
import VhostUserFrontend

/// One job: decides what to do next, keeps its queue full, and takes down what came back.
///
/// A value on the job's thread; nothing in the loop allocates. Time is read once for each batch that came back.
struct JobRunner<Ring: DriverQueue> {
    private enum Phase {
        case working
        case verifying
    }

    /// Completions of one batch that were submitted together.
    private struct Streak {
        var kind = OperationKind.flush
        var start: UInt64 = 0
        var count: UInt64 = 0
    }

    private var queue: BlockQueue<Ring>
    private let plan: JobPlan
    private let monitor: JobMonitor
    private let slots: SlotTable
    private let ledger: BlockLedger?
    private var result: JobResult
    private var phase = Phase.working
    private var order: BlockOrder
    private var coin: RandomGenerator
    /// Requests until each block had its turn.
    private var passRest: UInt64
    private var now: UInt64 = 0
    private var begin: UInt64 = 0
    private var reconnections: UInt64 = 0
    private var issued: UInt64 = 0
    private var writesSinceFlush: UInt64 = 0
    private var isFlushDue = false
    private var isExhausted = false
    private var isAborted = false
    /// Decided on, but its block is in flight.
    private var held: Operation?
    private var cursor: UInt64 = 0
    private var streak = Streak()
    private var idleRounds = 0
    /// When a look at the clock first found nothing to do; 0 while there is.
    private var idleSince: UInt64 = 0

    init(queue: BlockQueue<Ring>, plan: JobPlan, monitor: JobMonitor) {
        self.queue = queue
        self.plan = plan
        self.monitor = monitor
        slots = SlotTable(count: plan.depth)
        ledger = plan.verifies ? BlockLedger(count: plan.blockCount) : nil
        result = JobResult(plan: plan)
        let seed = plan.seed &+ UInt64(plan.index) &* 0x1_0000_0001
        order = BlockOrder(count: plan.blockCount, isRandom: plan.workload.isRandom, seed: seed)
        coin = RandomGenerator(seed: ~seed)
        passRest = plan.blockCount
    }

    /// Does the job, the reading back included, and hands the result to the monitor.
    mutating func run() {
        let before = ThreadUsage.current()
        if !plan.verifies { fillBuffers() }
        queue.ring.disableCalls()
        begin = MonotonicClock.now()
        now = begin
        loop()
        result.runtime = max(1, MonotonicClock.now() - begin)
        if plan.verifiesAfterwards, result.failure == nil, monitor.told != .abort { readBack() }
        let after = ThreadUsage.current()
        result.usage = ThreadTimes(
            user: after.userNanoseconds - before.userNanoseconds, system: after.systemNanoseconds - before.systemNanoseconds,
            contextSwitches: after.contextSwitches - before.contextSwitches)
        result.kicks = queue.kickCount
        monitor.finish(result)
    }

    /// Reads back every block whose content is known.
    private mutating func readBack() {
        let start = MonotonicClock.now()
        phase = .verifying
        isExhausted = false
        held = nil
        monitor.verifyTotal.store(ledger?.knownCount ?? 0, ordering: .relaxed)
        loop()
        result.verifyTime = MonotonicClock.now() - start
    }

    private mutating func loop() {
        while !isAborted {
            let done = reap()
            let begun = submit()
            if done + begun > 0 {
                (idleRounds, idleSince) = (0, 0)
                if done > 0 { report() }
            } else if isExhausted, slots.inFlight == 0 {
                return
            } else {
                idle()
            }
        }
    }

    // MARK: Completions

    @inline(__always)
    private mutating func reap() -> Int {
        var completion = BlockCompletion()
        var count = 0
        while true {
            switch queue.poll(&completion) {
            case .completed: break
            case .none:
                recordStreak()
                return count
            case .violation(let violation):
                fail("the device broke the ring of queue \(plan.index): \(violation)")
                isAborted = true
                return count
            }
            if count == 0, plan.measuresLatency { now = MonotonicClock.now() }
            take(completion)
            count += 1
        }
    }

    @inline(__always)
    private mutating func take(_ completion: BlockCompletion) {
        guard completion.slot < slots.count else { return fail("the device gave back a request that was never made") }
        let operation = slots[completion.slot]
        if completion.status != .ok {
            fail("\(operation.kind.name) at byte \(plan.byte(of: operation.block)) ended with \(completion.status)")
        } else if phase == .working {
            // Requests made in one batch that come back in one batch have the same latency: they are recorded together.
            if operation.start != streak.start || operation.kind != streak.kind { recordStreak() }
            streak = Streak(kind: operation.kind, start: operation.start, count: streak.count &+ 1)
        }
        if let ledger, operation.kind != .flush { settle(operation, completion, ledger) }
        slots.push(completion.slot)
    }

    private mutating func recordStreak() {
        guard streak.count > 0 else { return }
        let index = streak.kind.direction.rawValue
        result.directions[index].count &+= streak.count
        if plan.measuresLatency { result.directions[index].latency.record(now &- streak.start, times: streak.count) }
        streak.count = 0
    }

    /// Verification: checks what was read, and lets the block go.
    private mutating func settle(_ operation: Operation, _ completion: BlockCompletion, _ ledger: BlockLedger) {
        defer { ledger.release(operation.block) }
        guard operation.kind == .read, completion.status == .ok else { return }
        let buffer = queue.buffer(completion.slot)
        let offset = plan.byte(of: operation.block)
        // The request is back: the slot's memory is this job's alone until it is submitted again.
        let bytes = unsafe UnsafeRawBufferPointer(start: buffer.pointer, count: plan.blockSize)
        let finding: String? =
            switch ledger.content(operation.block) {
            case .pattern(let generation):
                unsafe VerifyPattern(offset: offset, generation: generation, seed: plan.seed).check(bytes)
            case .zeroes: unsafe VerifyPattern.checkZeroes(bytes, offset: offset)
            // A run that only reads checks what an earlier run wrote.
            case .unknown: plan.workload.changesDevice ? nil : unsafe VerifyPattern.checkAny(bytes, offset: offset)
            }
        if let finding { fail("verification failed at \(finding)") }
        if phase == .verifying || !plan.workload.changesDevice { result.verifiedBlocks += 1 }
    }

    private mutating func fail(_ reason: String) {
        if result.failure == nil { result.failure = reason }
        isExhausted = true
        held = nil
    }

    private mutating func report() {
        if phase == .verifying {
            monitor.verified.store(result.verifiedBlocks, ordering: .relaxed)
        } else {
            monitor.reads.store(result.directions[0].count, ordering: .relaxed)
            monitor.writes.store(result.directions[1].count, ordering: .relaxed)
            monitor.trims.store(result.directions[2].count, ordering: .relaxed)
        }
    }

    // MARK: Submissions

    @inline(__always)
    private mutating func submit() -> Int {
        var count = 0
        while slots.freeCount > 0, var operation = next() {
            // Verification takes long between two completions: its requests begin when they are made.
            if plan.verifies { now = MonotonicClock.now() }
            operation.start = now
            let slot = slots.pop()
            slots[slot] = operation
            // The plan made the ring large enough for every slot.
            guard send(operation, slot) else {
                fail("the ring of queue \(plan.index) is full with \(slots.inFlight - 1) requests")
                isAborted = true
                return count
            }
            count += 1
        }
        if count > 0 { queue.flushSubmissions() }
        return count
    }

    @inline(__always)
    private mutating func send(_ operation: Operation, _ slot: Int) -> Bool {
        switch operation.kind {
        case .read:
            return queue.submit(.read, slot: slot, sector: plan.sector(of: operation.block), length: plan.blockSize, toDevice: false)
        case .write:
            if let ledger { fill(slot, operation.block, ledger) }
            return queue.submit(.write, slot: slot, sector: plan.sector(of: operation.block), length: plan.blockSize, toDevice: true)
        case .flush:
            return queue.submit(.flush, slot: slot, sector: 0, length: 0, toDevice: true)
        case .trim, .writeZeroes, .secureErase:
            if operation.kind == .writeZeroes { ledger?.markZeroed(operation.block) }
            let flags = operation.kind == .writeZeroes && plan.unmap ? SectorRange.unmap : 0
            let range = SectorRange(sector: plan.sector(of: operation.block), sectorCount: UInt32(plan.blockSize / 512), flags: flags)
            queue.write(range, at: 0, of: slot)
            return queue.submit(operation.kind.command, slot: slot, sector: 0, length: SectorRange.byteCount, toDevice: true)
        }
    }

    private func fill(_ slot: Int, _ block: UInt64, _ ledger: BlockLedger) {
        let pattern = VerifyPattern(offset: plan.byte(of: block), generation: ledger.nextGeneration(block), seed: plan.seed)
        // The slot is not submitted yet: its memory is this job's alone.
        unsafe pattern.fill(UnsafeMutableRawBufferPointer(start: queue.buffer(slot).pointer, count: plan.blockSize))
    }

    /// What to do next; nil when there is nothing, or nothing now.
    @inline(__always)
    private mutating func next() -> Operation? {
        if let operation = held {
            if let ledger, operation.kind != .flush, !ledger.acquire(operation.block) { return nil }
            held = nil
            return operation
        }
        if isExhausted { return nil }
        guard phase == .working else { return nextToVerify() }
        if isFlushDue {
            isFlushDue = false
            return Operation(kind: .flush, block: 0)
        }
        guard mayIssue() else { return nil }
        issued &+= 1
        var operation = Operation(kind: plan.workload.operation, block: order.next())
        passRest &-= 1
        if passRest == 0 {
            passRest = plan.blockCount
            order.shuffle()
        }
        if plan.workload.isMixed, coin.next() % 100 < UInt64(plan.readPercentage) { operation.kind = .read }
        if plan.flushInterval > 0, operation.kind != .read {
            writesSinceFlush &+= 1
            if writesSinceFlush == plan.flushInterval { (writesSinceFlush, isFlushDue) = (0, true) }
        }
        if let ledger, !ledger.acquire(operation.block) {
            held = operation
            return nil
        }
        return operation
    }

    @inline(__always)
    private mutating func mayIssue() -> Bool {
        if let limit = plan.requestLimit, issued >= limit { return exhaust() }
        if monitor.told != .run { return exhaust() }
        guard let nanoseconds = plan.runtime else { return plan.rate == nil || isDue() }
        if !plan.measuresLatency, issued & 63 == 0 { now = MonotonicClock.now() }
        if now &- begin >= nanoseconds { return exhaust() }
        return plan.rate == nil || isDue()
    }

    private mutating func exhaust() -> Bool {
        isExhausted = true
        return false
    }

    /// Whether the next request's time has come, at the rate that was asked for.
    private mutating func isDue() -> Bool {
        guard let rate = plan.rate else { return true }
        now = MonotonicClock.now()
        return Double(issued) <= Double(now &- begin) * Double(rate) / 1e9
    }

    private mutating func nextToVerify() -> Operation? {
        guard let ledger, monitor.told == .run, let block = ledger.firstKnown(from: cursor) else {
            isExhausted = true
            return nil
        }
        cursor = block + 1
        // Nothing else is in flight for it: the work before has been waited for.
        _ = ledger.acquire(block)
        return Operation(kind: .read, block: block)
    }

    // MARK: Waiting

    private mutating func idle() {
        idleRounds += 1
        if plan.wait == .sleep, slots.inFlight > 0 {
            if queue.ring.enableCalls() { return }
            queue.sleep(nanoseconds: sleepLimit())
            queue.ring.disableCalls()
        } else if idleRounds & 255 != 0 {
            return SpinHint.pause()
        } else if slots.inFlight == 0, plan.wait == .sleep {
            queue.sleep(nanoseconds: 100_000)
        }
        now = MonotonicClock.now()
        if monitor.told == .abort {
            isAborted = true
            return
        }
        let seen = monitor.reconnections.load(ordering: .relaxed)
        if idleSince == 0 || seen != reconnections || slots.inFlight == 0 { (reconnections, idleSince) = (seen, now) }
        if now &- idleSince > plan.timeout { giveUp() }
    }

    /// Long enough to sleep, short enough to see the end of the run and the next request of a rate.
    private func sleepLimit() -> Int64 {
        guard let rate = plan.rate, slots.freeCount > 0 else { return 100_000_000 }
        return max(1000, Int64(clamping: 1_000_000_000 / rate))
    }

    private mutating func giveUp() {
        var oldest: Operation?
        for slot in 0..<slots.count where slots[slot].start != 0 {
            if slots[slot].start < oldest?.start ?? .max { oldest = slots[slot] }
        }
        let text = oldest.map { ", among them a \($0.kind.name) at byte \(plan.byte(of: $0.block))" } ?? ""
        fail("no completion for \(plan.timeout / 1_000_000) ms with \(slots.inFlight) requests in flight\(text)")
        isAborted = true
    }

    private func fillBuffers() {
        var generator = RandomGenerator(seed: plan.seed)
        for slot in 0..<plan.depth {
            let buffer = queue.buffer(slot)
            for offset in stride(from: 0, to: buffer.size & ~7, by: 8) {
                // Inside the slot's memory, before anything is submitted.
                unsafe buffer.pointer.storeBytes(of: generator.next(), toByteOffset: offset, as: UInt64.self)
            }
        }
    }
}
