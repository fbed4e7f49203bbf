import ControlAPI
import Testing

struct JSONParserTests {
    static let accepted: [(String, JSONValue)] = [
        ("null", .null),
        (" true ", true),
        ("[]", []),
        ("{}", [:]),
        ("0", 0),
        ("-0", 0),
        ("-12", -12),
        ("9223372036854775807", .integer(.max)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)),
        ("1.25e1", .number(12.5)),
        ("25e5", 2_500_000),
        ("-3.0", -3),
        ("-0.0", 0),
        ("1e19", .number(1e19)),
        (#""a\n\u00e9\ud83d\ude00\/""#, "a\né😀/"),
        (#"{"a":{"b":[1,"x",false]}}"#, ["a": ["b": [1, "x", false]]]),
        ("\t[1 ,2\r\n]", [1, 2]),
    ]

    @Test(arguments: accepted)
    func accepts(_ text: String, _ value: JSONValue) throws {
        #expect(try JSONParser.parse(Array(text.utf8)) == value)
    }

    static let refused: [(String, String)] = [
        ("", "ends"),
        ("{", "name in quotes"),
        ("{\"a\"}", "':'"),
        ("{\"a\":1,}", "name in quotes"),
        ("[1,]", "no value"),
        ("[1 2]", "',' or ']'"),
        ("{\"a\":1 \"b\":2}", "',' or '}'"),
        ("nul", "no value"),
        ("truex", "text after"),
        ("{} {}", "text after"),
        ("01", "text after"),
        ("-", "digit"),
        ("1.", "digit"),
        ("1e", "digit"),
        ("1e999", "too large"),
        ("+1", "no value"),
        ("NaN", "no value"),
        ("'a'", "no value"),
        ("\"a", "does not end"),
        ("\"a\\", "does not end"),
        ("\"a\u{1}\"", "control character"),
        (#""\x""#, "no such escape"),
        (#""\u12g4""#, "hexadecimal"),
        (#""\u12"#, "hexadecimal"),
        (#""\ud800""#, "surrogate"),
        (#""\ud800\u0041""#, "surrogate"),
        (#""\udc00""#, "surrogate"),
        (#"{"a":1,"a":2}"#, "'a' occurs twice"),
        (#"{"a":1,"\u0061":2}"#, "'a' occurs twice"),
        (#"[{"x":{"b":1,"c":2,"b":3}}]"#, "'b' occurs twice"),
    ]

    @Test(arguments: refused)
    func refuses(_ text: String, _ reason: String) throws {
        let error = #expect(throws: JSONSyntaxError.self) { try JSONParser.parse(Array(text.utf8)) }
        #expect(error?.reason.contains(reason) == true, "\(error?.reason ?? "")")
    }

    @Test(arguments: [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xC3]] as [[UInt8]])
    func refusesInvalidUTF8(_ bytes: [UInt8]) throws {
        let quote = [UInt8(ascii: "\"")]
        let error = #expect(throws: JSONSyntaxError.self) { try JSONParser.parse(quote + bytes + quote) }
        #expect(error?.reason == "the string is not valid UTF-8")
        #expect(throws: JSONSyntaxError.self) { try JSONParser.parse(bytes) }
    }

    @Test func boundsNesting() throws {
        func nested(_ depth: Int) -> [UInt8] { Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8) }
        #expect(throws: Never.self) { try JSONParser.parse(nested(JSONParser.depthMax + 1)) }
        let error = #expect(throws: JSONSyntaxError.self) { try JSONParser.parse(nested(JSONParser.depthMax + 2)) }
        #expect(error?.isLimit == true)
        #expect(throws: JSONSyntaxError.self) { try JSONParser.parse([UInt8](repeating: UInt8(ascii: "["), count: 1 << 20)) }
    }

    @Test func writesAndReadsBack() throws {
        for (_, value) in Self.accepted {
            #expect(try JSONParser.parse(try JSONText.line(value)) == value)
            #expect(try JSONText.value(of: value) == value)
        }
    }

    @Test func subscriptsReachInside() {
        let value: JSONValue = ["a": [1, true, "x"]]
        #expect(value["a"]?[0]?.integer == 1)
        #expect(value["a"]?[1]?.bool == true)
        #expect(value["a"]?[2]?.string == "x")
        #expect(value["a"]?[3] == nil)
        #expect(value["b"] == nil)
        #expect(value[0] == nil)
    }
}
