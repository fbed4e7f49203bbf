import BlockExport
import LinuxSystem
import Virtio

/// What a poller does.
extension SimulatedDevice {
    /// One thing that a poller may do now; whether anything was done.
    func turn(now: UInt64) -> Bool {
        self.now = now
        if around.dice.once(in: 2) { around.disk.submit(now: now) }
        endAbandoned()
        if !misses.isEmpty, around.dice.once(in: 2) {
            let (index, miss) = misses.removeFirst()
            onMiss(index, miss)
            return true
        }
        guard !running.isEmpty else { return false }
        let index = around.dice.pick(running.keys.sorted())
        guard let queue = running[index]?.queue else { return false }
        if around.scenario.holds, around.dice.once(in: 6) { retry(queue) }
        if queue.hasCompletions, around.dice.once(in: 2) { return complete(index, queue) }
        switch queue.state {
        case .running: return look(index, queue)
        case .parked, .suspended, .failed: return queue.hasCompletions ? complete(index, queue) : false
        case .draining, .abandoned:
            if queue.hasCompletions { return complete(index, queue) }
            endIfDrained(index)
            giveUp(index)
            return false
        }
    }

    private func look(_ index: Int, _ queue: PolledQueue) -> Bool {
        guard queue.isHot else {
            guard let kick = queue.kick, EventFD(adopting: kick).drain() > 0 else { return false }
            heat(index)
            return true
        }
        switch queue.take() {
        case .taken(0): return cool(index, queue)
        case .taken(let count):
            around.trace.note("ring \(index): \(count) taken, now at \(queue.base)")
            running[index]?.mayArm = false
            return true
        case .failed(let reason):
            problem = "ring \(index) broke: \(reason)"
            return false
        case .missed(let count, let miss):
            around.trace.note("ring \(index): \(count) taken, and misses \(miss)")
            if !around.scenario.hasIOMMU { problem = "ring \(index) misses \(miss), and there is no IOMMU" }
            queue.state = .parked
            queue.isHot = false
            misses.append((index, miss))
            return true
        }
    }

    /// The time of requests that are held has come.
    private func retry(_ queue: PolledQueue) {
        queue.hastenRetry()
        _ = queue.retryHeld(now: 0)
    }

    private func complete(_ index: Int, _ queue: PolledQueue) -> Bool {
        let count = queue.complete()
        around.trace.note("ring \(index): \(count) completed")
        if !around.clock.isDead {
            for late in lateStatus { late.arrive() }
        }
        if queue.state == .running { heat(index) } else { endIfDrained(index) }
        return true
    }

    func heat(_ index: Int) {
        guard let queue = running[index]?.queue, !queue.isHot, queue.state == .running else { return }
        queue.isHot = true
        queue.disarm()
    }

    /// An empty look: spins on, or asks for a kick.
    private func cool(_ index: Int, _ queue: PolledQueue) -> Bool {
        guard running[index]?.mayArm == true, around.dice.once(in: 2) else {
            running[index]?.mayArm = true
            return false
        }
        running[index]?.mayArm = false
        if queue.arm() { queue.disarm() } else { queue.isHot = false }
        return false
    }

    func endIfDrained(_ index: Int) {
        guard let queue = running[index]?.queue, queue.state == .draining || queue.state == .abandoned else { return }
        if queue.state == .draining { queue.takeResubmissions() }
        guard queue.inFlight == 0 else { return }
        queue.close()
        running[index] = nil
        queue.onStopped?(queue.base)
        queue.onStopped = nil
    }

    /// The drain time-out: the ring is given back, and its requests end when they do. As PollerLoop abandons a queue.
    private func giveUp(_ index: Int) {
        guard mayAbandon, let queue = running[index]?.queue, queue.inFlight > 0 else { return }
        running[index]?.patience -= 1
        guard running[index]?.patience ?? 0 < 0 else { return }
        around.trace.note("ring \(index) is given back with \(queue.inFlight) requests in flight")
        queue.cancelWaiting()
        queue.state = .abandoned
        _ = queue.complete()
        guard queue.inFlight > 0 else { return endIfDrained(index) }
        running[index] = nil
        abandoned.append((index, queue))
        queue.onStopped?(queue.base)
        queue.onStopped = nil
    }

    private func endAbandoned() {
        for queue in abandoned.map(\.queue) {
            _ = queue.complete()
            guard queue.inFlight == 0 else { continue }
            abandoned.removeAll { $0.queue === queue }
            beginWaiting()
        }
    }
}

/// A status byte on its way: stored here by the queue, and in guest memory when it is too late.
@safe
final class LateStatus {
    private static let none: UInt8 = 0xff
    // unsafe: `place` is allocated here and freed in deinit; `target` is used before the queue lets go of the guest's memory.
    private let place: UnsafeMutablePointer<UInt8>
    private let target: UnsafeMutableRawPointer

    init(_ operation: DiskOperation) {
        unsafe place = .allocate(capacity: 1)
        unsafe place.initialize(to: Self.none)
        unsafe target = operation.status
        unsafe operation.status = UnsafeMutableRawPointer(place)
    }

    deinit { unsafe place.deallocate() }

    func arrive() {
        guard unsafe place.pointee != Self.none else { return }
        unsafe target.storeBytes(of: place.pointee, as: UInt8.self)
        unsafe place.pointee = Self.none
    }
}
