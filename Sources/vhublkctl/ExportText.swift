import ControlAPI
import LinuxSystem

/// Exports as people read them.
enum ExportText {
    /// All exports, one a line.
    static func table(_ exports: [ExportInfo]) -> String {
        var table = TextTable(
            ["NAME", "STATE", "SIZE", "QUEUES", "ENGINE", "POLL", "FRONT-END", "BACKING", "SOCKET"], rightAligned: [2, 3])
        for export in exports {
            table.add([
                export.name, state(export), ByteSize(export.size).description, "\(export.queues.count)",
                export.engine.isEmpty ? "-" : export.engine,
                export.poll.rawValue, export.frontend.map { $0.pid.map { "pid \($0)" } ?? "connected" } ?? "-", export.backing,
                export.socket ?? "-",
            ])
        }
        return table.text
    }

    private static func state(_ export: ExportInfo) -> String { export.readOnly ? "\(export.state.rawValue) ro" : export.state.rawValue }

    /// One export in full.
    static func details(_ export: ExportInfo) -> String {
        var rows = [("name", export.name), ("state", state(export)), ("backing", export.backing)]
        if let error = export.error { rows += [("error", error.message)] + (error.hint.map { [("hint", $0)] } ?? []) }
        if let wait = export.retryNS { rows.append(("next try", "in " + Quantity.time(wait))) }
        rows += [
            ("origin", export.origin.rawValue), ("size", "\(ByteSize(export.size)) (\(export.size) bytes)"),
            ("block size", "\(export.blockSize)"),
            ("serial", export.serial), ("socket", export.socket ?? "inherited"), ("engine", described(export.engine, export.engineReason)),
            ("i/o", export.directIO ? "direct" : described("buffered", export.bufferedReason ?? "")),
            ("cache", export.writeback ? "write-back" : "write-through"),
            ("poll", described(export.poll.rawValue, export.poll == .adaptive ? "spins for \(export.spinUS) us at most" : "")),
        ]
        if let count = export.coalesceCount {
            rows.append(("notifies", "after \(count) requests or \(export.coalesceUS) us, or with the last in flight"))
        }
        rows.append(("on error", export.onError.text))
        if export.registerMemory { rows.append(("registered", registered(export.queues))) }
        if let refusal = export.postcopyRefusal { rows.append(("post-copy", "not offered: \(refusal)")) }
        if let hold = export.hold {
            let since = "\(hold.requests) requests, for \(Quantity.time(hold.durationNS)), tried again \(hold.tries) times"
            rows.append(("held", "\(since), last error: \(hold.lastError)"))
        }
        if !export.backingStats.texts.isEmpty { rows.append(("backing saw", export.backingStats.texts.joined(separator: ", "))) }
        if export.backingLocked { rows.append(("lock", "held")) }
        if let conflict = export.backingConflict {
            rows.append(("conflict", conflict))
            if let holder = holder(ofBackingOf: export) { rows.append(("lock now", holder)) }
        }
        if let node = export.node { rows.append(("NUMA node", "\(node)")) }
        if let frontend = export.frontend { rows += self.frontend(frontend) }
        let width = rows.map { $0.0.count }.max() ?? 0
        let text = rows.map { $0.0 + ":" + String(repeating: " ", count: width + 1 - $0.0.count) + $0.1 }.joined(separator: "\n")
        return export.queues.isEmpty ? text : text + "\n\n" + queues(export.queues)
    }

    /// Who has the backing now. This process looks by itself: it has the rights of whoever asks, where the daemon has given up those it needed.
    private static func holder(ofBackingOf export: ExportInfo) -> String? {
        guard let file = (try? FileStatus.atPath(export.backing, followsLinks: true)) ?? nil else { return nil }
        switch LockHolder.find(file, forWriting: !export.readOnly) {
        case .process(let number, let command): return "process \(number) (\(command))"
        case .hidden: return "of a process that only root may look into: sudo vhublkctl export show \(export.name)"
        case .elsewhere: return "of no process here"
        }
    }

    /// What is pinned for the queues that have the least, and why it is not all.
    private static func registered(_ queues: [QueueInfo]) -> String {
        let running = queues.filter { $0.cpu != nil }
        guard let least = running.min(by: { $0.registeredBytes < $1.registeredBytes }) else { return "nothing yet" }
        return described("\(ByteSize(least.registeredBytes)) of guest memory", least.unregisteredReason ?? "")
    }

    private static func described(_ value: String, _ reason: String) -> String { reason.isEmpty ? value : "\(value) (\(reason))" }

    private static func frontend(_ frontend: FrontendInfo) -> [(String, String)] {
        var rows = [("front-end", frontend.pid.map { "pid \($0)" } ?? "connected")]
        rows.append(("memory", "\(ByteSize(frontend.memoryBytes)) in \(frontend.memoryRegions) regions"))
        rows.append(("features", frontend.features.joined(separator: " ")))
        rows.append(("protocol", frontend.protocolFeatures.joined(separator: " ")))
        if let status = frontend.deviceStatus { rows.append(("status", "0x" + String(status, radix: 16))) }
        if let bytes = frontend.logBytes { rows.append(("dirty log", "\(ByteSize(bytes))")) }
        if !frontend.activities.isEmpty { rows.append(("doing", frontend.activities.joined(separator: ", "))) }
        return rows
    }

    /// A ring that was started and does not run waits to be enabled.
    private static func state(_ queue: QueueInfo) -> String {
        queue.state == "stopped" && queue.started && !queue.enabled ? "disabled" : queue.state
    }

    private static func queues(_ queues: [QueueInfo]) -> String {
        var table = TextTable(
            ["QUEUE", "STATE", "FORMAT", "SIZE", "CPU", "NODE", "IN FLIGHT", "HELD", "OLDEST", "CROSSES NODES"],
            rightAligned: [0, 3, 4, 5, 6, 7, 8])
        for queue in queues {
            table.add([
                "\(queue.index)", state(queue), queue.format ?? "-", "\(queue.size)", queue.cpu.map(String.init) ?? "-",
                queue.node.map(String.init) ?? "-",
                "\(queue.inFlight)", "\(queue.held)", queue.oldestInFlightNS.map(Quantity.time) ?? "-",
                queue.crossesNodes.isEmpty ? "-" : queue.crossesNodes.joined(separator: ","),
            ])
        }
        return table.text
    }
}

/// Quantities as people read them.
enum Quantity {
    /// A time, at most one digit after the point: `850 ns`, `12.3 us`, `4.5 ms`, `1.2 s`.
    static func time(_ nanoseconds: UInt64) -> String {
        switch nanoseconds {
        case ..<1_000: "\(nanoseconds) ns"
        case ..<1_000_000: "\(tenths(Double(nanoseconds) / 1e3)) us"
        case ..<1_000_000_000: "\(tenths(Double(nanoseconds) / 1e6)) ms"
        default: "\(tenths(Double(nanoseconds) / 1e9)) s"
        }
    }

    /// A count per second: `950`, `12.3k`, `1.2M`.
    static func count(_ value: Double) -> String {
        switch value {
        case ..<1_000: "\(Int(value.rounded()))"
        case ..<1_000_000: "\(tenths(value / 1e3))k"
        default: "\(tenths(value / 1e6))M"
        }
    }

    /// With one digit after the point.
    static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
