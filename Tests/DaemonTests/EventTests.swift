import ControlAPI
import Glibc
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend

/// `events.subscribe` and `vhublkctl events`.
struct EventTests {
    private static func soon(_ seconds: UInt64 = 20) -> UInt64 { MonotonicClock.now() + seconds * 1_000_000_000 }

    private static func create(_ daemon: RunningDaemon, _ name: String) throws {
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: name, backing: "null:1G"))
    }

    /// Reads events up to the first of a kind, that one included.
    private static func events(_ client: ControlClient, until kind: EventKind) throws -> [EventInfo] {
        var events: [EventInfo] = []
        while events.last?.event != kind {
            events.append(try #require(try client.nextEvent(deadline: soon()), "\(kind) after \(events.map(\.event))"))
        }
        return events
    }

    @Test("An export's life: made, connected to, negotiated, served, migrated, resized, left, deleted")
    func life() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        let start = try client.call(EventsSubscribe.self, .init())
        try Self.create(daemon, "a")
        let ready = try #require(try client.nextEvent(deadline: Self.soon()))
        #expect(ready.event == .ready && ready.export == "a" && ready.size == 1 << 30 && ready.sequence == start.sequence + 1)
        #expect(ready.timeNS > 1_700_000_000 * 1_000_000_000)

        var options = BlockDriverOptions()
        options.protocolFeatures.insert(.deviceState)
        let driver = try BlockDriver(path: daemon.folder.path + "/a.sock", options: options)
        let started = try Self.events(client, until: .ringStarted)
        #expect(started.map(\.event) == [.connected, .negotiated, .ringStarted])
        #expect(started[0].pid == Int(ProcessSelf.identifier) && started[0].uid == Int(ProcessSelf.user))
        #expect(started[1].features?.contains("VERSION_1") == true)
        #expect(started[2].queue == 0 && started[2].cpu != nil)

        try driver.startLogging(into: try DirtyBitmap(covering: driver.memory))
        #expect(try Self.events(client, until: .migrationStarted).count == 1)
        #expect(try daemon.call(ExportShow.self, .init(name: "a")).frontend?.activities == ["logging"])
        try driver.stopLogging()
        #expect(try Self.events(client, until: .migrationEnded).count == 1)
        try driver.stop()
        #expect(try Self.events(client, until: .ringStopped).last?.queue == 0)
        _ = try driver.connection.saveDeviceState()
        #expect(try Self.events(client, until: .stateSaved).count == 1)

        // Requests are answered in between.
        #expect(try client.call(ExportResize.self, .init(name: "a", size: ByteSize(2 << 30))).size == 2 << 30)
        #expect(try Self.events(client, until: .resized).last?.size == 2 << 30)
        driver.close()
        let left = try Self.events(client, until: .disconnected)
        #expect(left.last?.reason == nil)
        _ = try daemon.call(ExportDelete.self, .init(name: "a"))
        let all = try Self.events(client, until: .deleted)
        #expect(all.last?.sequence ?? 0 > ready.sequence + 8)
    }

    @Test("Only the events of the export that was asked for; an export there is not is refused")
    func filter() throws {
        let daemon = try RunningDaemon()
        for name in ["a", "b"] { try Self.create(daemon, name) }
        let client = try daemon.client()
        _ = try client.call(EventsSubscribe.self, .init(name: "b"))
        for name in ["a", "b"] { _ = try daemon.call(ExportResize.self, .init(name: name, size: ByteSize(2 << 30))) }
        let event = try #require(try client.nextEvent(deadline: Self.soon()))
        #expect(event.export == "b" && event.event == .resized)
        #expect(try client.nextEvent(deadline: MonotonicClock.now() + 50_000_000) == nil)
        #expect(try daemon.refusal(.eventsSubscribe, ["name": "c"]).kind == .notFound)
    }

    @Test("A reader that does not keep up holds up nobody, and is told how many events it missed")
    func slowReader() throws {
        let daemon = try RunningDaemon()
        for name in ["a", "b"] { try Self.create(daemon, name) }
        let slow = try daemon.client()
        let start = try slow.call(EventsSubscribe.self, .init()).sequence
        let worker = try daemon.client()
        let count = 6000
        for round in 0..<count { _ = try worker.call(ExportResize.self, .init(name: "a", size: ByteSize(UInt64(1 + round % 2) << 30))) }
        var next = start + 1
        var missed: UInt64 = 0
        while next <= start + UInt64(count) {
            let event = try #require(try slow.nextEvent(deadline: Self.soon()))
            if event.event == .lost {
                let lost = try #require(event.lost)
                missed += lost
                #expect(event.sequence == next + lost - 1)
            } else {
                #expect(event.sequence == next && event.event == .resized)
            }
            next = event.sequence + 1
        }
        #expect(missed > 0, "the socket's buffer and the daemon's are smaller than that")
        _ = try worker.call(ExportResize.self, .init(name: "b", size: ByteSize(3 << 30)))
        #expect(try slow.nextEvent(deadline: Self.soon())?.export == "b", "and goes on")
    }

    @Test("64 connections are sent events, and not one more")
    func limit() throws {
        let daemon = try RunningDaemon()
        var clients: [ControlClient] = []
        for _ in 0..<64 {
            clients.append(try daemon.client())
            _ = try clients[clients.count - 1].call(EventsSubscribe.self, .init())
        }
        #expect(try daemon.refusal(.eventsSubscribe, [:]).kind == .limit)
        try Self.create(daemon, "a")
        _ = try clients[0].call(EventsSubscribe.self, .init(name: "a"))
        #expect(try clients[0].nextEvent(deadline: Self.soon())?.export == "a", "one of the 64 may choose anew")
        clients.removeLast()
        #expect(waits { (try? daemon.client().call(EventsSubscribe.self, .init())) != nil }, "a place is free again")
    }

    @Test("A subscriber that has ended its own sending is sent events, and its end is noticed")
    func halfClosed() throws {
        let daemon = try RunningDaemon()
        let socket = try UnixSocket.connect(path: daemon.control)
        let line = Array(#"{"jsonrpc":"2.0","id":1,"method":"events.subscribe"}"#.utf8) + [UInt8(ascii: "\n")]
        _ = try unsafe line.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        #expect(shutdown(socket.rawValue, Int32(SHUT_WR)) == 0)
        var text = ""
        try Self.create(daemon, "a")
        let isThere = waits {
            var bytes = [UInt8](repeating: 0, count: 4096)
            let part = try? unsafe bytes.withUnsafeMutableBytes { try unsafe UnixSocket.receive(socket, into: $0) }
            text += String(decoding: bytes[..<(part?.byteCount ?? 0)], as: UTF8.self)
            return text.contains("ready")
        }
        #expect(isThere, "\(text)")
    }

    @Test("vhublkctl events prints JSON lines")
    func program() throws {
        let daemon = try RunningDaemon()
        try Self.create(daemon, "a")
        let outcome = try daemon.control(["events", "--timeout", "0"])
        #expect(outcome.status == 0 && outcome.output.isEmpty)
        #expect(try daemon.control(["events", "nobody"]).error.contains("no export named 'nobody'"))
        #expect(try daemon.control(["events", "--count", "0"]).status == 2)
    }
}
