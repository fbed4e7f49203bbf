import Foundation
import Glibc
import LinuxSystem
import Logging
import Testing

@testable import Daemon

struct DaemonLogTests {
    /// The two ends of a pipe.
    private static func pipe() throws -> (read: FileDescriptor, write: FileDescriptor) {
        var ends: [Int32] = [0, 0]
        try #require(unsafe Glibc.pipe(&ends) == 0)
        return (FileDescriptor(owning: ends[0]), FileDescriptor(owning: ends[1]))
    }

    private static func text(_ descriptor: FileDescriptor) throws -> String {
        try descriptor.setNonBlocking(true)
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while let count = try unsafe chunk.withUnsafeMutableBytes({ try unsafe descriptor.read(into: $0) }), count > 0 {
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func logger(_ sink: DaemonLog.Sink, _ label: String = "x") -> Logger {
        Logger(label: label) { DaemonLog(label: $0, sink: sink) }
    }

    @Test func journalGetsPrioritiesAndNoTime() throws {
        let pipe = try Self.pipe()
        let sink = DaemonLog.Sink(descriptor: pipe.write, isJournal: true)
        let log = Self.logger(sink)
        log.error("e")
        log.warning("w", metadata: ["b": "2", "a": "1"])
        log.notice("n")
        log.info("i")
        log.debug("hidden")
        sink.setLevel(.debug)
        log.debug("d")
        #expect(try Self.text(pipe.read) == "<3>x: e\n<4>x: w a=1 b=2\n<5>x: n\n<6>x: i\n<7>x: d\n")
    }

    @Test func otherReadersGetTime() throws {
        let pipe = try Self.pipe()
        Self.logger(DaemonLog.Sink(descriptor: pipe.write, isJournal: false)).info("hello")
        let text = try Self.text(pipe.read)
        #expect(text.wholeMatch(of: /[0-9]+\.[0-9]{3} info x: hello\n/) != nil, "\(text)")
    }

    @Test func aLineIsALine() throws {
        let pipe = try Self.pipe()
        let log = Self.logger(DaemonLog.Sink(descriptor: pipe.write, isJournal: true))
        log.info("a\n<0>forged\u{1B}[2J \(String(repeating: "z", count: 10_000))")
        let text = try Self.text(pipe.read)
        #expect(text.hasPrefix("<6>x: a?<0>forged?[2J z") && text.hasSuffix("z\n"))
        #expect(text.utf8.count <= 4001 && text.split(separator: "\n").count == 1)
    }

    @Test func slowReaderStopsNobody() throws {
        let pipe = try Self.pipe()
        let sink = DaemonLog.Sink(descriptor: pipe.write, isJournal: true)
        // 64 KiB fill the pipe; nobody reads. Sources differ so that the limit of each is not reached.
        for number in 0..<200 { Self.logger(sink, "s\(number)").info("\(String(repeating: "z", count: 1000))") }
        _ = try Self.text(pipe.read)
        Self.logger(sink, "last").info("end")
        #expect(try Self.text(pipe.read).contains("messages were dropped"))
    }

    @Test func noisySourceIsLimited() throws {
        let pipe = try Self.pipe()
        let sink = DaemonLog.Sink(descriptor: pipe.write, isJournal: true)
        for _ in 0..<1000 { Self.logger(sink, "noisy").info("n") }
        Self.logger(sink, "quiet").info("q")
        let lines = try Self.text(pipe.read).split(separator: "\n")
        #expect(lines.filter { $0.contains("noisy") }.count <= LogLimiter.burst + 1)
        #expect(lines.last == "<6>quiet: q")
    }

    @Test func limiterRefills() {
        var limiter = LogLimiter()
        for _ in 0..<LogLimiter.burst { #expect(limiter.admit("a", now: 0) == 0) }
        #expect(limiter.admit("a", now: 0) == nil)
        #expect(limiter.admit("a", now: LogLimiter.refillNanoseconds - 1) == nil)
        #expect(limiter.admit("a", now: LogLimiter.refillNanoseconds) == 2)
        #expect(limiter.admit("a", now: LogLimiter.refillNanoseconds) == nil)
        let later = LogLimiter.refillNanoseconds * 1_000_000
        for _ in 0..<LogLimiter.burst { #expect(limiter.admit("a", now: later) != nil) }
        #expect(limiter.admit("a", now: later) == nil)
        #expect(limiter.admit("b", now: later) == 0)
        for number in 0..<(LogLimiter.sourceCountMax * 2) { #expect(limiter.admit("s\(number)", now: later) == 0) }
    }
}
