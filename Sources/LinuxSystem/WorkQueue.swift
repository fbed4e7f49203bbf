/// Work in order of arrival and the threads that do it; threads are started as they are needed, and a few stay.
final class WorkQueue: Sendable {
    private struct State {
        var waiting: [@Sendable () -> Void] = []
        var threadCount = 0
        var idleCount = 0
    }

    private let state = Locked(State())
    private let available = Semaphore()
    private let name: String
    private let threadCountMax: Int
    private let threadCountKept: Int

    /// Threads of this name, at most `threadCountMax` at once; `threadCountKept` stay when there is nothing to do.
    init(name: String, threadCountMax: Int, threadCountKept: Int) {
        self.name = name
        self.threadCountMax = threadCountMax
        self.threadCountKept = threadCountKept
    }

    /// Has `body` run on a thread. False when there is no thread and none can be started: then nothing was added.
    func add(_ body: @escaping @Sendable () -> Void) -> Bool {
        let mustStart = state.withLock { state in
            state.waiting.append(body)
            guard state.waiting.count > state.idleCount, state.threadCount < threadCountMax else { return false }
            state.threadCount += 1
            return true
        }
        guard !mustStart || start() else { return false }
        available.signal()
        return true
    }

    /// Starts a thread; false when that fails and there is no other, in which case nothing waits any more.
    private func start() -> Bool {
        do {
            _ = try PinnedThread(name: name, role: .worker) { [self] in run() }
            return true
        } catch {
            return state.withLock { state in
                state.threadCount -= 1
                // With at least one thread the work waits.
                if state.threadCount == 0 { state.waiting.removeLast() }
                return state.threadCount > 0
            }
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
