import ControlAPI
import Testing

/// Every method's parameters against their own schema: what the documents say is what is checked.
struct MethodTableTests {
    static let names = MethodName.allCases

    @Test(arguments: names)
    func nameIsItsPlace(_ name: MethodName) {
        #expect(name.method.name == name)
        #expect(!name.method.summary.isEmpty && !name.method.summary.hasSuffix("."))
    }

    @Test(arguments: names)
    func exampleIsAccepted(_ name: MethodName) throws {
        try Self.check(name.method)
    }

    private static func check<Method: ControlMethod>(_ method: Method.Type) throws {
        let members = try #require(try JSONText.value(of: method.example).object)
        #expect(try Method.Parameters(checking: members) == method.example)
        // Each stored property is a field and the other way round.
        #expect(Mirror(reflecting: method.example).children.count == Method.Parameters.fields.count)
        for field in Method.Parameters.fields {
            try checkAbsence(method, members, field)
            try checkWrongType(method, members, field)
        }
        var unknown = members
        unknown["nonsense"] = 1
        let error = #expect(throws: ControlError.self) { try Method.Parameters(checking: unknown) }
        #expect(error?.data?.field == "nonsense")
        #expect(error?.kind == .invalidParameters)
    }

    private static func checkAbsence<Method: ControlMethod>(_ method: Method.Type, _ members: [String: JSONValue], _ field: Field) throws {
        var without = members
        without[field.name] = nil
        var null = members
        null[field.name] = .null
        if field.isRequired {
            for candidate in [without, null] {
                let error = #expect(throws: ControlError.self) { try Method.Parameters(checking: candidate) }
                #expect(error?.data?.field == field.name)
                #expect(error?.data?.hint?.isEmpty == false)
            }
        } else {
            #expect(try Method.Parameters(checking: without) == Method.Parameters(checking: null))
        }
    }

    private static func checkWrongType<Method: ControlMethod>(
        _ method: Method.Type, _ members: [String: JSONValue], _ field: Field
    ) throws {
        for wrong in [["a": 1], [[]], .number(0.5), "\u{1}", -1, true] as [JSONValue] {
            if case .boolean = field.schema, wrong == true { continue }
            var candidate = members
            candidate[field.name] = wrong
            let error = #expect(throws: ControlError.self, "\(field.name) \(wrong)") { try Method.Parameters(checking: candidate) }
            #expect(error?.code == -32602)
            #expect(error?.data?.field == field.name)
            #expect(error?.message.contains(field.name) == true)
            #expect(error?.data?.hint?.isEmpty == false)
        }
    }

    static let outOfRange: [(String, JSONValue, String)] = [
        ("queues", 0, "1 to 256"), ("queues", 257, "1 to 256"), ("queue_size", 1, "power of two"), ("queue_size", 100, "power of two"),
        ("queue_size", 65536, "power of two"), ("block_size", 520, "512 or 4096"), ("engine", "spdk", "auto, io_uring, libaio"),
        ("poll", "never", "busy, adaptive, interrupt"), ("cpus", "3-1", "CPUs"), ("cpus", [], "CPUs"), ("cpus", [0, 9000], "CPUs"),
        ("socket", "relative.sock", "absolute"), ("serial", "123456789012345678901", "20"), ("socket_mode", "999", "0660"),
        ("on_error", "ignore", "report, hold"), ("on_error", "hold:", "report, hold"), ("on_error", "hold:31536001", "31536000"),
        ("direct_io", "maybe", "auto, on, off"), ("name", "../x", "A-Z"), ("backing", "null:7", "null:SIZE"),
    ]

    @Test(arguments: outOfRange)
    func rangeIsHeld(_ field: String, _ value: JSONValue, _ wayOut: String) throws {
        let members: [String: JSONValue] = ["name": "a", "backing": "/x"]
        let error = #expect(throws: ControlError.self) { try ExportParameters(checking: members.merging([field: value]) { $1 }) }
        #expect(error?.data?.field == field)
        #expect(error?.data?.hint?.contains(wayOut) == true, "\(error?.data?.hint ?? "")")
    }

    static let resizeSizes: [(JSONValue, Bool)] = [
        (511, false), (512, true), ("1G", true), ("1X", false), (-5, false), ("8388608T", false), (.integer(.max), true),
    ]

    @Test(arguments: resizeSizes)
    func sizeIsIntegerOrText(_ size: JSONValue, _ isRight: Bool) {
        let members: [String: JSONValue] = ["name": "a", "size": size]
        #expect(((try? ExportResize.Parameters(checking: members)) != nil) == isRight)
    }

    @Test func errorCodesAreDistinct() {
        #expect(Set(ErrorKind.allCases.map(\.code)).count == ErrorKind.allCases.count)
        for kind in ErrorKind.allCases { #expect(kind.code <= -32600 || (-32099...(-32000)).contains(kind.code)) }
    }
}
