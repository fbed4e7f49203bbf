import Foundation

/// QEMU's monitor (QMP): commands and the events that come in between.
actor Monitor {
    private let socket: LineSocket
    private var events: [String] = []

    init(path: String) async throws {
        socket = try await LineSocket(path: path)
        _ = try await socket.line(limit: .seconds(20))  // the greeting
        try await execute("qmp_capabilities")
    }

    /// Runs a command and answers the line of JSON that came back; its refusal is an error.
    @discardableResult
    func execute(_ command: String, _ arguments: [String: any Sendable] = [:]) async throws -> String {
        let data = try JSONSerialization.data(withJSONObject: ["execute": command, "arguments": arguments])
        try socket.send(String(decoding: data, as: UTF8.self))
        while true {
            let (line, answer) = try await next(limit: .seconds(30))
            if let error = answer["error"] { throw TestbedError("QMP \(command) \(arguments): \(error)") }
            if answer["return"] != nil { return line }
        }
    }

    /// Waits for an event whose JSON holds `text`, those that came during earlier commands included; events before it are forgotten.
    func wait(for event: String, _ text: String = "", limit: Duration) async throws {
        while true {
            if let index = events.firstIndex(where: { $0.contains("\"event\": \"\(event)\"") && $0.contains(text) }) {
                events.removeSubrange(...index)
                return
            }
            _ = try await next(limit: limit)
        }
    }

    private func next(limit: Duration) async throws -> (line: String, object: [String: Any]) {
        let line = try await socket.line(limit: limit)
        guard let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
            throw TestbedError("QMP: not an object: \(line)")
        }
        if object["event"] != nil { events.append(line) }
        return (line, object)
    }
}
