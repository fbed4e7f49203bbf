import LinuxSystem
import Testing
import VhostUser

/// GET_CONFIG and SET_CONFIG with every offset and size that front-ends use, and those they should not.
@Suite struct ConfigTests {
    private func get(_ frontend: TestFrontend, _ offset: UInt32, _ size: UInt32, byteCount: Int? = nil) throws -> ConfigAccess {
        let filler = [UInt8](repeating: 0xee, count: byteCount ?? Int(min(size, 1024)))
        let replies = frontend.send(.getConfig, .config(ConfigAccess(offset: offset, size: size, flags: 1, bytes: filler)))
        #expect(replies.count == 1)
        let payload = try #require(replies.first).decode(.config)
        return try #require(payload.configAccess)
    }

    private func frontend() -> TestFrontend {
        let frontend = TestFrontend()
        frontend.negotiate()
        return frontend
    }

    @Test("The answer has the bytes that were asked for", arguments: [(0, 60), (0, 1), (32, 4), (59, 1), (0, 8)] as [(UInt32, UInt32)])
    func reads(offset: UInt32, size: UInt32) throws {
        let frontend = frontend()
        let answer = try get(frontend, offset, size)
        #expect(answer.offset == offset && answer.size == size && answer.flags == 1)
        #expect(answer.bytes == Array(frontend.device.config[Int(offset)..<Int(offset + size)]))
    }

    @Test("Offsets may count from 0x100, and are echoed")
    func legacyOffset() throws {
        let answer = try get(frontend(), 0x100 + 8, 4)
        #expect(answer.offset == 0x108)
        #expect(answer.bytes == [8, 9, 10, 11])
    }

    @Test("The bytes of a request may be left out")
    func withoutFiller() throws {
        #expect(try get(frontend(), 0, 8, byteCount: 0).bytes == Array(0..<8))
    }

    static let impossible: [(UInt32, UInt32)] = [
        (0, 0), (0, 61), (0, 256), (0, 257), (0, .max), (60, 1), (59, 2), (255, 1), (1, .max), (.max, 1), (.max, .max), (0x100 + 60, 1),
        (0x1ff, 2), (0x200, 1),
    ]

    @Test("What the device does not have is answered with size 0 and no bytes", arguments: impossible)
    func unreadable(offset: UInt32, size: UInt32) throws {
        let answer = try get(frontend(), offset, size)
        #expect(answer.size == 0 && answer.bytes.isEmpty && answer.offset == offset)
    }

    @Test("A request whose bytes are neither all there nor none is answered with size 0")
    func wrongFiller() throws {
        #expect(try get(frontend(), 0, 8, byteCount: 7).size == 0)
        #expect(try get(frontend(), 0, 8, byteCount: 9).size == 0)
    }

    @Test func writes() {
        let frontend = frontend()
        frontend.device.calls = []
        func set(_ offset: UInt32, _ bytes: [UInt8], flags: UInt32 = 0, size: UInt32? = nil) -> UInt64? {
            frontend.ask(.setConfig, .config(ConfigAccess(offset: offset, size: size ?? UInt32(bytes.count), flags: flags, bytes: bytes)))
        }
        #expect(set(32, [1]) == 0)
        #expect(set(0x120, [0]) == 0)
        #expect(set(0, Array(0..<60), flags: 1) == 0)
        #expect(
            frontend.device.calls == [
                .write(offset: 32, bytes: [1], migration: false), .write(offset: 32, bytes: [0], migration: false),
                .write(offset: 0, bytes: Array(0..<60), migration: true),
            ])
        frontend.device.refusesWrites = true
        #expect(set(0, [1]) == Refusal.Code.device.rawValue)
        frontend.device.calls = []
        #expect(set(0, []) == Refusal.Code.invalidValue.rawValue)
        #expect(set(0, [1, 2], size: 1) == Refusal.Code.malformed.rawValue)
        #expect(set(0, [1], size: .max) == Refusal.Code.malformed.rawValue)
        #expect(set(.max, [1]) == Refusal.Code.invalidValue.rawValue)
        #expect(set(256 - 4, [UInt8](repeating: 0, count: 8)) == Refusal.Code.invalidValue.rawValue)
        #expect(set(0, [UInt8](repeating: 0, count: 257)) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.device.calls.isEmpty)
    }

    @Test("A config message shorter than its own header is malformed")
    func short() {
        let frontend = frontend()
        for request: FrontendRequest in [.getConfig, .setConfig] {
            var message = Message(request, needReply: true)
            message.payload = [UInt8](repeating: 0, count: 11)
            frontend.session.receive(message)
            #expect(TestFrontend.u64(frontend.takeReplies()) == Refusal.Code.malformed.rawValue)
        }
    }
}

extension Payload {
    var configAccess: ConfigAccess? {
        if case .config(let access) = self { access } else { nil }
    }
}
