internal import LinuxSystem

extension Schema {
    /// The schema in JSON Schema's words, objects by reference.
    var json: JSONValue {
        switch self {
        case .string(let rule):
            rule.pattern.map { ["type": "string", "pattern": .string($0)] } ?? ["type": "string"]
        case .integer(let range): Self.integer(range)
        case .integers(let numbers): ["type": "integer", "enum": .array(numbers.map { .integer($0) })]
        case .number: ["type": "number"]
        case .boolean: ["type": "boolean"]
        case .size(let range):
            [
                "oneOf": [
                    Self.integer(Int64(clamping: range.lowerBound)...Int64(clamping: range.upperBound)),
                    ["type": "string", "pattern": "^[0-9]+[KMGTkmgt]?$"],
                ]
            ]
        case .choice(let words): ["type": "string", "enum": .array(words.map { .string($0) })]
        case .cpus:
            [
                "oneOf": [
                    ["type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"],
                    ["type": "array", "minItems": 1, "items": Self.integer(0...Int64(CPUList.numberMax))],
                ]
            ]
        case .array(let element): ["type": "array", "items": element.json]
        case .object(let name, _): ["$ref": .string("#/components/schemas/\(name)")]
        case .any: [:]
        }
    }

    /// The objects that this schema refers to, itself included, by name.
    var objects: [String: JSONValue] {
        switch self {
        case .array(let element): return element.objects
        case .object(let name, let fields):
            let properties = Dictionary(uniqueKeysWithValues: fields.map { ($0.name, $0.described) })
            let inner: JSONValue = [
                "type": "object",
                "additionalProperties": false,
                "properties": .object(properties),
                "required": .array(fields.filter(\.isRequired).map { .string($0.name) }),
            ]
            return fields.map(\.schema.objects).reduce([name: inner]) { $0.merging($1) { first, _ in first } }
        default: return [:]
        }
    }

    private static func integer(_ range: ClosedRange<Int64>) -> JSONValue {
        var members: [String: JSONValue] = ["type": "integer"]
        if range.lowerBound != .min { members["minimum"] = .integer(range.lowerBound) }
        if range.upperBound != .max { members["maximum"] = .integer(range.upperBound) }
        return .object(members)
    }

    /// Type and range in the words of docs/control-api.md.
    public var documentText: String {
        switch self {
        case .string(let rule): rule.meaning
        case .integer(let range):
            range.upperBound == .max ? "integer, at least \(range.lowerBound)" : "integer, \(range.lowerBound) to \(range.upperBound)"
        case .integers: expectation
        case .number: "number"
        case .boolean: "boolean"
        case .size(let range): "size, \(ByteSize(range.lowerBound).exactText) to \(ByteSize(range.upperBound))"
        case .choice(let words): words.map { "`\($0)`" }.joined(separator: ", ")
        case .cpus: "CPUs: `\"0-3,6\"` or `[0, 1]`"
        case .array(let element): "array of \(element.documentText)"
        case .object(let name, _): "object `\(name)`"
        case .any: "any value"
        }
    }
}

extension Field {
    /// The field's schema with its meaning beside it.
    var described: JSONValue {
        guard case .object(var members) = schema.json else { return schema.json }
        members["description"] = .string(meaning + (defaultText.map { "; default: \($0)" } ?? ""))
        return .object(members)
    }
}
