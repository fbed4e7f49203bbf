import ControlAPI
import Testing

@testable import Daemon

/// What TOML 1.0 says, by its chapters, and what of it is refused.
struct TOMLDocumentTests {
    static let read: [(String, JSONValue)] = [
        ("", [:]),
        ("\u{feff}# only a comment", [:]),
        ("a = 1 # c\r\n\r\n  b\t=\ttrue\n", ["a": 1, "b": true]),
        // Keys
        ("bare-key_1 = 1\n1234 = 2\n\"a b\" = 3\n'q\"' = 4\n\"\" = 5", ["bare-key_1": 1, "1234": 2, "a b": 3, "q\"": 4, "": 5]),
        ("a.b = 1\na . \"c.d\" = 2\na.e.f = 3", ["a": ["b": 1, "c.d": 2, "e": ["f": 3]]]),
        ("3.14 = 'pi'", ["3": ["14": "pi"]]),
        // Strings
        (#"a = "\b\t\n\f\r\"\\ \u00e9 \U0001F600""#, ["a": "\u{8}\t\n\u{c}\r\"\\ é 😀"]),
        ("a = 'C:\\x\\'\nb = ''\nc = \"\"", ["a": "C:\\x\\", "b": "", "c": ""]),
        ("a = \"\"\"\r\none\r\n two\\\n   \n\n  three\\  \n four\"\"\"", ["a": "one\n twothreefour"]),
        ("a = \"\"\"x\"\" \"\"\"\"\"\nb = '''''' # c\nc = '''\n'' '''''", ["a": "x\"\" \"\"", "b": "", "c": "'' ''"]),
        // Numbers
        ("a = +99\nb = -17\nc = 0\nd = 1_000\ne = -0", ["a": 99, "b": -17, "c": 0, "d": 1000, "e": 0]),
        ("a = 0xDead_Beef\nb = 0o755\nc = 0b1_01", ["a": 0xDEAD_BEEF, "b": 0o755, "c": 5]),
        ("a = 9223372036854775807\nb = -9223372036854775808", ["a": .integer(.max), "b": .integer(.min)]),
        (
            "a = +1.0\nb = -0.01\nc = 5e+22\nd = 1e0_6\ne = 6.626E-34",
            ["a": .number(1), "b": .number(-0.01), "c": .number(5e22), "d": .number(1e6), "e": .number(6.626E-34)]
        ),
        // Arrays
        ("a = [ ]\nb = [1, 'x', [true,],]\nc = [ # c\n 1 ,\n\n# c\n 2\n]", ["a": [], "b": [1, "x", [true]], "c": [1, 2]]),
        // Tables
        ("[a]\nx = 1\n[ b . 'c' ]\ny = 2\n[b]\nz = 3", ["a": ["x": 1], "b": ["c": ["y": 2], "z": 3]]),
        ("[a.b.c]\n[a]\nd = 1", ["a": ["b": ["c": [:]], "d": 1]]),
        ("a = {}\nb = { x = 1, y.z = [{q = 2}] }", ["a": [:], "b": ["x": 1, "y": ["z": [["q": 2]]]]]),
        (
            "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a]]\n[a.b]\ny = 2\n[[a.c]]\n[[a.c]]",
            ["a": [["x": 1, "b": ["y": 1]], ["b": ["y": 2], "c": [[:], [:]]]]]
        ),
        ("[a]\nb.c = 1\n[a.d]\n", ["a": ["b": ["c": 1], "d": [:]]]),
    ]

    @Test(arguments: read)
    func means(_ text: String, _ value: JSONValue) throws {
        #expect(try TOMLDocument(text).root == value)
    }

    /// Text, and a part of why not.
    static let refused: [(String, String)] = [
        ("= 1", "key is missing"), ("a", "without a value"), ("a =", "value is missing"), ("a = 1 b = 2", "should end"),
        ("a. = 1", "key is missing"),
        ("\"\"\"a\"\"\" = 1", "several lines"), ("a\n= 1", "without a value"), ("é = 1", "key is missing"), ("a = 1\rb = 2", "should end"),
        ("a = \"x", "does not end"), ("a = \"x\ny\"", "does not end"), ("a = 'x\ny'", "does not end"), ("a = \"\"\"x\"\"", "does not end"),
        ("a = \"\u{1}\"", "control character"), ("# \u{7f}", "control character"), ("a = '''\u{0}'''", "control character"),
        ("a = \"\\x\"", "no such escape"), ("a = \"\\", "no such escape"), ("a = \"\\ \n\"", "no such escape"),
        ("a = \"\"\"\\ x\"\"\"", "no such escape"),
        ("a = \"\\uD800\"", "no character"), ("a = \"\\u12\"", "no character"), ("a = \"\\u12", "no character"),
        ("a = \"\\U00110000\"", "no character"),
        ("a = \"\\u0000\"", "no character"),
        ("a = 01", "no value"), ("a = 1__0", "no value"), ("a = _1", "no value"), ("a = 1_", "no value"), ("a = 0x", "no value"),
        ("a = 0xg", "no value"),
        ("a = +0x1", "no value"), ("a = 9223372036854775808", "no value"), ("a = .5", "no value"), ("a = 1.", "no value"),
        ("a = 1.e3", "no value"),
        ("a = 1e", "no value"), ("a = 1e1.5", "no value"), ("a = 01.5", "no value"), ("a = 1e999", "no value"), ("a = inf", "no value"),
        ("a = nan", "no value"), ("a = True", "no value"), ("a = --1", "no value"), ("a = ٣", "value is missing"),
        ("a = 1979-05-27", "date"), ("a = 07:32:00", "date"), ("a = [1979-05-27T07:32:00Z]", "date"),
        ("a = [1", "go on or end"), ("a = [,]", "value is missing"), ("a = [1 2]", "go on or end"), ("a = [1}", "go on or end"),
        ("a = {x = 1,}", "key is missing"), ("a = {x = 1\n}", "go on or end"), ("a = {x}", "without a value"), ("a = {x=1, x=2}", "twice"),
        ("[]", "key is missing"), ("[a", "does not end"), ("[[a]", "does not end"), ("[ [a]]", "key is missing"),
        ("[a] b = 1", "should end"),
        ("[a.]", "key is missing"), ("[a]\n[a]", "twice"), ("a = 1\n[a]", "twice"), ("a = 1\n[a.b]", "not a table"),
        ("a = 1\na.b = 2", "not a table"),
        ("[a.b]\n[a]\nb.c = 1", "complete"), ("[a]\nb.c = 1\n[a.b]", "twice"), ("a = {b = 1}\n[a.c]", "not a table"),
        ("a = {}\na.b = 1", "not a table"),
        ("[[a]]\n[a]", "twice"), ("[a]\n[[a]]", "not an array of tables"), ("a = []\n[[a]]", "not an array of tables"),
        ("[[a]]\n[[b]]\n[b]", "twice"),
    ]

    /// What is said again and again, and why that is refused: no recursion goes as deep as a file says.
    static let deep = [("[", "nested deeper"), ("a.", "more than 32 parts"), ("{a=", "nested deeper")]

    @Test(arguments: deep)
    func isRefusedHoweverDeep(_ piece: String, _ reason: String) throws {
        let text = (piece == "a." ? "" : "a = ") + String(repeating: piece, count: 100_000)
        let error = try #require(throws: TOMLSyntaxError.self) { try TOMLDocument(text) }
        #expect(error.reason.contains(reason), "\(error)")
    }

    @Test(arguments: refused)
    func isRefused(_ text: String, _ reason: String) throws {
        let error = try #require(throws: TOMLSyntaxError.self) { try TOMLDocument(text) }
        #expect(error.reason.contains(reason), "\(error)")
        #expect(!error.hint.isEmpty)
    }

    @Test func linesOfKeysAndOfWhatIsAroundThem() throws {
        let document = try TOMLDocument("a.b = 1\n[t]\nx = [\n 1,\n 2 ]\ny = '''\n\n'''\n[[u]]\n[[u]]\nz = 1\n[u.v]\n")
        let lines = [
            ("a", 1), ("a.b", 1), ("t", 2), ("t.x", 3), ("t.x[1]", 3), ("t.y", 6), ("u[0]", 9), ("u[1].z", 11), ("u[1].v", 12),
            ("u[1].w", 10),
        ]
        for (path, line) in lines { #expect(document.line(of: path) == line, "\(path)") }
        #expect(document.line(of: "none") == nil)
    }
}
