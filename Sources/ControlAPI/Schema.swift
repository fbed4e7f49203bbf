/// What values a parameter or a result may have: it checks requests and configuration files, and becomes the JSON Schema in the OpenRPC
/// document.
public indirect enum Schema: Sendable, Equatable {
    /// A string that satisfies a rule.
    case string(TextRule)
    /// An integer in a range.
    case integer(ClosedRange<Int64>)
    /// One of some integers.
    case integers([Int64])
    /// Any number.
    case number
    /// `true` or `false`.
    case boolean
    /// Bytes: an integer in a range, or a string with a suffix K, M, G, T.
    case size(ClosedRange<UInt64>)
    /// One of some words.
    case choice([String])
    /// CPUs: a string like `0-3,6` or an array of numbers.
    case cpus
    /// An array.
    case array(of: Schema)
    /// An object with these fields and no others; the name is that of its schema in the document.
    case object(String, [Field])
    /// Anything.
    case any

    /// An integer in a range of counts.
    static func count(_ range: ClosedRange<Int>) -> Schema { .integer(Int64(range.lowerBound)...Int64(range.upperBound)) }
    /// An integer that is not negative.
    static let natural = Schema.integer(0...Int64.max)
    /// A string without further rules.
    static let text = Schema.string(.any)
}

/// One named member of an object: a parameter of a method or a part of a result.
public struct Field: Sendable, Equatable {
    /// The member's name.
    public var name: String
    /// What it may be.
    public var schema: Schema
    /// What it means, in a sentence without a full stop.
    public var meaning: String
    /// Whether it must be there.
    public var isRequired: Bool
    /// What a missing one stands for, as the documents tell it.
    public var defaultText: String?

    /// A member that must be there.
    public static func required(_ key: some CodingKey, _ schema: Schema, _ meaning: String) -> Field {
        Field(name: key.stringValue, schema: schema, meaning: meaning, isRequired: true)
    }

    /// A member that may be missing or null.
    public static func optional(_ key: some CodingKey, _ schema: Schema, _ meaning: String, default text: String? = nil) -> Field {
        Field(name: key.stringValue, schema: schema, meaning: meaning, isRequired: false, defaultText: text)
    }
}

/// A type that crosses the control socket and tells its own schema.
public protocol Described: Codable, Sendable, Equatable {
    /// The type's schema.
    static var schema: Schema { get }
}

/// A described type that is an object.
public protocol DescribedObject: Described {
    /// Its members, in the order of the documents.
    static var fields: [Field] { get }
}

extension DescribedObject {
    /// An object of the type's name and fields.
    public static var schema: Schema { .object("\(Self.self)", fields) }
}

extension JSONValue: Described {
    /// Anything.
    public static var schema: Schema { .any }
}
