public import LinuxSystem
public import Logging

/// Where the daemon's messages go: one line each to standard error, in the form that suits who reads it.
///
/// Under systemd a line begins with its priority (sd-daemon(3)) and has no time, since the journal adds it; elsewhere it begins with the
/// time
/// since the start in seconds. Nothing here waits: when the reader does not keep up lines are dropped and counted, since a control thread
/// that hangs on its log would hang every session.
public struct DaemonLog: LogHandler {
    /// See `LogHandler`.
    public var metadata: Logger.Metadata = [:]
    /// See `LogHandler`.
    public var logLevel: Logger.Level {
        get { ownLevel ?? sink.level }
        set { ownLevel = newValue }
    }
    private var ownLevel: Logger.Level?
    private let label: String
    private let sink: Sink

    /// Messages of `label`, at least as important as the sink's level.
    public init(label: String, sink: Sink) {
        self.label = label
        self.sink = sink
    }

    /// swift-log's name of a level.
    static func level(_ level: LogLevel) -> Logger.Level {
        switch level {
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }

    /// See `LogHandler`.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// See `LogHandler`.
    public func log(event: LogEvent) {
        var text = "\(label): \(event.message)"
        let all = metadata.merging(event.metadata ?? [:]) { _, last in last }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) { text += " \(key)=\(value)" }
        sink.write(text, level: event.level, source: label)
    }
}

extension DaemonLog {
    /// Standard error, with its limits.
    public final class Sink: Sendable {
        private struct State {
            var limiter = LogLimiter()
            var droppedCount: UInt64 = 0
            var level = Logger.Level.info
        }

        private let descriptor: FileDescriptor
        private let isJournal: Bool
        private let start = MonotonicClock.now()
        private let state = Locked(State())

        /// Writes to `descriptor`; with priorities for a journal when `isJournal`.
        public init(descriptor: FileDescriptor, isJournal: Bool) {
            self.descriptor = descriptor
            self.isJournal = isJournal
        }

        /// Standard error, which is a journal when JOURNAL_STREAM names its file (systemd.exec(5)).
        public static func standardError() -> Sink {
            let descriptor = FileDescriptor(owning: 2)
            let status = try? descriptor.status()
            let stream = ProcessSelf.environment("JOURNAL_STREAM")
            return Sink(descriptor: descriptor, isJournal: status != nil && stream == status.map { "\($0.device):\($0.inode)" })
        }

        /// The least important messages that are written.
        public func setLevel(_ level: LogLevel) { state.withLock { $0.level = DaemonLog.level(level) } }

        var level: Logger.Level { state.withLock { $0.level } }

        /// Writes one line about `source`, whose share of the log is limited.
        public func write(_ text: String, level: Logger.Level, source: String) {
            let now = MonotonicClock.now()
            state.withLock { state in
                guard let suppressed = state.limiter.admit(source, now: now) else { return }
                if suppressed > 0 {
                    put("\(source): \(suppressed) messages were left out, they came too fast", .notice, now, &state)
                }
                if state.droppedCount > 0,
                    put("log: \(state.droppedCount) messages were dropped, the log's reader is slow", .notice, now, &state)
                {
                    state.droppedCount = 0
                }
                if !put(text, level, now, &state) { state.droppedCount += 1 }
            }
        }

        @discardableResult
        private func put(_ text: String, _ level: Logger.Level, _ now: UInt64, _ state: inout State) -> Bool {
            // A pipe that poll(2) calls writable takes PIPE_BUF (4096) bytes without waiting; longer messages are cut.
            guard (try? descriptor.wait(for: .writable, nanoseconds: 0)) == true else { return false }
            let safe = text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : String($0) }.joined()
            let bytes = Array((prefix(level, now) + safe).utf8.prefix(4000)) + [UInt8(ascii: "\n")]
            return (try? unsafe bytes.withUnsafeBytes { try unsafe descriptor.write($0) }) != nil
        }

        private func prefix(_ level: Logger.Level, _ now: UInt64) -> String {
            if isJournal { return "<\(Self.priority(level))>" }
            let milliseconds = (now &- start) / 1_000_000
            let fraction = String(milliseconds % 1000 + 1000).dropFirst()
            return "\(milliseconds / 1000).\(fraction) \(level.rawValue) "
        }

        /// syslog(3)'s priorities.
        private static func priority(_ level: Logger.Level) -> Int {
            switch level {
            case .trace, .debug: 7
            case .info: 6
            case .notice: 5
            case .warning: 4
            case .error: 3
            case .critical: 2
            }
        }
    }
}
