import ControlAPI
import Testing

struct RPCMessageTests {
    static let refused: [(String, RPCIdentifier, ErrorKind, String?)] = [
        ("", .null, .parse, nil),
        ("not json", .null, .parse, nil),
        (#"{"jsonrpc":"2.0","id":1,"id":2,"method":"export.list"}"#, .null, .parse, nil),
        ("[]", .null, .invalidRequest, nil),
        ("7", .null, .invalidRequest, nil),
        (#"[{"jsonrpc":"2.0","id":1,"method":"export.list"}]"#, .null, .invalidRequest, nil),
        ("{}", .null, .invalidRequest, "jsonrpc"),
        (#"{"id":5,"method":"x"}"#, .integer(5), .invalidRequest, "jsonrpc"),
        (#"{"jsonrpc":"1.0","id":5,"method":"x"}"#, .integer(5), .invalidRequest, "jsonrpc"),
        (#"{"jsonrpc":"2.0","id":"a"}"#, .string("a"), .invalidRequest, "method"),
        (#"{"jsonrpc":"2.0","id":1,"method":7}"#, .integer(1), .invalidRequest, "method"),
        (#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#, .integer(1), .invalidRequest, "params"),
        (#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#, .integer(1), .invalidRequest, "params"),
        (#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, .null, .invalidRequest, "id"),
        (#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, .null, .invalidRequest, "id"),
        (#"{"jsonrpc":"2.0","id":1,"method":"x","parms":{}}"#, .integer(1), .invalidRequest, "parms"),
    ]

    @Test(arguments: refused)
    func refuses(_ line: String, _ id: RPCIdentifier, _ kind: ErrorKind, _ field: String?) {
        let failure = #expect(throws: RPCRequest.Failure.self) { try RPCRequest(line: Array(line.utf8)) }
        #expect(failure?.id == id)
        #expect(failure?.error.kind == kind)
        #expect(failure?.error.data?.field == field)
        #expect(failure?.error.data?.hint?.isEmpty == false)
    }

    @Test func idOfBoundedLength() {
        let line = #"{"jsonrpc":"2.0","id":""# + String(repeating: "i", count: 257) + #"","method":"x"}"#
        #expect(throws: RPCRequest.Failure.self) { try RPCRequest(line: Array(line.utf8)) }
    }

    @Test func requestComesBackAsItWas() throws {
        for request in [
            RPCRequest(id: .integer(1), method: "export.list"),
            RPCRequest(id: .string("x"), method: "a", parameters: ["b": ["c": 1]]),
            RPCRequest(id: nil, method: "notification"),
        ] {
            let line = try request.line()
            #expect(line.last == UInt8(ascii: "\n"))
            #expect(!line.dropLast().contains(UInt8(ascii: "\n")))
            #expect(try RPCRequest(line: line.dropLast()) == request)
        }
    }

    @Test func responseComesBackAsItWas() throws {
        for response in [
            RPCResponse(id: .integer(1), outcome: .success(["a": .null])),
            RPCResponse(id: .null, outcome: .failure(ControlError(.busy, "m", field: "f", hint: "h"))),
            RPCResponse(id: .string("q"), outcome: .failure(ControlError(.notFound, "m"))),
        ] {
            #expect(RPCResponse(line: try response.line().dropLast()) == response)
        }
        #expect(RPCResponse(line: Array("{}".utf8)) == nil)
        #expect(RPCResponse(line: Array(#"{"jsonrpc":"2.0","id":1}"#.utf8)) == nil)
    }
}
