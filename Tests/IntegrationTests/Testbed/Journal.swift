import Synchronization

/// The lines a running program has printed so far; shared between the task that reads them and the test that looks.
final class Journal: Sendable {
    private let lines = Mutex<[String]>([])

    func append(_ line: String) { lines.withLock { $0.append(line) } }

    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    func tail(_ count: Int) -> String { lines.withLock { $0.suffix(count).joined(separator: "\n") } }

    func contains(_ part: String) -> Bool { lines.withLock { $0.contains { $0.contains(part) } } }
}
