/// What went wrong while a test talked to a real program: the thing, the reason, and what the program said last.
struct TestbedError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// An error with something added that helps to understand it: a log, shown where there is any.
    init(_ error: any Error, _ title: String, _ log: String) {
        description = log.isEmpty ? "\(error)" : "\(error)\n--- \(title):\n\(log)\n---"
    }
}
