import LinuxSystem
import Testing
import VhostUser
import Virtio

/// Memory and descriptors of the operating system's.
@Suite struct HostTests {
    private func frontend() -> TestFrontend {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate()
        return frontend
    }

    private func setMemory(_ frontend: TestFrontend, _ descriptor: FileDescriptor, size: UInt64, offset: UInt64 = 0) -> UInt64? {
        let region = MemoryRegionDescription(guestAddress: 0, size: size, frontendAddress: TestFrontend.frontendBase, mapOffset: offset)
        return frontend.ask(.setMemoryTable, .memoryTable([region]), [descriptor])
    }

    @Test("A region begins at its offset, aligned or not, and is the front-end's own memory")
    func offsets() throws {
        for offset: UInt64 in [0, 4096, 0x1230] {
            let file = try MemoryFile.create(name: "guest", size: 1 << 21)
            let there = try MemoryMapping(descriptor: file, offset: 0, size: 1 << 21)
            unsafe there.base.storeBytes(of: 0xab, toByteOffset: Int(offset), as: UInt8.self)
            let frontend = frontend()
            #expect(setMemory(frontend, file, size: 1 << 20, offset: offset) == 0)
            frontend.describeRing(0)
            try frontend.setKick(0)
            #expect(frontend.enable(0) == 0)
            let region = try #require(frontend.device.configurations[0]?.memory.regions.first)
            #expect(unsafe region.hostBase.load(as: UInt8.self) == 0xab)
            unsafe region.hostBase.storeBytes(of: 0xcd, toByteOffset: 7, as: UInt8.self)
            #expect(unsafe there.base.load(fromByteOffset: Int(offset) + 7, as: UInt8.self) == 0xcd)
        }
    }

    @Test("A ring's areas are aligned in this process too, or the message that would have it otherwise is refused")
    func alignment() throws {
        let file = try MemoryFile.create(name: "guest", size: 1 << 21)
        let memory = Refusal.Code.memory.rawValue
        let early = frontend()
        #expect(setMemory(early, file, size: 1 << 20, offset: 0x1234) == 0)
        early.describeRing(0)
        try early.setKick(0)
        #expect(early.enable(0) == memory)
        #expect(early.device.configurations.isEmpty)

        // The table changes under a ring that runs: it stays where it is.
        let late = frontend()
        #expect(setMemory(late, file, size: 1 << 20) == 0)
        late.describeRing(0)
        try late.setKick(0)
        #expect(late.enable(0) == 0)
        #expect(setMemory(late, file, size: 1 << 20, offset: 1) == memory)
        #expect(!late.device.calls.contains(.memory(rings: [0])))
        #expect(setMemory(late, file, size: 1 << 20, offset: 16) == 0)
        #expect(late.device.calls.contains(.memory(rings: [0])))
    }

    @Test("What lies past the file's end is not mapped")
    func fileSize() throws {
        let file = try MemoryFile.create(name: "guest", size: 1 << 20)
        let memory = Refusal.Code.memory.rawValue
        #expect(setMemory(frontend(), file, size: 1 << 20) == 0)
        #expect(setMemory(frontend(), file, size: 1 << 20 + 1) == memory)
        #expect(setMemory(frontend(), file, size: 4096, offset: 1 << 20) == memory)
        #expect(setMemory(frontend(), file, size: 1 << 20, offset: 4096) == memory)
        #expect(setMemory(frontend(), file, size: 4096, offset: 1 << 63) == memory)
        #expect(setMemory(frontend(), try MemoryFile.create(name: "empty", size: 0), size: 4096) == memory)
    }

    @Test("Memory is mapped from files that can be written, and from nothing else")
    func kinds() throws {
        let descriptors = Refusal.Code.descriptors.rawValue
        #expect(setMemory(frontend(), try EventFD().descriptor, size: 4096) == descriptors)
        #expect(setMemory(frontend(), try FileDescriptor.open("/tmp", flags: 0), size: 4096) == descriptors)
        #expect(setMemory(frontend(), try FileDescriptor.open("/dev/zero", flags: 2), size: 4096) == descriptors)
        #expect(setMemory(frontend(), try UnixSocket.pair().0, size: 4096) == descriptors)
        #expect(setMemory(frontend(), try FileDescriptor.open("/proc/self/exe", flags: 0), size: 4096) == Refusal.Code.memory.rawValue)
        let file = try MemoryFile.create(name: "guest", size: 4096)
        let readOnly = try FileDescriptor.open("/proc/self/fd/\(file.rawValue)", flags: 0)
        #expect(setMemory(frontend(), readOnly, size: 4096) == Refusal.Code.memory.rawValue)
    }

    @Test("A kick comes over an eventfd or a pipe; a directory or a file cannot bring one")
    func notifiers() throws {
        let frontend = frontend()
        func answer(_ descriptor: FileDescriptor) -> [UInt64?] {
            [FrontendRequest.setVringKick, .setVringCall, .setVringError].map {
                frontend.ask($0, .vringDescriptor(VringDescriptorReference(index: 0, hasDescriptor: true)), [descriptor])
            }
        }
        let refused: [UInt64?] = Array(repeating: Refusal.Code.descriptors.rawValue, count: 3)
        #expect(answer(try FileDescriptor.open("/tmp", flags: 0)) == refused)
        #expect(answer(try FileDescriptor.open("/proc/self/exe", flags: 0)) == refused)
        #expect(answer(try UnixSocket.pair().0) == refused)
        #expect(answer(try MemoryFile.create(name: "guest", size: 4096)) == refused)
        #expect(answer(try Epoll().descriptor) == refused, "what is no eventfd may be ready for ever, or wait when it is read")
        #expect(!frontend.session.status.rings[0].isStarted)
        #expect(answer(try EventFD().descriptor) == [0, 0, 0])
        #expect(frontend.session.status.rings[0].isStarted)
    }

    @Test("The back-end channel is a socket, and does not block us")
    func channels() throws {
        let frontend = frontend()
        #expect(frontend.ask(.setBackendChannel, .none, [try EventFD().descriptor]) == Refusal.Code.descriptors.rawValue)
        #expect(!frontend.session.status.hasBackendChannel)
        let (here, there) = try UnixSocket.pair()
        try here.setNonBlocking(false)
        #expect(frontend.ask(.setBackendChannel, .none, [here]) == 0)
        // Nothing is there to read: a socket that blocks would not come back.
        var byte: [UInt8] = [0]
        let count = try unsafe byte.withUnsafeMutableBytes { try unsafe here.read(into: $0) }
        #expect(count == nil)
        withExtendedLifetime(there) {}
    }

    @Test("Guest memory of 64 GiB in 8 regions is mapped in well under 100 ms")
    func mapsQuickly() throws {
        let frontend = frontend()
        let size: UInt64 = 8 << 30
        let files = try (0..<8).map { _ in try MemoryFile.create(name: "guest", size: size) }
        let regions = (0..<8).map {
            MemoryRegionDescription(guestAddress: UInt64($0) * size, size: size, frontendAddress: UInt64($0) * size, mapOffset: 0)
        }
        let clock = ContinuousClock()
        let duration = clock.measure { #expect(frontend.ask(.setMemoryTable, .memoryTable(regions), files) == 0) }
        #expect(duration < .milliseconds(100))
        #expect(frontend.session.status.memoryByteCount == 64 << 30)
    }
}
