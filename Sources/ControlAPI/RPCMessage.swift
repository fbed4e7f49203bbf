/// The `id` of a request, given back with its answer.
public enum RPCIdentifier: Sendable, Equatable {
    /// A number without fraction.
    case integer(Int64)
    /// A string.
    case string(String)
    /// The answer to a line whose id could not be read.
    case null

    init?(_ value: JSONValue) {
        switch value {
        case .integer(let number): self = .integer(number)
        case .string(let text) where text.utf8.count <= 256: self = .string(text)
        case .null: self = .null
        default: return nil
        }
    }

    var json: JSONValue {
        switch self {
        case .integer(let number): .integer(number)
        case .string(let text): .string(text)
        case .null: .null
        }
    }
}

/// A request as it came over the socket: JSON-RPC 2.0, one object a line.
public struct RPCRequest: Sendable, Equatable {
    /// The longest line a daemon reads, its end not counted.
    public static let lineLengthMax = 65536

    /// Nil for a notification, which gets no answer.
    public var id: RPCIdentifier?
    /// The method's name, as it was sent.
    public var method: String
    /// The parameters by name.
    public var parameters: [String: JSONValue]

    /// A request to send.
    public init(id: RPCIdentifier?, method: String, parameters: [String: JSONValue] = [:]) {
        self.id = id
        self.method = method
        self.parameters = parameters
    }

    /// Why a line is no request, and the id its answer carries.
    public struct Failure: Error, Equatable, Sendable {
        /// The request's id where it could be read.
        public var id: RPCIdentifier
        /// What to answer.
        public var error: ControlError
    }

    /// Reads a line, its end not included.
    public init(line: [UInt8]) throws(Failure) {
        let value: JSONValue
        do {
            value = try JSONParser.parse(line)
        } catch {
            throw Failure(
                id: .null, error: ControlError(.parse, "the line is not JSON that can be accepted: \(error)", hint: Self.parseHint(error)))
        }
        guard case .object(let members) = value else {
            let hint = "send one object a line; batches are not supported"
            throw Failure(id: .null, error: ControlError(.invalidRequest, "a request must be an object, not \(value.kindText)", hint: hint))
        }
        let id = try Self.identifier(members["id"])
        func refuse(_ field: String, _ reason: String) -> Failure {
            let hint = #"a request looks like {"jsonrpc": "2.0", "id": 1, "method": "export.list"}"#
            return Failure(id: id ?? .null, error: ControlError(.invalidRequest, "'\(field)' \(reason)", field: field, hint: hint))
        }
        guard members["jsonrpc"] == "2.0" else { throw refuse("jsonrpc", #"must be "2.0""#) }
        guard case .string(let method)? = members["method"] else { throw refuse("method", "must be a string") }
        switch members["params"] {
        case nil: parameters = [:]
        case .object(let named)?: parameters = named
        default: throw refuse("params", "must be an object: parameters go by name")
        }
        if let unknown = members.keys.sorted().first(where: { !["jsonrpc", "id", "method", "params"].contains($0) }) {
            throw refuse(String(unknown.prefix(64)), "is not a member of a request")
        }
        self.id = id
        self.method = method
    }

    private static func identifier(_ value: JSONValue?) throws(Failure) -> RPCIdentifier? {
        guard let value else { return nil }
        guard let id = RPCIdentifier(value) else {
            let hint = "an id is an integer or a string of at most 256 bytes"
            throw Failure(
                id: .null, error: ControlError(.invalidRequest, "'id' must not be \(value.kindText) like this", field: "id", hint: hint))
        }
        return id
    }

    private static func parseHint(_ error: JSONSyntaxError) -> String {
        error.isLimit ? "nest at most \(JSONParser.depthMax) levels and name each member once" : "send one JSON object a line, in UTF-8"
    }

    /// The request as a line, its end included.
    public func line() throws -> [UInt8] {
        var members: [String: JSONValue] = ["jsonrpc": "2.0", "method": .string(method)]
        if let id { members["id"] = id.json }
        if !parameters.isEmpty { members["params"] = .object(parameters) }
        return try JSONText.line(JSONValue.object(members)) + [UInt8(ascii: "\n")]
    }
}

/// The answer to a request.
public struct RPCResponse: Sendable, Equatable {
    /// The request's id.
    public var id: RPCIdentifier
    /// What the method gave, or why it refused.
    public var outcome: Result<JSONValue, ControlError>

    /// An answer.
    public init(id: RPCIdentifier, outcome: Result<JSONValue, ControlError>) {
        self.id = id
        self.outcome = outcome
    }

    /// The answer as a line, its end included.
    public func line() throws -> [UInt8] {
        var members: [String: JSONValue] = ["jsonrpc": "2.0", "id": id.json]
        switch outcome {
        case .success(let result): members["result"] = result
        case .failure(let error): members["error"] = try JSONText.value(of: error)
        }
        return try JSONText.line(JSONValue.object(members)) + [UInt8(ascii: "\n")]
    }

    /// Reads an answer; nil when the line is none.
    public init?(line: [UInt8]) {
        guard let value = try? JSONParser.parse(line), value["jsonrpc"] == "2.0", let id = value["id"].flatMap(RPCIdentifier.init) else {
            return nil
        }
        self.id = id
        if let error = value["error"] {
            guard let error = try? JSONText.decode(ControlError.self, from: error) else { return nil }
            outcome = .failure(error)
        } else {
            guard let result = value["result"] else { return nil }
            outcome = .success(result)
        }
    }
}
