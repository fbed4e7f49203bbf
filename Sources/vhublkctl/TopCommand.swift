import ArgumentParser
import ControlAPI
import LinuxSystem

/// `vhublkctl top`
struct TopCommand: DaemonCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Shows what the exports and pollers do, again and again.",
        discussion: """
            IOPS and MB/s (10^6 bytes) are those of the last interval, LATENCY is the mean of the requests completed in it, DEPTH the mean \
            number of requests in flight (Little's law). CPU is the share of its CPU that a poller used. With --json, prints one object a line.
            """)

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Option(help: ArgumentHelp("Seconds between two looks, 0.1 to 3600.", valueName: "seconds"))
    var interval = 1.0
    @Option(help: ArgumentHelp("How many times to print; without end when it is not given.", valueName: "n"))
    var count: Int?

    func validate() throws {
        guard (0.1...3600).contains(interval) else { throw ValidationError("--interval takes 0.1 to 3600 seconds") }
        guard count.map({ $0 > 0 }) ?? true else { throw ValidationError("--count takes at least 1") }
    }

    func run() throws {
        let client = try connect()
        let ask = { try CommandFailure.wrapping { () throws(ControlClient.Failure) in try client.call(StatsGet.self, .init()) } }
        var before = try ask()
        var printed = 0
        while count.map({ printed < $0 }) ?? true {
            ProcessSelf.sleep(nanoseconds: UInt64(interval * 1e9))
            let now = try ask()
            let rates = StatsRates(from: before, to: now)
            if wantsJSON {
                Terminal.print(String(decoding: try JSONText.line(rates), as: UTF8.self))
            } else {
                if Terminal.isInteractive { Terminal.clear() }
                Terminal.print(rates.text)
            }
            before = now
            printed += 1
        }
    }
}

/// What happened between two looks at the counters.
struct StatsRates: Encodable {
    struct Export: Encodable {
        var name: String
        var readIOPS: Double
        var writeIOPS: Double
        var otherIOPS: Double
        var readMBps: Double
        var writeMBps: Double
        var latencyNSMean: UInt64?
        var depth: Double
        var inFlight: UInt64
        var errors: UInt64

        enum CodingKeys: String, CodingKey {
            case name
            case readIOPS = "read_iops"
            case writeIOPS = "write_iops"
            case otherIOPS = "other_iops"
            case readMBps = "read_mb_s"
            case writeMBps = "write_mb_s"
            case latencyNSMean = "latency_ns_mean"
            case depth
            case inFlight = "in_flight"
            case errors
        }
    }

    struct Poller: Encodable {
        var cpu: Int
        var node: Int
        var busyPercent: Double
        var queues: Int

        enum CodingKeys: String, CodingKey {
            case cpu, node
            case busyPercent = "cpu_percent"
            case queues
        }
    }

    var exports: [Export]
    var pollers: [Poller]

    init(from before: StatsGet.Result, to now: StatsGet.Result) {
        let elapsed = Double(max(1, now.timeNS &- before.timeNS))
        let oldExports = Dictionary(before.exports.map { ($0.name, $0.total) }, uniquingKeysWith: { first, _ in first })
        exports = now.exports.map { Self.rates($0, since: oldExports[$0.name] ?? QueueStats(), elapsedNanoseconds: elapsed) }
        let oldPollers = Dictionary(before.pollers.map { ($0.cpu, $0.cpuTimeNS) }, uniquingKeysWith: { first, _ in first })
        pollers = now.pollers.map { poller in
            let used = Double(Self.difference(poller.cpuTimeNS, oldPollers[poller.cpu] ?? 0))
            return Poller(cpu: poller.cpu, node: poller.node, busyPercent: min(100, used / elapsed * 100), queues: poller.queues.count)
        }
    }

    private static func rates(_ export: ExportStats, since old: QueueStats, elapsedNanoseconds elapsed: Double) -> Export {
        let new = export.total
        let requests = difference(new.requests, old.requests)
        let reads = difference(new.read.requests, old.read.requests)
        let writes = difference(new.write.requests, old.write.requests)
        let latency = difference(new.latencyNSSum, old.latencyNSSum)
        func perSecond(_ value: UInt64) -> Double { Double(value) * 1e9 / elapsed }
        return Export(
            name: export.name, readIOPS: perSecond(reads), writeIOPS: perSecond(writes), otherIOPS: perSecond(requests &- reads &- writes),
            readMBps: perSecond(difference(new.read.bytes, old.read.bytes)) / 1e6,
            writeMBps: perSecond(difference(new.write.bytes, old.write.bytes)) / 1e6,
            latencyNSMean: requests > 0 ? latency / requests : nil, depth: Double(latency) / elapsed, inFlight: new.inFlight,
            errors: new.ioErrors &+ new.malformed)
    }

    /// An export that was deleted and made again starts from zero.
    private static func difference(_ new: UInt64, _ old: UInt64) -> UInt64 { new >= old ? new - old : new }

    /// Two tables.
    var text: String {
        var table = TextTable(
            ["EXPORT", "READ IOPS", "WRITE IOPS", "OTHER", "READ MB/s", "WRITE MB/s", "LATENCY", "DEPTH", "ERRORS"],
            rightAligned: [1, 2, 3, 4, 5, 6, 7, 8])
        for export in exports {
            table.add([
                export.name, Quantity.count(export.readIOPS), Quantity.count(export.writeIOPS), Quantity.count(export.otherIOPS),
                Quantity.tenths(export.readMBps), Quantity.tenths(export.writeMBps), export.latencyNSMean.map(Quantity.time) ?? "-",
                Quantity.tenths(export.depth), "\(export.errors)",
            ])
        }
        var cpus = TextTable(["POLLER CPU", "NODE", "CPU %", "QUEUES"], rightAligned: [0, 1, 2, 3])
        for poller in pollers { cpus.add(["\(poller.cpu)", "\(poller.node)", Quantity.tenths(poller.busyPercent), "\(poller.queues)"]) }
        return table.text + "\n\n" + cpus.text
    }
}
