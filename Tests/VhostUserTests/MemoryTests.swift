import LinuxSystem
import Testing
import VhostUser
import Virtio

/// SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG over a host without an operating system.
@Suite struct MemoryTests {
    typealias Region = MemoryRegionDescription

    static func region(guest: UInt64, frontend: UInt64, size: UInt64 = 0x10000, offset: UInt64 = 0) -> Region {
        Region(guestAddress: guest, size: size, frontendAddress: frontend, mapOffset: offset)
    }

    static func frontend() -> TestFrontend {
        let frontend = TestFrontend()
        frontend.negotiate()
        return frontend
    }

    private func add(_ frontend: TestFrontend, _ region: Region) throws -> UInt64? {
        frontend.ask(.addMemoryRegion, .memoryRegion(region), [try EventFD().descriptor])
    }

    @Test("Regions come and go one at a time; the mapping goes with the region")
    func addAndRemove() throws {
        let frontend = Self.frontend()
        let low = Self.region(guest: 0, frontend: 0x1000_0000)
        let high = Self.region(guest: 0x10_0000, frontend: 0x2000_0000)
        #expect(try add(frontend, low) == 0)
        #expect(try add(frontend, high) == 0)
        #expect(frontend.session.status.memoryRegionCount == 2)
        #expect(frontend.session.status.memoryByteCount == 0x20000)
        #expect(frontend.host.liveCount == 2)
        // "The mmap offset is ignored", and a descriptor that comes along is closed unused.
        var inexact = low
        inexact.mapOffset = 0x7777
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(inexact), [try EventFD().descriptor]) == 0)
        #expect(frontend.host.liveCount == 1)
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(high)) == 0)
        #expect(frontend.host.liveCount == 0)
        #expect(frontend.session.status.memoryRegionCount == 0)
        #expect(frontend.device.calls == [.features(.version1)], "no ring runs: the device is not asked")
    }

    @Test("An unknown region, or one that differs in what identifies it, is not removed")
    func removeUnknown() throws {
        let frontend = Self.frontend()
        let known = Self.region(guest: 0x1000, frontend: 0x1000_0000)
        let code = Refusal.Code.invalidValue.rawValue
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(known)) == code)
        #expect(try add(frontend, known) == 0)
        for other in [
            Self.region(guest: 0x2000, frontend: 0x1000_0000), Self.region(guest: 0x1000, frontend: 0x1000_1000),
            Self.region(guest: 0x1000, frontend: 0x1000_0000, size: 0x8000),
        ] {
            #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(other)) == code)
        }
        #expect(frontend.session.status.memoryRegionCount == 1)
    }

    static let impossible: [(String, Region, Refusal.Code)] = [
        ("size 0", region(guest: 0, frontend: 0, size: 0), .invalidValue),
        ("guest addresses wrap", region(guest: 0 &- 0x1000, frontend: 0, size: 0x2000), .invalidValue),
        ("front-end addresses wrap", region(guest: 0, frontend: 0 &- 0x1000, size: 0x2000), .invalidValue),
        ("offset wraps", region(guest: 0, frontend: 0, size: 0x2000, offset: 0 &- 0x1000), .invalidValue),
        ("more than may be mapped", region(guest: 0, frontend: 0, size: (16 << 40) + 1), .limit),
    ]

    @Test("Impossible regions are refused, alone and in a table, and nothing is mapped", arguments: impossible)
    func refused(name: String, region: Region, code: Refusal.Code) throws {
        let frontend = Self.frontend()
        #expect(try add(frontend, region) == code.rawValue)
        #expect(frontend.ask(.setMemoryTable, .memoryTable([region]), [try EventFD().descriptor]) == code.rawValue)
        #expect(frontend.host.mapCount == 0)
        #expect(frontend.session.status.memoryRegionCount == 0)
    }

    @Test("The limit on mapped bytes counts all regions")
    func mappedBytes() throws {
        var limits = SessionLimits()
        limits.mappedByteCountMax = 0x30000
        let frontend = TestFrontend(limits: limits)
        frontend.negotiate()
        for index: UInt64 in 0..<3 { #expect(try add(frontend, Self.region(guest: index << 20, frontend: index << 20)) == 0) }
        let code = Refusal.Code.limit.rawValue
        #expect(try add(frontend, Self.region(guest: 3 << 20, frontend: 3 << 20, size: 0x1000)) == code)
        let table = (0..<4).map { Self.region(guest: UInt64($0) << 20, frontend: UInt64($0) << 20) }
        let descriptors = try table.map { _ in try EventFD().descriptor }
        #expect(frontend.ask(.setMemoryTable, .memoryTable(table), descriptors) == code)
        #expect(frontend.session.status.memoryByteCount == 0x30000, "the old table stays")
    }

    @Test("Overlapping regions, and the same one twice, are refused")
    func overlap() throws {
        let frontend = Self.frontend()
        let first = Self.region(guest: 0x10000, frontend: 0x1000_0000)
        #expect(try add(frontend, first) == 0)
        let code = Refusal.Code.memory.rawValue
        #expect(try add(frontend, first) == code)
        #expect(try add(frontend, Self.region(guest: 0x1ffff, frontend: 0x2000_0000)) == code)
        #expect(try add(frontend, Self.region(guest: 0x1, frontend: 0x2000_0000)) == code)
        #expect(frontend.host.liveCount == 1, "what was mapped for a refused region is unmapped")
        #expect(try add(frontend, Self.region(guest: 0x20000, frontend: 0x2000_0000)) == 0, "adjacent is not overlapping")
        let twice = [first, first]
        let descriptors = try twice.map { _ in try EventFD().descriptor }
        #expect(frontend.ask(.setMemoryTable, .memoryTable(twice), descriptors) == code)
        #expect(frontend.session.status.memoryRegionCount == 2)
    }

    @Test("509 slots, and not one more")
    func slots() throws {
        let frontend = Self.frontend()
        for index: UInt64 in 0..<509 {
            #expect(try add(frontend, Self.region(guest: index << 20, frontend: index << 20, size: 0x1000)) == 0)
        }
        #expect(try add(frontend, Self.region(guest: 509 << 20, frontend: 509 << 20, size: 0x1000)) == Refusal.Code.limit.rawValue)
        #expect(frontend.session.status.memoryRegionCount == 509)
        #expect(frontend.host.liveCount == 509)
    }

    @Test("A table has 1 to 32 regions and a descriptor for each")
    func tableForm() throws {
        let frontend = Self.frontend()
        let regions = (0..<33).map { Self.region(guest: UInt64($0) << 20, frontend: UInt64($0) << 20) }
        let descriptors = try regions.map { _ in try EventFD().descriptor }
        func table(_ regionCount: Int, _ descriptorCount: Int) -> UInt64? {
            frontend.ask(.setMemoryTable, .memoryTable(Array(regions.prefix(regionCount))), Array(descriptors.prefix(descriptorCount)))
        }
        #expect(table(0, 0) == Refusal.Code.descriptors.rawValue)
        #expect(table(0, 1) == Refusal.Code.invalidValue.rawValue)
        #expect(table(2, 1) == Refusal.Code.descriptors.rawValue)
        #expect(table(2, 3) == Refusal.Code.descriptors.rawValue)
        #expect(table(33, 32) == Refusal.Code.limit.rawValue)
        #expect(frontend.host.mapCount == 0)
        #expect(table(32, 32) == 0)
        #expect(frontend.session.status.memoryRegionCount == 32)
        #expect(table(1, 1) == 0, "a table replaces the one before")
        #expect(frontend.session.status.memoryRegionCount == 1)
        #expect(frontend.host.liveCount == 1)
    }

    @Test("What the host cannot map is refused, and the old table stays")
    func mapFails() throws {
        let frontend = Self.frontend()
        #expect(try add(frontend, Self.region(guest: 0, frontend: 0)) == 0)
        frontend.host.refusal = Refusal(.memory, "no address space")
        #expect(try add(frontend, Self.region(guest: 1 << 30, frontend: 1 << 30)) == Refusal.Code.memory.rawValue)
        #expect(frontend.notices.map(\.description) == ["ADD_MEM_REG refused: no address space"])
        #expect(frontend.session.status.memoryRegionCount == 1)
    }

    // MARK: While rings run

    @Test("Rings go on in a new table at their new addresses, acknowledged when nobody uses the old memory")
    func tableUnderRunningRings() throws {
        let frontend = try TestFrontend.running(2)
        frontend.device.holds = true
        let old = try #require(frontend.device.configurations[0]?.memory)
        let regions = [TestFrontend.region(), Self.region(guest: 1 << 30, frontend: 1 << 30)]
        let descriptors = try regions.map { _ in try EventFD().descriptor }
        #expect(frontend.send(.setMemoryTable, .memoryTable(regions), descriptors, needReply: true).isEmpty)
        #expect(frontend.device.calls == [.memory(rings: [0, 1])])
        #expect(frontend.host.liveCount == 3, "the old mapping stays as long as it is in use")
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        let new = try #require(frontend.device.configurations[1])
        #expect(new.memory !== old)
        let base = try #require(new.memory.regions.first)
        #expect(unsafe new.addresses.descriptors == base.hostBase + 0x10000)
        withExtendedLifetime(old) {}
    }

    @Test("Hot-plug while rings run asks the device each time")
    func hotPlug() throws {
        let frontend = try TestFrontend.running()
        let dimm = Self.region(guest: 1 << 32, frontend: 1 << 40)
        #expect(try add(frontend, dimm) == 0)
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(dimm)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0]), .memory(rings: [0])])
        #expect(frontend.host.liveCount == 1)
    }

    @Test("The region that holds a running ring stays")
    func removeLiveRegion() throws {
        let frontend = try TestFrontend.running()
        let code = Refusal.Code.memory.rawValue
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(TestFrontend.region())) == code)
        let elsewhere = [Self.region(guest: 1 << 30, frontend: 1 << 30)]
        #expect(frontend.ask(.setMemoryTable, .memoryTable(elsewhere), [try EventFD().descriptor]) == code)
        #expect(frontend.device.calls.isEmpty)
        #expect(frontend.session.status.rings[0].isRunning)
        #expect(frontend.host.liveCount == 1)
        // Stopped, it may go.
        frontend.enable(0, false)
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(TestFrontend.region())) == 0)
        #expect(frontend.enable(0) == 0, "it waits for memory")
        #expect(!frontend.session.status.rings[0].isRunning)
        try frontend.setMemory()
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("A ring that waited for memory and does not lie in what comes makes the table's answer a refusal")
    func ringOutsideNewMemory() throws {
        let frontend = try TestFrontend.running()
        frontend.describeRing(1)
        frontend.send(.setVringAddress, .vringAddress(TestFrontend.address(40).with(index: 1)))
        try frontend.setKick(1)
        #expect(frontend.enable(1) == Refusal.Code.memory.rawValue)
        #expect(try add(frontend, Self.region(guest: 1 << 30, frontend: 1 << 30)) == Refusal.Code.memory.rawValue)
        let behind = Self.region(guest: 2 << 30, frontend: TestFrontend.frontendBase + 40 << 16, size: 0x10000)
        #expect(try add(frontend, behind) == 0)
        #expect(frontend.session.status.rings[1].isRunning)
    }
}
