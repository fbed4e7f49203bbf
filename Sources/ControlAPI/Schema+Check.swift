internal import LinuxSystem

extension Schema {
    /// The words for what is expected, as in "must be …".
    public var expectation: String {
        switch self {
        case .string: "a string"
        case .integer(let range):
            range.upperBound == .max
                ? "an integer of at least \(range.lowerBound)" : "an integer from \(range.lowerBound) to \(range.upperBound)"
        case .integers(let numbers): Self.listed(numbers)
        case .number: "a number"
        case .boolean: "true or false"
        case .size(let range):
            "a size from \(ByteSize(range.lowerBound).exactText) to \(ByteSize(range.upperBound)), in bytes or as a string such as '512K' or '10G'"
        case .choice(let words): "one of " + words.joined(separator: ", ")
        case .cpus: "CPUs such as '0-3,6' or [0, 1], each at most \(CPUList.numberMax)"
        case .array(let element): "an array, each element \(element.expectation)"
        case .object: "an object"
        case .any: "any value"
        }
    }

    /// Throws when `value`, the member named `field`, is not what this schema asks for.
    public func check(_ value: JSONValue, field: String) throws(ControlError) {
        switch (self, value) {
        case (.any, _), (.boolean, .bool), (.number, .number), (.number, .integer): return
        case (.string(let rule), .string(let text)):
            guard let problem = rule.problem(with: text) else { return }
            throw ControlError(.invalidParameters, "\(field) '\(text.prefix(120))' \(problem.reason)", field: field, hint: problem.hint)
        case (.integer(let range), .integer(let number)) where range.contains(number): return
        case (.integers(let numbers), .integer(let number)) where numbers.contains(number): return
        case (.size(let range), _):
            if let size = Self.size(value), range.contains(size.bytes) { return }
        case (.choice(let words), .string(let word)) where words.contains(word): return
        case (.cpus, _):
            if Self.cpus(value) != nil { return }
        case (.array(let element), .array(let elements)):
            for (index, item) in elements.enumerated() { try element.check(item, field: "\(field)[\(index)]") }
            return
        case (.object(_, let fields), .object(let members)):
            try Self.check(members, fields: fields, prefix: field)
            return
        default: break
        }
        throw mismatch(field, value)
    }

    /// Throws when an object's members are not those of `fields`: a missing, unknown or wrong one.
    static func check(_ members: [String: JSONValue], fields: [Field], prefix: String = "") throws(ControlError) {
        func path(_ name: String) -> String { prefix.isEmpty ? name : "\(prefix).\(name)" }
        let known = fields.map(\.name)
        if let unknown = members.keys.sorted().first(where: { !known.contains($0) }) {
            let hint = known.isEmpty ? "there are no parameters here" : "known are " + known.joined(separator: ", ")
            throw ControlError(
                .invalidParameters, "unknown parameter '\(path(String(unknown.prefix(64))))'", field: path(unknown), hint: hint)
        }
        for field in fields {
            switch members[field.name] {
            case nil where field.isRequired:
                throw ControlError(
                    .invalidParameters, "the parameter '\(path(field.name))' is missing", field: path(field.name),
                    hint: "it must be \(field.schema.expectation)")
            case nil: continue
            case .some(.null) where !field.isRequired: continue
            case .some(let value): try field.schema.check(value, field: path(field.name))
            }
        }
    }

    private func mismatch(_ field: String, _ value: JSONValue) -> ControlError {
        ControlError(.invalidParameters, "\(field) cannot be \(Self.shown(value))", field: field, hint: "it must be \(expectation)")
    }

    /// The numbers in words; a long list of neighbouring powers of two by its ends.
    private static func listed(_ numbers: [Int64]) -> String {
        let arePowers = numbers.count > 4 && zip(numbers, numbers.dropFirst()).allSatisfy { $1 == 2 * $0 }
        if arePowers, let first = numbers.first, let last = numbers.last { return "a power of two from \(first) to \(last)" }
        return numbers.map(String.init).joined(separator: " or ")
    }

    private static func shown(_ value: JSONValue) -> String {
        switch value {
        case .bool(let isTrue): "\(isTrue)"
        case .integer(let number): "\(number)"
        case .number(let number): "\(number)"
        case .string(let text): text.isEmpty ? "an empty string" : "the string '\(text.prefix(120))'"
        default: value.kindText
        }
    }

    private static func size(_ value: JSONValue) -> ByteSize? {
        switch value {
        case .integer(let number): UInt64(exactly: number).map(ByteSize.init)
        case .string(let text): ByteSize(parsing: text)
        default: nil
        }
    }

    private static func cpus(_ value: JSONValue) -> CPUList? {
        switch value {
        case .string(let text): CPUList(parsing: text)
        case .array(let elements):
            elements.count > CPUList.numberMax ? nil : CPUList(elements.map { $0.integer.map(Int.init) ?? -1 })
        default: nil
        }
    }
}
