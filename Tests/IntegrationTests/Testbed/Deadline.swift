/// Runs `body`, and cancels it with an error that names `what` when it takes longer than `limit`.
func within<Result: Sendable>(_ limit: Duration, _ what: String, _ body: @escaping @Sendable () async throws -> Result) async throws
    -> Result
{
    try await withThrowingTaskGroup(of: Result.self) { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: limit)
            throw TestbedError("\(what): not done within \(limit)")
        }
        defer { group.cancelAll() }
        guard let first = try await group.next() else { throw TestbedError("\(what): no result") }
        return first
    }
}

/// Looks at `condition` until it holds, and fails with `what` when it does not within `limit`.
func eventually(_ limit: Duration, _ what: @autoclosure () -> String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        if ContinuousClock.now > deadline { throw TestbedError("\(what()): not so within \(limit)") }
        try await Task.sleep(for: .milliseconds(50))
    }
}
