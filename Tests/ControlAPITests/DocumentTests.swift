import ControlAPI
import FoundationEssentials
import Testing

/// The documents that are made from the method table are what the repository holds. `VHUBLK_RECORD=1 swift test --filter DocumentTests`
/// writes them anew.
struct DocumentTests {
    static let folder = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/docs"
    static let isRecording = ProcessInfo.processInfo.environment["VHUBLK_RECORD"] == "1"

    @Test func openRPCDocumentIsTheTable() throws {
        let path = Self.folder + "/openrpc.json"
        let text = try OpenRPCDocument.text()
        if Self.isRecording { try Data(text.utf8).write(to: URL(filePath: path)) }
        #expect(try String(contentsOf: URL(filePath: path), encoding: .utf8) == text)
    }

    @Test func openRPCDocumentRefersToWhatItHas() throws {
        let document = OpenRPCDocument.value
        #expect(document["methods"]?.array?.compactMap { $0["name"]?.string } == MethodName.allCases.map(\.rawValue))
        var references: [String] = []
        collectReferences(document, into: &references)
        #expect(references.count > 20)
        for reference in references {
            let parts = reference.split(separator: "/").dropFirst()
            let target = parts.reduce(document as JSONValue?) { $0?[String($1)] }
            #expect(target != nil, "\(reference)")
        }
    }

    private func collectReferences(_ value: JSONValue, into references: inout [String]) {
        switch value {
        case .object(let members):
            if let reference = members["$ref"]?.string { references.append(reference) }
            for member in members.values { collectReferences(member, into: &references) }
        case .array(let elements): for element in elements { collectReferences(element, into: &references) }
        default: break
        }
    }

    static let marker = "<!-- From here on made from the method table: VHUBLK_RECORD=1 swift test --filter DocumentTests -->\n"

    @Test func controlDocumentIsTheTable() throws {
        let url = URL(filePath: Self.folder + "/control-api.md")
        let text = try String(contentsOf: url, encoding: .utf8)
        let parts = text.split(separator: Self.marker, maxSplits: 1)
        let head = try #require(parts.first)
        let old = parts.count > 1 ? String(parts[1]) : ""
        let made = ControlDocument.text(answers: ControlDocument.answers(in: old))
        if Self.isRecording { try Data((head + Self.marker + made).utf8).write(to: url) }
        #expect(Self.isRecording || old == made)
    }
}

/// The part of docs/control-api.md that the method table makes.
///
/// The answers of the examples are kept as they stand in the document; DaemonTests ask a daemon for them.
enum ControlDocument {
    static func text(answers: [String: String]) -> String {
        var parts = ["## Methods\n"]
        for name in MethodName.allCases { parts.append(section(name.method, answer: answers[name.rawValue])) }
        parts.append("## Objects\n")
        for (name, fields) in objects { parts.append("### `\(name)`\n\n" + table(fields, isResult: true)) }
        parts.append("## Errors\n\n" + errors)
        return parts.joined(separator: "\n")
    }

    static func answers(in text: String) -> [String: String] {
        var answers: [String: String] = [:]
        var method = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("### `") { method = String(line.dropFirst(5).dropLast()) }
            if line.hasPrefix("← ") { answers[method] = String(line.dropFirst(2)) }
        }
        return answers
    }

    private static func section<Method: ControlMethod>(_ method: Method.Type, answer: String?) -> String {
        let request = RPCRequest(
            id: .integer(1), method: method.name.rawValue, parameters: (try? JSONText.value(of: method.example))?.object ?? [:])
        let line = (try? request.line()).map { String(decoding: $0.dropLast(), as: UTF8.self) } ?? ""
        let own = method.errors.map { "`\($0.rawValue)`" }.joined(separator: ", ")
        var text = "### `\(method.name.rawValue)`\n\n\(method.summary).\n"
        if !method.details.isEmpty { text += "\(method.details)\n" }
        text += "\n" + (Method.Parameters.fields.isEmpty ? "No parameters.\n" : table(Method.Parameters.fields, isResult: false))
        text += "\n" + result(Method.Result.schema) + (own.isEmpty ? "" : "\nErrors: \(own).\n")
        return text + "\n```\n→ \(line)\n← \(answer ?? "")\n```\n"
    }

    private static func result(_ schema: Schema) -> String {
        guard case .object(let name, let fields) = schema else { return "Result: \(schema.documentText).\n" }
        if objects.contains(where: { $0.0 == name }) { return "Result: an object [`\(name)`](#\(name.lowercased())).\n" }
        return "Result:\n\n" + table(fields, isResult: true)
    }

    private static func table(_ fields: [Field], isResult: Bool) -> String {
        var lines =
            isResult
            ? ["| member | type | meaning |", "|---|---|---|"]
            : ["| parameter | type and range | default | meaning |", "|---|---|---|---|"]
        for field in fields {
            let standard = field.isRequired ? "required" : (field.defaultText ?? "none")
            let optional = field.isRequired ? "" : "; may be missing"
            lines.append(
                isResult
                    ? "| `\(field.name)` | \(field.schema.documentText) | \(field.meaning)\(optional) |"
                    : "| `\(field.name)` | \(field.schema.documentText) | \(standard) | \(field.meaning) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static let objects: [(String, [Field])] = [
        ("ExportInfo", ExportInfo.fields), ("ErrorInfo", ErrorInfo.fields), ("FrontendInfo", FrontendInfo.fields),
        ("QueueInfo", QueueInfo.fields), ("PollerInfo", PollerInfo.fields), ("PollerQueueInfo", PollerQueueInfo.fields),
        ("HoldInfo", HoldInfo.fields), ("ExportStats", ExportStats.fields), ("QueueStats", QueueStats.fields),
        ("OperationStats", OperationStats.fields), ("BackingStats", BackingStats.fields), ("EventInfo", EventInfo.fields),
    ]

    private static var errors: String {
        let rows = ErrorKind.allCases.map { "| \($0.code) | `\($0.rawValue)` | \($0.meaning) |" }
        return (["| code | kind | meaning |", "|---|---|---|"] + rows).joined(separator: "\n") + "\n"
    }
}
