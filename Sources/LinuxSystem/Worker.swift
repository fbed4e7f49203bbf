/// Runs slow work (opening files, resolving names, anything that may wait for a disk) off the control thread, on threads of its own:
/// Swift's cooperative pool must not be blocked.
public enum Worker {
    /// The most pieces of work that run at once; the others wait in order. As many as that: work on a disk that does not answer takes as long
    /// as the disk likes, and must not hold up the work on others.
    public static let threadCountMax = 128
    /// Threads that stay when there is nothing to do.
    public static let threadCountKept = 4

    private static let queue = WorkQueue(name: "worker", threadCountMax: threadCountMax, threadCountKept: threadCountKept)

    /// Runs `body` on a worker thread; it tells by itself whom it concerns. For callers that cannot wait with `await`.
    public static func start(_ body: @escaping @Sendable () -> Void) {
        // Without a single thread nothing slow can ever be done.
        precondition(queue.add(body), "a worker thread can be started")
    }

    /// Runs `body` on a worker thread and returns or throws what it does. Cancelling the task does not stop the body.
    public nonisolated(nonsending) static func run<Success: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> Success
    ) async throws(Failure) -> Success {
        let result: Result<Success, Failure> = await withCheckedContinuation { continuation in
            start { continuation.resume(returning: Result(catching: body)) }
        }
        return try result.get()
    }
}
