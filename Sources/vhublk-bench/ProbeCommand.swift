import ArgumentParser
import LinuxSystem
import VhostUser
import VhostUserFrontend
import Virtio

/// `vhublk-bench probe SOCKET`: what a back-end offers.
struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe", abstract: "Show what a vhost-user back-end offers: features, protocol features, queues, config space.")

    @Argument(help: "Socket of the back-end.")
    var socket: String

    @Flag(help: "Print JSON.")
    var json = false

    /// The serial can only be asked of a running device.
    private func readSerial() throws(FrontendError) -> String {
        var options = BlockDriverOptions()
        options.patienceNanoseconds = 1_000_000_000
        options.tracksInflight = false
        let driver = try BlockDriver(path: socket, options: options)
        defer { driver.close() }
        return try driver.serial()
    }

    func run() throws {
        let connection = try FrontendConnection(path: socket)
        try connection.open(protocolFeatures: ProtocolFeatures.frontendDefault)
        let queues = connection.offeredProtocolFeatures.contains(.multiQueue) ? try connection.queueCountMax() : nil
        let slots =
            connection.protocolFeatures.contains(.configureMemorySlots) ? try connection.askNumber(.getMemorySlotCount) : nil
        let config = connection.protocolFeatures.contains(.config) ? try connection.readBlockConfig() : nil
        connection.close()
        let offer = Offer(
            features: connection.offeredFeatures, protocolFeatures: connection.offeredProtocolFeatures, queueCount: queues,
            memorySlots: slots, config: config, serial: config == nil ? nil : try? readSerial())
        StandardStream.output.write(json ? offer.json.text() + "\n" : offer.text)
    }
}

/// Everything a back-end told of itself.
struct Offer {
    var features: VirtioFeatures
    var protocolFeatures: ProtocolFeatures
    /// Nil when MQ is not offered.
    var queueCount: Int?
    /// Nil when CONFIGURE_MEM_SLOTS is not offered.
    var memorySlots: UInt64?
    var config: BlockConfig?
    /// Nil when the device could not be started or has none.
    var serial: String?

    var text: String {
        var lines = [
            "features           0x\(String(features.rawValue, radix: 16))", "  " + Self.wrap(features.bitNames),
            "protocol features  0x\(String(protocolFeatures.rawValue, radix: 16))", "  " + Self.wrap(protocolFeatures.bitNames),
            "queues             \(queueCount.map(String.init) ?? "1 (MQ is not offered)")",
            "memory slots       \(memorySlots.map(String.init) ?? "CONFIGURE_MEM_SLOTS is not offered")",
        ]
        if let serial { lines.append("serial             \(serial)") }
        guard let config else { return (lines + ["config space       CONFIG is not offered"]).joined(separator: "\n") + "\n" }
        lines.append("config space       \(config.bytes.count) bytes")
        for (name, value) in config.fields(features) {
            let size = name == "capacity" ? " sectors (\(formatBytes(Double(config.byteCount))))" : ""
            lines.append("  \(padRight(name, 30)) \(value)\(size)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func wrap(_ names: [String]) -> String {
        var lines = [""]
        for name in names {
            if lines[lines.count - 1].count + name.count > 90 { lines.append("") }
            lines[lines.count - 1] += (lines[lines.count - 1].isEmpty ? "" : " ") + name
        }
        return lines.joined(separator: "\n  ")
    }

    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("features", Self.bits(features.rawValue, features.bitNames)),
            ("protocol_features", Self.bits(protocolFeatures.rawValue, protocolFeatures.bitNames)),
            ("queues", .integer(UInt64(queueCount ?? 1))),
        ]
        if let serial { members.append(("serial", .string(serial))) }
        if let memorySlots { members.append(("memory_slots", .integer(memorySlots))) }
        if let config {
            members.append(("config", .object(config.fields(features).map { ($0.name, .integer($0.value)) })))
            members.append(("config_bytes", .array(config.bytes.map { .integer(UInt64($0)) })))
        }
        return .object(members)
    }

    private static func bits(_ value: UInt64, _ names: [String]) -> JSONValue {
        .object([("value", .string("0x" + String(value, radix: 16))), ("names", .array(names.map { .string($0) }))])
    }
}
