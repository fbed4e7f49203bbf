internal import BlockIO
internal import LinuxSystem

/// The lock on an export's backing: taken when the first ring starts, given back when the last one has stopped and the kernel has none of
/// their requests any more.
///
/// So two daemons may have one backing on shared storage while a virtual machine migrates from one to the other, and only the one whose
/// rings run writes to it. A lock that somebody else holds is waited for, bounded; it belongs to the open file, so that a killed daemon's
/// is free only when its last request has ended (docs/recovery.md).
@ControlActor
final class DiskLock {
    private static let retryNanosecondsMax: UInt64 = 100_000_000

    private let disk: Disk
    /// How long a ring waits for the lock before it fails.
    private let timeoutNanoseconds: UInt64
    /// Whether the kernel still has requests of rings that were given back.
    private let hasAbandonedRequests: @ControlActor () -> Bool
    /// Told when somebody else holds the lock, and how the wait ended.
    private let onNotice: @ControlActor (String) -> Void

    private(set) var isHeld: Bool
    /// Who else had the backing when that was last looked at: when the export was opened, or when a ring wanted to start.
    private(set) var conflict: String?
    private var users: Set<Int> = []
    private var takers: [Int: @ControlActor (ExportError?) -> Void] = [:]
    private var givers: [@ControlActor () -> Void] = []
    /// A worker takes the lock or gives it back.
    private var isWorking = false
    private var deadline: UInt64 = 0
    private var retryNanoseconds: UInt64 = 0
    private var retry: TimerRegistration?

    init(
        _ disk: Disk, timeoutNanoseconds: UInt64, hasAbandonedRequests: @escaping @ControlActor () -> Bool,
        onNotice: @escaping @ControlActor (String) -> Void
    ) {
        self.disk = disk
        self.timeoutNanoseconds = timeoutNanoseconds
        self.hasAbandonedRequests = hasAbandonedRequests
        self.onNotice = onNotice
        conflict = disk.conflict
        // A null disk has nothing to lock.
        isHeld = !disk.backing.isLockable
    }

    /// Takes the lock for a ring, or fails when somebody else keeps it. Not called back when the ring gives it back before.
    func take(for ring: Int, completion: @escaping @ControlActor (ExportError?) -> Void) {
        users.insert(ring)
        if isHeld, !isWorking { return completion(nil) }
        takers[ring] = completion
        proceed()
    }

    /// Gives the lock back for a ring; called back when nobody is kept out any more on that ring's account.
    func give(for ring: Int, completion: @escaping @ControlActor () -> Void) {
        users.remove(ring)
        takers[ring] = nil
        guard users.isEmpty else { return completion() }
        givers.append(completion)
        proceed()
    }

    /// To be called when abandoned requests have ended.
    func abandonedEnded() { proceed() }

    private func proceed() {
        guard !isWorking, retry == nil || users.isEmpty else { return }
        if users.isEmpty {
            retry?.cancel()
            retry = nil
            if !isHeld || !disk.backing.isLockable || hasAbandonedRequests() { return givenBack() }
            work { disk in
                disk.close()
            } completion: { [self] _ in
                isHeld = false
                givenBack()
                if !users.isEmpty { proceed() }
            }
        } else if isHeld {
            taken(nil)
        } else {
            deadline = MonotonicClock.now() &+ timeoutNanoseconds
            retryNanoseconds = 1_000_000
            attempt()
        }
    }

    private func attempt() {
        // Looking for the holder walks through all processes: at the first and at the last attempt.
        let isLast = MonotonicClock.now() >= deadline
        let namesHolder = isLast || retryNanoseconds == 1_000_000
        work { disk throws(ExportError) in
            try disk.lock(namesHolder: namesHolder)
        } completion: { [self] error in
            if let error {
                refused(error, isLast: isLast)
            } else {
                isHeld = true
                if conflict != nil { onNotice("the backing is free: the rings that waited for it start") }
                conflict = nil
                proceed()
            }
        }
    }

    private func refused(_ error: ExportError, isLast: Bool) {
        guard !users.isEmpty else { return proceed() }
        if error.kind != .busy || isLast {
            conflict = error.message
            return taken(error)
        }
        if retryNanoseconds == 1_000_000 {
            conflict = error.message
            onNotice("the rings wait for the backing: \(error.message)")
        }
        retryNanoseconds = min(2 * retryNanoseconds, Self.retryNanosecondsMax)
        retry = EventLoop.control.after(nanoseconds: retryNanoseconds) { [self] in
            retry = nil
            if users.isEmpty { proceed() } else { attempt() }
        }
    }

    private func taken(_ error: ExportError?) {
        let waiting = takers
        takers = [:]
        for (_, completion) in waiting.sorted(by: { $0.key < $1.key }) { completion(error) }
    }

    private func givenBack() {
        let waiting = givers
        givers = []
        for completion in waiting { completion() }
    }

    /// Does what may wait for a disk, or for a server of files, on a worker.
    private func work(
        _ body: @escaping @Sendable (Disk) throws(ExportError) -> Void, completion: @escaping @ControlActor (ExportError?) -> Void
    ) {
        isWorking = true
        let disk = disk
        let done = HandedOver<@ControlActor (ExportError?) -> Void> { [self] failure in
            isWorking = false
            completion(failure)
        }
        Worker.start {
            var outcome: ExportError?
            do throws(ExportError) {
                try body(disk)
            } catch {
                outcome = error
            }
            let failure = outcome
            ControlActor.post { done.value(failure) }
        }
    }
}
