/// The OpenRPC description (https://spec.open-rpc.org, version 1.3) of the control socket, made from the method table.
public enum OpenRPCDocument {
    /// The document.
    public static var value: JSONValue {
        let methods = MethodName.allCases.map { describe($0.method) }
        let objects = MethodName.allCases.map { $0.method.resultObjects }.reduce([:]) { $0.merging($1) { first, _ in first } }
        return [
            "openrpc": "1.3.2",
            "info": [
                "title": "vhublk control socket",
                "description": "JSON-RPC 2.0 over a Unix stream socket, one object a line in UTF-8, parameters by name",
                "version": .string(Product.version),
                "license": ["name": "Apache-2.0"],
            ],
            "methods": .array(methods),
            "components": ["schemas": .object(objects), "errors": .object(errors)],
        ]
    }

    /// The document as the file docs/openrpc.json holds it.
    public static func text() throws -> String { try JSONText.pretty(value) + "\n" }

    private static var errors: [String: JSONValue] {
        Dictionary(
            uniqueKeysWithValues: ErrorKind.allCases.map { kind in
                (kind.rawValue, ["code": .integer(Int64(kind.code)), "message": .string(kind.meaning)] as JSONValue)
            })
    }

    private static func describe<Method: ControlMethod>(_ method: Method.Type) -> JSONValue {
        let parameters = Method.Parameters.fields.map { field -> JSONValue in
            [
                "name": .string(field.name),
                "description": .string(field.meaning + (field.defaultText.map { "; default: \($0)" } ?? "")),
                "required": .bool(field.isRequired),
                "schema": field.schema.json,
            ]
        }
        var description: [String: JSONValue] = [
            "name": .string(method.name.rawValue),
            "summary": .string(method.summary),
            "description": .string(method.details),
            "paramStructure": "by-name",
            "params": .array(parameters),
            "result": ["name": "result", "schema": Method.Result.schema.json],
            "errors": .array(method.errors.map { ["$ref": .string("#/components/errors/\($0.rawValue)")] }),
        ]
        // OpenRPC has no word for what a server sends by itself; members that begin with x- are free.
        if let notification = method.notification {
            description["x-notification"] = ["name": .string(EventsSubscribe.notificationName), "params": notification.json]
        }
        return .object(description)
    }
}

extension ControlMethod {
    /// The objects that the result, and what is sent after it, is made of, by the name of their schema.
    static var resultObjects: [String: JSONValue] {
        Result.schema.objects.merging(notification?.objects ?? [:]) { first, _ in first }
    }
}
