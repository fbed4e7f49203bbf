import ControlAPI
import Foundation
import Testing

/// The examples of docs/control-api.md, asked of a daemon one after the other. `VHUBLK_RECORD=1 swift test --filter DocumentExampleTests`
/// writes
/// the answers anew.
struct DocumentExampleTests {
    static let document = URL(filePath: "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/docs/control-api.md")
    static let isRecording = ProcessInfo.processInfo.environment["VHUBLK_RECORD"] == "1"

    @Test func answersAreThoseOfADaemon() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        var lines = try String(contentsOf: Self.document, encoding: .utf8).components(separatedBy: "\n")
        var methods: [String] = []
        for index in lines.indices where lines[index].hasPrefix("→ ") {
            let request = try RPCRequest(line: Array(lines[index].dropFirst(2).utf8))
            methods.append(request.method)
            let response = RPCResponse(id: .integer(1), outcome: .success(try client.call(request.method, request.parameters)))
            let line = String(decoding: try response.line().dropLast(), as: UTF8.self)
            let answer = "← " + Self.shown(line, method: request.method, daemon)
            if Self.isRecording { lines[index + 1] = answer }
            #expect(lines[index + 1] == answer)
        }
        #expect(methods == MethodName.allCases.map(\.rawValue))
        if Self.isRecording { try Data(lines.joined(separator: "\n").utf8).write(to: Self.document) }
    }

    /// The error that the document shows is the one a daemon gives.
    @Test func errorIsThatOfADaemon() throws {
        let text = try String(contentsOf: Self.document, encoding: .utf8)
        let block = try #require(text.firstMatch(of: /```json\n(.*)\n```/)?.1)
        let shown = try JSONText.decode(ControlError.self, from: try JSONParser.parse(Array(block.utf8)))
        let daemon = try RunningDaemon()
        #expect(try daemon.refusal(.exportCreate, ["name": "a", "backing": "null:1G", "queues": 300]) == shown)
    }

    /// The answer with what differs from run to run and from machine to machine put in one form.
    private static func shown(_ line: String, method: String, _ daemon: RunningDaemon) -> String {
        if method == MethodName.discover.rawValue { return #"{"id":1,"jsonrpc":"2.0","result":{ ... openrpc.json ... }}"# }
        return line.replacing(daemon.stateFolder, with: "/var/lib/vhublk").replacing(daemon.folder.path, with: "/run/vhublk")
            .replacing(/"(time_ns|uptime_ns)":[0-9]+/) { #""\#($0.output.1)":1234567890"# }
            .replacing(/"pid":[0-9]+/, with: #""pid":4242"#)
            .replacing(/"kernel":"[^"]*"/, with: #""kernel":"6.1.0-28-amd64""#)
            .replacing(/"hardening":\[[^\]]*\]/, with: #""hardening":["no new privileges","no core dumps, no tracing"]"#)
            .replacing(/"unprotected":\[[^\]]*\]/, with: #""unprotected":[]"#)
    }

    /// Results are what their schemas say, so that the OpenRPC document can be relied on.
    @Test func resultsFitTheirSchemas() throws {
        let daemon = try RunningDaemon()
        let client = try daemon.client()
        func check<Method: ControlMethod>(_ method: Method.Type) throws {
            let parameters = try #require(try JSONText.value(of: method.example).object)
            let result = try client.call(method.name.rawValue, parameters)
            #expect(throws: Never.self, "\(method.name.rawValue)") { try Method.Result.schema.check(result, field: method.name.rawValue) }
        }
        for name in MethodName.allCases { try check(name.method) }
        #expect(try client.call("rpc.discover", [:]) == OpenRPCDocument.value)
    }
}
