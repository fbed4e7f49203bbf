import LinuxSystem
import Testing
import VhostUser
import Virtio

/// GET_INFLIGHT_FD and SET_INFLIGHT_FD over real shared memory.
@Suite struct InflightTests {
    private func frontend(features: VirtioFeatures = [.version1, .protocolFeatures]) -> TestFrontend {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate(features: features)
        return frontend
    }

    private func get(
        _ frontend: TestFrontend, queues: UInt16 = 4, size: UInt16 = 256, encodedByteCount: Int = 24
    ) throws -> (InflightDescription, [FileDescriptor]) {
        let wanted = InflightDescription(size: 0, offset: 0, queueCount: queues, queueSize: size, encodedByteCount: encodedByteCount)
        let reply = try #require(frontend.send(.getInflightDescriptor, .inflight(wanted)).first)
        guard case .inflight(let given) = try reply.decode(.inflight) else { throw TestFailure() }
        return (given, reply.descriptors)
    }

    private func set(_ frontend: TestFrontend, _ description: InflightDescription, _ descriptor: FileDescriptor) -> UInt64? {
        frontend.ask(.setInflightDescriptor, .inflight(description), [descriptor])
    }

    private func start(_ frontend: TestFrontend, _ index: Int, size: UInt32 = 256) throws -> UInt64? {
        let guest = try MemoryFile.create(name: "guest", size: TestFrontend.regionSize)
        frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [guest])
        frontend.describeRing(index, size: size)
        try frontend.setKick(index)
        return frontend.enable(index)
    }

    @Test("A new region has a part for each queue, in the request's own length", arguments: [20, 24])
    func get(encodedByteCount: Int) throws {
        let frontend = frontend()
        let (given, descriptors) = try get(frontend, encodedByteCount: encodedByteCount)
        #expect(given.size == 4 * (16 + 1024 * 16 + 48), "parts are multiples of 64 bytes, with room for the largest ring of QEMU")
        #expect(given.offset == 0 && given.queueCount == 4 && given.queueSize == 256 && given.encodedByteCount == encodedByteCount)
        #expect(descriptors.count == 1)
        #expect(try descriptors[0].status().size == given.size)
        #expect(throws: SystemError.self, "sealed against shrinking") { try descriptors[0].truncate(to: 0) }
        #expect(throws: SystemError.self, "sealed against growing") { try descriptors[0].truncate(to: 1 << 20) }
    }

    @Test("A packed region is larger, and one made before SET_FEATURES has room for both formats")
    func packed() throws {
        let (packed, _) = try get(frontend(features: [.version1, .protocolFeatures, .ringPacked]))
        #expect(packed.size > 4 * 1024 * 32)
        let early = TestFrontend(realHost: true)
        early.send(.setProtocolFeatures, .u64(early.usualProtocolFeatures.rawValue))
        #expect(try get(early).0.size == packed.size)
    }

    @Test("The region comes back, in another session too, and each ring finds its part of it")
    func roundTrip() throws {
        let first = frontend()
        let (given, descriptors) = try get(first)
        #expect(try start(first, 1) == 0)
        let part = try #require(first.device.configurations[1]?.inflight)
        #expect(part.queue.entryCount == 1024)
        unsafe part.queue.base.storeBytes(of: 0x77, toByteOffset: 100, as: UInt8.self)
        first.session.disconnect {}

        let second = frontend()
        #expect(set(second, given, descriptors[0]) == 0)
        #expect(try start(second, 1) == 0)
        let again = try #require(second.device.configurations[1]?.inflight)
        #expect(again.queue.entryCount == 1024)
        #expect(unsafe again.queue.base.load(fromByteOffset: 100, as: UInt8.self) == 0x77)
        let zero = frontend()
        #expect(set(zero, given, descriptors[0]) == 0)
        #expect(try start(zero, 0) == 0)
        #expect(unsafe zero.device.configurations[0]?.inflight?.queue.base.load(fromByteOffset: 100, as: UInt8.self) == 0)
    }

    @Test("Without a region, or for rings it has no room for, rings run without tracking")
    func withoutRegion() throws {
        let frontend = frontend()
        #expect(try start(frontend, 0) == 0)
        #expect(frontend.device.configurations[0] != nil && frontend.device.configurations[0]?.inflight == nil)
        let (_, _) = try get(frontend, queues: 1)
        #expect(try start(frontend, 1) == 0)
        #expect(frontend.device.configurations[1] != nil && frontend.device.configurations[1]?.inflight == nil)
    }

    static let shapes: [(UInt16, UInt16)] = [(0, 256), (5, 256), (.max, 256), (4, 0), (4, 1025), (4, .max)]

    @Test("Impossible shapes get no region: size 0 and no descriptor", arguments: shapes)
    func impossibleGet(queues: UInt16, size: UInt16) throws {
        let frontend = frontend()
        let (given, descriptors) = try get(frontend, queues: queues, size: size)
        #expect(given.size == 0 && descriptors.isEmpty)
        #expect(given.queueCount == queues && given.queueSize == size)
        #expect(frontend.notices.count == 1)
    }

    @Test("Impossible shapes are not taken", arguments: shapes)
    func impossibleSet(queues: UInt16, size: UInt16) throws {
        let frontend = frontend()
        let file = try MemoryFile.create(name: "region", size: 1 << 24)
        let description = InflightDescription(size: 1 << 24, offset: 0, queueCount: queues, queueSize: size)
        #expect(set(frontend, description, file) == Refusal.Code.invalidValue.rawValue)
        #expect(try start(frontend, 0) == 0)
        #expect(frontend.device.configurations[0]?.inflight == nil)
    }

    @Test("Sizes and offsets have to lie in the descriptor and hold the queues")
    func sizes() throws {
        let frontend = frontend()
        let (given, descriptors) = try get(frontend)
        func answer(_ size: UInt64, _ offset: UInt64) -> UInt64? {
            let description = InflightDescription(size: size, offset: offset, queueCount: 4, queueSize: 256)
            return set(frontend, description, descriptors[0])
        }
        #expect(answer(given.size, 0) == 0)
        #expect(answer(4 * 4160 - 1, 0) == Refusal.Code.invalidValue.rawValue, "too small for its queues")
        #expect(answer(0, 0) == Refusal.Code.invalidValue.rawValue)
        #expect(answer(given.size + 1, 0) == Refusal.Code.memory.rawValue, "past the end")
        #expect(answer(given.size, 64) == Refusal.Code.memory.rawValue)
        #expect(answer(given.size, 1) == Refusal.Code.invalidValue.rawValue, "misaligned")
        #expect(answer(given.size, 0 &- 64) == Refusal.Code.memory.rawValue, "wraps")
        #expect(answer(.max, 0) == Refusal.Code.memory.rawValue)
        #expect(answer(.max, 0 &- 64) == Refusal.Code.memory.rawValue)
    }

    @Test("The descriptor has to be a file one can map for writing")
    func descriptors() throws {
        let frontend = frontend()
        let description = InflightDescription(size: 4 * 4160, offset: 0, queueCount: 4, queueSize: 256)
        #expect(set(frontend, description, try EventFD().descriptor) == Refusal.Code.descriptors.rawValue)
        #expect(set(frontend, description, try FileDescriptor.open("/tmp", flags: 0)) == Refusal.Code.descriptors.rawValue)
        #expect(set(frontend, description, try FileDescriptor.open("/proc/self/exe", flags: 0)) == Refusal.Code.memory.rawValue)
    }

    /// QEMU 10 asks for a region of its queue-size property, 128, and its guests make rings of 1024.
    @Test("A ring larger than the queues that were asked for is tracked, in the next session too", arguments: [1024, 256, 64])
    func ringSize(_ size: UInt32) throws {
        let frontend = frontend()
        let (given, descriptors) = try get(frontend, size: 128)
        #expect(given.queueSize == 128)
        #expect(try start(frontend, 1, size: size) == 0)
        #expect(frontend.device.configurations[1]?.inflight?.queue.entryCount == 1024)
        let next = self.frontend()
        #expect(set(next, given, descriptors[0]) == 0)
        #expect(try start(next, 1, size: size) == 0)
        #expect(next.device.configurations[1]?.inflight?.queue.entryCount == 1024)
        #expect(next.notices.isEmpty)
    }

    @Test("In another back-end's region, of exactly its queues, a larger ring runs without tracking and a smaller one with it")
    func exactRegion() throws {
        let frontend = frontend()
        let size = 4 * (16 + 128 * 16 + 48)
        let file = try MemoryFile.create(name: "region", size: UInt64(size))
        #expect(set(frontend, InflightDescription(size: UInt64(size), offset: 0, queueCount: 4, queueSize: 128), file) == 0)
        #expect(try start(frontend, 0) == 0)
        #expect(frontend.device.configurations[0] != nil && frontend.device.configurations[0]?.inflight == nil)
        #expect(frontend.notices.count == 1)
        #expect(try start(frontend, 1, size: 64) == 0)
        #expect(frontend.device.configurations[1]?.inflight?.queue.entryCount == 128)
    }

    @Test("A region of the other format that is too small keeps the ring from starting")
    func otherFormat() throws {
        let size = 4 * 4160
        let file = try MemoryFile.create(name: "region", size: UInt64(size))
        let packed = self.frontend(features: [.version1, .protocolFeatures])
        #expect(set(packed, InflightDescription(size: UInt64(size), offset: 0, queueCount: 4, queueSize: 256), file) == 0)
        packed.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures, .ringPacked]).rawValue))
        #expect(try start(packed, 0) == Refusal.Code.memory.rawValue)
    }

    @Test("A reset forgets the region; RESET_DEVICE also makes it a fresh one", arguments: [true, false])
    func reset(byMessage: Bool) throws {
        let frontend = frontend()
        let (given, descriptors) = try get(frontend)
        #expect(try start(frontend, 0) == 0)
        let part = try #require(frontend.device.configurations[0]?.inflight)
        unsafe part.queue.base.storeBytes(of: 1, toByteOffset: 8, as: UInt16.self)
        if byMessage { frontend.send(.resetDevice) } else { frontend.send(.setStatus, .u64(0)) }
        #expect(unsafe part.queue.base.load(fromByteOffset: 8, as: UInt16.self) == (byMessage ? 0 : 1))
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
        #expect(try start(frontend, 0) == 0)
        #expect(frontend.device.configurations[0]?.inflight == nil)
        frontend.enable(0, false)
        #expect(set(frontend, given, descriptors[0]) == 0)
        frontend.enable(0)
        #expect(frontend.device.configurations[0]?.inflight != nil)
    }

    @Test("Asking again forgets the region there was, also when there is no new one")
    func asksAgain() throws {
        let frontend = frontend()
        let (_, _) = try get(frontend)
        #expect(try get(frontend, queues: 0).1.isEmpty)
        #expect(try start(frontend, 0) == 0)
        #expect(frontend.device.configurations[0] != nil && frontend.device.configurations[0]?.inflight == nil)
    }

    @Test("A region that comes while a ring runs is for its next start")
    func whileRunning() throws {
        let frontend = frontend()
        #expect(try start(frontend, 0) == 0)
        let (_, _) = try get(frontend)
        #expect(frontend.device.configurations[0]?.inflight == nil)
        frontend.enable(0, false)
        frontend.enable(0)
        #expect(frontend.device.configurations[0]?.inflight != nil)
    }
}

struct TestFailure: Error {}
