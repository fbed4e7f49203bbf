import Foundation

/// How often a test repeats what it does to a daemon: a few times in `make test`; in a long run as often as VHUBLK_TEST_ROUNDS says
/// (`make kill-guests`, `make kill-bench`), and then it tells how far it is and what it measured.
enum Rounds {
    static let asked: Int? = {
        guard let text = ProcessInfo.processInfo.environment["VHUBLK_TEST_ROUNDS"] else { return nil }
        guard let count = Int(text), count > 0 else { preconditionFailure("VHUBLK_TEST_ROUNDS: \(text) is not a positive number") }
        return count
    }()

    static func count(usually: Int) -> Int { asked ?? usually }

    /// Minutes that a test may take: a long run takes what it takes.
    static func minutes(usually: Int) -> Int { asked == nil ? usually : 24 * 60 }

    /// One line of a long run, with the time of day.
    static func tell(_ line: @autoclosure () -> String) {
        guard asked != nil else { return }
        let time = Date.now.formatted(.iso8601.time(includingFractionalSeconds: false))
        // In one piece: the test runner prints too.
        FileHandle.standardOutput.write(Data("  \(time)  \(line())\n".utf8))
    }
}
