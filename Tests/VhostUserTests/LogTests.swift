import LinuxSystem
import Testing
import VhostUser
import Virtio

/// SET_LOG_BASE, SET_LOG_FD, VHOST_F_LOG_ALL and VHOST_VRING_F_LOG.
@Suite struct LogTests {
    static let features: VirtioFeatures = [.version1, .protocolFeatures]
    static let size: UInt64 = 4096

    /// A memory file of `size` bytes, which nobody else has.
    private func file(_ size: UInt64 = LogTests.size) throws -> FileDescriptor { try MemoryFile.create(name: "log", size: size) }

    private func setLog(
        _ frontend: TestFrontend, size: UInt64 = LogTests.size, offset: UInt64 = 0, _ descriptor: FileDescriptor? = nil,
        needReply: Bool = false
    ) throws -> UInt64? {
        let replies = frontend.send(
            .setLogBase, .log(LogDescription(size: size, offset: offset)), [try descriptor ?? file()], needReply: needReply)
        return TestFrontend.u64(replies)
    }

    @Test("The log's message is answered whether an answer is asked for or not, once", arguments: [false, true])
    func answered(needReply: Bool) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        #expect(try setLog(frontend, needReply: needReply) == 0)
        #expect(try setLog(frontend, size: 0, needReply: needReply) == Refusal.Code.invalidValue.rawValue, "refusals too")
        let short = frontend.send(.setLogBase, .log(LogDescription(size: 4096, offset: 0)), [], needReply: needReply)
        #expect(TestFrontend.u64(short) == Refusal.Code.descriptors.rawValue)
        #expect(frontend.session.status.logByteCount == Self.size, "the log of before is still there")
    }

    @Test("Ring by ring: the feature bit and the ring's flag each log their part")
    func ways() throws {
        let frontend = try TestFrontend.running()
        #expect(try setLog(frontend) == 0)
        #expect(frontend.device.calls == [.log(0, nil)], "a log alone logs nothing")
        frontend.device.calls = []
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0, flags: 1, log: 0x5000))) == 0)
        #expect(frontend.ask(.setFeatures, .u64(Self.features.union(.logAll).rawValue)) == 0)
        #expect(frontend.session.status.isLogging)
        let notifier = try EventFD()
        #expect(frontend.ask(.setLogDescriptor, .none, [notifier.descriptor]) == 0)
        #expect(frontend.ask(.setFeatures, .u64(Self.features.rawValue)) == 0)
        #expect(!frontend.session.status.isLogging)
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0))) == 0)
        let size = Self.size
        #expect(
            frontend.device.calls.filter { if case .log = $0 { true } else { false } } == [
                .log(0, LogWay(byteCount: size, logsBuffers: false, usedAddress: 0x5000)),
                .log(0, LogWay(byteCount: size, usedAddress: 0x5000)),
                .log(0, LogWay(byteCount: size, usedAddress: 0x5000, hasNotifier: true)),
                .log(0, LogWay(byteCount: size, logsBuffers: false, usedAddress: 0x5000, hasNotifier: true)),
                .log(0, nil),
            ])
    }

    @Test("Answers wait until every ring logs, and a second log takes the place of the first")
    func acknowledgedWhenInForce() throws {
        let frontend = try TestFrontend.running()
        frontend.describeRing(1)
        try frontend.setKick(1)
        frontend.send(.setVringEnable, .vringState(VringState(index: 1, number: 1)))
        frontend.send(.setFeatures, .u64(Self.features.union(.logAll).rawValue))
        frontend.device.holds = true
        for _ in 0..<2 {
            #expect(try setLog(frontend) == nil)
            frontend.device.release()
            #expect(frontend.takeReplies().isEmpty, "one of two rings still uses the old log")
            frontend.device.release()
            #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        }
        #expect(frontend.ask(.setFeatures, .u64(Self.features.rawValue)) == nil)
        frontend.device.release()
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
    }

    @Test("A ring that starts while logging is on logs from its first request")
    func startsLogged() throws {
        let frontend = TestFrontend()
        frontend.negotiate(features: Self.features.union(.logAll))
        try frontend.setMemory()
        #expect(try setLog(frontend) == 0)
        frontend.send(.setVringSize, .vringState(VringState(index: 0, number: 256)))
        frontend.send(.setVringAddress, .vringAddress(TestFrontend.address(0, flags: 1, log: 0x7000)))
        frontend.send(.setVringEnable, .vringState(VringState(index: 0, number: 1)))
        try frontend.setKick(0)
        let log = try #require(frontend.device.configurations[0]?.log)
        #expect(LogWay(log) == LogWay(byteCount: Self.size, usedAddress: 0x7000))
    }

    @Test("What was written before the log came is not known: all memory is marked")
    func unknownWrites() throws {
        for runsBefore in [true, false] {
            let frontend = TestFrontend(realHost: true)
            frontend.negotiate(features: Self.features.union(.logAll))
            let memory = try file(TestFrontend.regionSize)
            frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [memory])
            frontend.describeRing(0)
            frontend.send(.setVringEnable, .vringState(VringState(index: 0, number: 1)))
            if runsBefore { try frontend.setKick(0) }
            let log = try file(200)
            #expect(try setLog(frontend, size: 100, offset: 64, log) == 0)
            let mapping = try MemoryMapping(descriptor: log, offset: 0, size: 200)
            let bytes = unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: 200))
            let pages = Int(TestFrontend.regionSize / 4096)
            let expected = (0..<200).map { $0 >= 64 && $0 < 64 + pages / 8 ? UInt8.max : 0 }
            #expect(bytes == (runsBefore ? expected : [UInt8](repeating: 0, count: 200)))
        }
    }

    @Test("Sizes and offsets that cannot be, of a real file")
    func hostile() throws {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate()
        let memory = try file(TestFrontend.regionSize)
        frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [memory])
        let log = try file()
        let value = Refusal.Code.invalidValue.rawValue
        let range = Refusal.Code.memory.rawValue
        let limit = Refusal.Code.limit.rawValue
        for (size, offset, code) in [
            (0, 0, value), (.max, 0, limit), (4096, .max, value), (.max, .max, value), (4097, 0, range), (4096, 1, range), (1, 4096, range),
            (1 << 33, 0, limit), (31, 0, value), (4096, 1 << 63, range), (32, 0, 0), (32, 7, 0), (4096, 0, 0),
        ] as [(UInt64, UInt64, UInt64)] {
            let answer = try setLog(frontend, size: size, offset: offset, log)
            #expect(answer == code, "\(size) at \(offset)")
        }
        #expect(try setLog(frontend, try EventFD().descriptor) == Refusal.Code.descriptors.rawValue)
        #expect(frontend.ask(.setLogDescriptor, .none, [log]) == Refusal.Code.descriptors.rawValue, "a file cannot be signalled")
        // Memory may grow past the log: QEMU gives the longer log first. It is worth a line.
        frontend.send(.setFeatures, .u64(Self.features.union(.logAll).rawValue))
        let far = TestFrontend.region(guest: 1 << 40, frontend: 1 << 46)
        #expect(frontend.ask(.addMemoryRegion, .memoryRegion(far), [try file(TestFrontend.regionSize)]) == 0)
        #expect(frontend.notices.contains { $0.description.contains("past the log") })
    }

    @Test("10 000 logs leave no mapping behind")
    func flat() throws {
        let frontend = TestFrontend()
        frontend.negotiate(features: Self.features.union(.logAll))
        try frontend.setMemory()
        let descriptor = try file()
        for _ in 0..<10_000 { frontend.send(.setLogBase, .log(LogDescription(size: 4096, offset: 0)), [descriptor]) }
        #expect(frontend.host.liveCount == 2, "the memory and the last log")
    }
}
