/// Runs slow work (opening files, resolving names, anything that may wait for a disk) off the control thread, on threads of its own:
/// Swift's cooperative pool must not be blocked.
public enum Worker {
    /// The most pieces of work that run at once; the others wait in order. As many as that: work on a disk that does not answer takes as long
    /// as the disk likes, and must not hold up the work on others.
    public static let threadCountMax = 128
    /// Threads that stay when there is nothing to do.
    public static let threadCountKept = 4

    private static let queue = WorkQueue(threadCountMax: threadCountMax, threadCountKept: threadCountKept)

    /// Runs `body` on a worker thread; it tells by itself whom it concerns. For callers that cannot wait with `await`.
    public static func start(_ body: @escaping @Sendable () -> Void) { queue.add(body) }

    /// Runs `body` on a worker thread and returns or throws what it does. Cancelling the task does not stop the body.
    public nonisolated(nonsending) static func run<Success: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> Success
    ) async throws(Failure) -> Success {
        let result: Result<Success, Failure> = await withCheckedContinuation { continuation in
            queue.add { continuation.resume(returning: Result(catching: body)) }
        }
        return try result.get()
    }
}

/// Work in order of arrival and the threads that do it; threads are started as they are needed, and a few stay.
private final class WorkQueue: Sendable {
    private struct State {
        var waiting: [@Sendable () -> Void] = []
        var threadCount = 0
        var idleCount = 0
    }

    private let state = Locked(State())
    private let available = Semaphore()
    private let threadCountMax: Int
    private let threadCountKept: Int

    init(threadCountMax: Int, threadCountKept: Int) {
        self.threadCountMax = threadCountMax
        self.threadCountKept = threadCountKept
    }

    func add(_ body: @escaping @Sendable () -> Void) {
        let mustStart = state.withLock { state in
            state.waiting.append(body)
            guard state.waiting.count > state.idleCount, state.threadCount < threadCountMax else { return false }
            state.threadCount += 1
            return true
        }
        if mustStart { start() }
        available.signal()
    }

    private func start() {
        do {
            _ = try PinnedThread(name: "worker", role: .worker) { [self] in run() }
        } catch {
            // With at least one thread the work waits; with none nothing slow can ever be done.
            let left = state.withLock { state in
                state.threadCount -= 1
                return state.threadCount
            }
            precondition(left > 0, "cannot start a worker thread: \(error)")
        }
    }

    private func run() {
        while true {
            let isNeeded = state.withLock { state in
                // Idle threads take one piece each; what is added after this starts another thread if there are too few.
                guard state.threadCount <= threadCountKept || state.waiting.count > state.idleCount else {
                    state.threadCount -= 1
                    return false
                }
                state.idleCount += 1
                return true
            }
            guard isNeeded else { return }
            available.wait()
            let body = state.withLock { state in
                state.idleCount -= 1
                return state.waiting.removeFirst()
            }
            body()
        }
    }
}
