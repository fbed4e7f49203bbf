import LinuxSystem
import Testing
import VhostUser
import Virtio

/// Rings whose pages lie apart behind an IOMMU, in real memory files: where the device is told that they are.
@Suite struct JoinedAreaTests {
    private static let base = TestFrontend.frontendBase
    private static let pageCount: UInt64 = 16

    /// Which page of the file the ring's page is: none follows the one before.
    private static func target(_ page: UInt64) -> UInt64 { pageCount - 1 - page }

    private static func message(_ page: UInt64, to place: UInt64, _ permissions: UInt8 = 3) -> Payload {
        .iotlb(IOTLBMessage(iova: base + page * 4096, size: 4096, frontendAddress: base + place, permissions: permissions, kind: .update))
    }

    private static func invalidation(_ page: UInt64) -> Payload {
        .iotlb(IOTLBMessage(iova: base + page * 4096, size: 4096, frontendAddress: 0, permissions: 0, kind: .invalidate))
    }

    /// A session with an IOMMU and 1 MiB of memory in which each page begins with its number; ring 0, of 1024 descriptors, is described.
    /// A memory file of 1 MiB whose pages begin with their number and `addend`.
    private static func memory(_ addend: UInt64 = 0) throws -> FileDescriptor {
        let memory = try MemoryFile.create(name: "guest", size: TestFrontend.regionSize)
        let mapping = try MemoryMapping(descriptor: memory, offset: 0, size: TestFrontend.regionSize)
        for page in 0..<Int(TestFrontend.regionSize / 4096) {
            unsafe mapping.base.storeBytes(of: UInt64(page) + addend, toByteOffset: 4096 * page, as: UInt64.self)
        }
        return memory
    }

    private static func session(
        size: UInt32 = 1024, isPacked: Bool = false, limits: SessionLimits = SessionLimits(), isAwaited: Bool = false,
        features: VirtioFeatures = []
    ) throws -> (frontend: TestFrontend, memory: FileDescriptor) {
        let memory = try memory()
        let frontend = TestFrontend(limits: limits, realHost: true)
        frontend.device.offeredFeatures.insert(.accessPlatform)
        var features = features.union([.version1, .accessPlatform, .protocolFeatures])
        if isPacked { features.insert(.ringPacked) }
        frontend.negotiate(features: features)
        #expect(frontend.ask(.setBackendChannel, .none, [try UnixSocket.pair().0]) ?? 0 == 0)
        if isAwaited {
            #expect(frontend.send(.postcopyAdvise).count == 1)
            #expect(frontend.ask(.postcopyListen) == 0)
        }
        _ = frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [memory])
        // QEMU's acknowledgement of addresses.
        if isAwaited { #expect(frontend.ask(.setMemoryTable, .u64(0)) == 0) }
        frontend.describeRing(0, size: size)
        return (frontend, memory)
    }

    /// Translates the ring's pages, each to another place, and starts it.
    private static func start(_ frontend: TestFrontend) throws {
        for page in 0..<pageCount { #expect(frontend.ask(.iotlbMessage, message(page, to: target(page) * 4096)) == 0) }
        try frontend.setKick(0)
        frontend.enable(0)
    }

    /// The numbers of the pages that an area's pages are.
    private static func numbers(_ place: UnsafeMutableRawPointer, _ count: Int) -> [UInt64] {
        // unsafe: the area is as long as this.
        (0..<count).map { unsafe place.load(fromByteOffset: 4096 * $0, as: UInt64.self) }
    }

    @Test("The device sees each area in one piece, page by page what the translations say")
    func places() throws {
        let (frontend, memory) = try Self.session()
        try Self.start(frontend)
        let ring = try #require(frontend.device.configurations[0])
        #expect(ring.joined != nil)
        #expect(unsafe Self.numbers(ring.addresses.descriptors, 4) == [15, 14, 13, 12])
        #expect(unsafe Self.numbers(ring.addresses.driver, 1) == [11])
        #expect(unsafe Self.numbers(ring.addresses.device, 3) == [7, 6, 5])
        // It is the memory itself.
        unsafe ring.addresses.device.storeBytes(of: 99, toByteOffset: 4096, as: UInt64.self)
        let seen = try MemoryMapping(descriptor: memory, offset: 6 * 4096, size: 8)
        #expect(unsafe seen.base.load(as: UInt64.self) == 99)
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        #expect(frontend.device.calls.contains(.stop(0)))
    }

    @Test("Another translation of a page moves the ring there; the same one leaves it where it is")
    func moves() throws {
        let (frontend, _) = try Self.session()
        try Self.start(frontend)
        let before = try #require(frontend.device.configurations[0]).addresses
        frontend.device.calls = []
        for place in [Self.target(9), 100] {
            #expect(frontend.ask(.iotlbMessage, Self.invalidation(9)) == 0)
            #expect(frontend.ask(.iotlbMessage, Self.message(9, to: place * 4096)) == 0)
        }
        #expect(frontend.device.calls == [.suspended(0), .memory(rings: [0]), .suspended(0), .memory(rings: [0])])
        let after = try #require(frontend.device.configurations[0]).addresses
        #expect(unsafe after.descriptors == before.descriptors && after.driver == before.driver, "these stayed")
        #expect(unsafe Self.numbers(after.device, 3) == [7, 100, 5])
        // An invalidation elsewhere.
        frontend.device.calls = []
        #expect(frontend.ask(.iotlbMessage, Self.message(200, to: 0)) == 0)
        #expect(frontend.ask(.iotlbMessage, Self.invalidation(200)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        let same = try #require(frontend.device.configurations[0]).addresses
        #expect(unsafe same.descriptors == after.descriptors && same.device == after.device, "nothing is mapped anew for it")
    }

    @Test("A region more leaves the ring where it is; other memory at the same addresses takes it along, and a table without it is refused")
    func tables() throws {
        let (frontend, _) = try Self.session()
        try Self.start(frontend)
        let before = try #require(frontend.device.configurations[0]).addresses
        frontend.device.calls = []
        let far = TestFrontend.region(guest: 1 << 30, frontend: 1 << 40)
        #expect(frontend.ask(.addMemoryRegion, .memoryRegion(far), [try Self.memory()]) == 0)
        let beside = try #require(frontend.device.configurations[0]).addresses
        #expect(unsafe beside.descriptors == before.descriptors && beside.device == before.device)
        #expect(frontend.ask(.setMemoryTable, .memoryTable([far]), [try Self.memory()]) == Refusal.Code.memory.rawValue)
        #expect(frontend.ask(.setMemoryTable, .memoryTable([TestFrontend.region()]), [try Self.memory(1000)]) == 0)
        let after = try #require(frontend.device.configurations[0]).addresses
        #expect(unsafe Self.numbers(after.descriptors, 4) == [1015, 1014, 1013, 1012])
        #expect(unsafe Self.numbers(after.device, 3) == [1007, 1006, 1005])
        #expect(frontend.device.calls == [.memory(rings: [0]), .memory(rings: [0])])
    }

    @Test("An area in one piece is used where guest memory is mapped, whatever its pages permit")
    func onePiece() throws {
        let (frontend, _) = try Self.session()
        for page in 0..<Self.pageCount {
            #expect(frontend.ask(.iotlbMessage, Self.message(page, to: page * 4096, page == 2 ? 1 : 3)) == 0)
        }
        try frontend.setKick(0)
        frontend.enable(0)
        let ring = try #require(frontend.device.configurations[0])
        #expect(unsafe ring.joined == nil && Self.numbers(ring.addresses.descriptors, 4) == [0, 1, 2, 3])
    }

    @Test(
        "A page that does not begin where one of the file does, a limit that is reached: the ring does not start, and the log says why",
        arguments: [0, 1, 2, 3])
    func refused(way: Int) throws {
        var limits = SessionLimits()
        if way == 3 { limits.joinedPieceCountMax = 6 }
        let (frontend, _) = try Self.session(limits: limits)
        var notices: [String] = []
        for page in 0..<Self.pageCount {
            let shift: UInt64 = way < 3 && page == 9 ? [512, 4096 - 512, 16][way] : 0
            #expect(frontend.ask(.iotlbMessage, Self.message(page, to: Self.target(page) * 4096 + shift)) == 0)
        }
        try frontend.setKick(0)
        frontend.enable(0)
        notices += frontend.notices.map(\.description)
        #expect(frontend.device.configurations[0] == nil)
        let isSaid = notices.contains { $0.contains(way == 3 ? "more than 6 pieces" : "have to meet at page boundaries") }
        #expect(isSaid, "\(notices)")
        guard way < 3 else { return }
        // Mended, it starts.
        #expect(frontend.ask(.iotlbMessage, Self.message(9, to: Self.target(9) * 4096)) == 0)
        #expect(frontend.device.configurations[0] != nil)
    }

    @Test("A page outside of memory is refused, and the ring waits for a better answer; one that may not be written is asked for again")
    func impossiblePages() throws {
        let (frontend, _) = try Self.session()
        try Self.start(frontend)
        frontend.device.calls = []
        #expect(frontend.ask(.iotlbMessage, Self.invalidation(9)) == 0)
        #expect(frontend.ask(.iotlbMessage, Self.message(9, to: TestFrontend.regionSize)) == Refusal.Code.memory.rawValue)
        #expect(frontend.ask(.iotlbMessage, Self.message(9, to: Self.target(9) * 4096, 1)) == 0)
        #expect(frontend.device.calls == [.suspended(0)])
        #expect(frontend.ask(.iotlbMessage, Self.message(9, to: Self.target(9) * 4096)) == 0)
        #expect(frontend.device.calls == [.suspended(0), .memory(rings: [0])])
    }

    @Test("The log has the guest-physical address of each page, of a packed ring's descriptors too, and follows a page that moves")
    func logged() throws {
        for isPacked in [false, true] {
            let (frontend, _) = try Self.session(isPacked: isPacked)
            for page in 0..<Self.pageCount { frontend.send(.iotlbMessage, Self.message(page, to: Self.target(page) * 4096)) }
            let log = try MemoryFile.create(name: "log", size: 4096)
            #expect(TestFrontend.u64(frontend.send(.setLogBase, .log(LogDescription(size: 4096, offset: 0)), [log])) == 0)
            var address = TestFrontend.address(0, flags: 1)
            address.log = address.used
            frontend.send(.setVringAddress, .vringAddress(address))
            try frontend.setKick(0)
            frontend.enable(0)
            let ring = try #require(frontend.device.configurations[0]?.log)
            let used = try #require(ring.used)
            let pages: [UInt64] = isPacked ? [7] : [7, 6, 5]
            #expect(Self.starts(used, 0..<8196) == pages.map { $0 * 4096 })
            #expect((ring.descriptors != nil) == isPacked)
            if let descriptors = ring.descriptors {
                let expected: [UInt64] = [15 * 4096 + 16, 14 * 4096, 13 * 4096, 12 * 4096]
                #expect(Self.starts(descriptors, 16..<16 * 1024) == expected)
            }
            frontend.send(.iotlbMessage, Self.invalidation(9))
            frontend.send(.iotlbMessage, Self.message(9, to: 100 * 4096))
            let moved = try #require(frontend.device.configurations[0]?.log?.used)
            let movedPages: [UInt64] = isPacked ? [7] : [7, 100, 5]
            #expect(Self.starts(moved, 0..<8196) == movedPages.map { $0 * 4096 })
        }
    }

    private static func starts(_ area: LoggedArea, _ range: Range<Int>) -> [UInt64] {
        var starts: [UInt64] = []
        var count: UInt64 = 0
        area.forEach(in: range) { start, length in
            starts.append(start)
            count += length
        }
        #expect(count == UInt64(range.count))
        return starts
    }

    @Test("During a post-copy migration the ring waits, which the log says, and starts when all pages have come")
    func postcopy() throws {
        let (frontend, _) = try Self.session(isAwaited: true)
        try Self.start(frontend)
        #expect(frontend.device.configurations[0] == nil)
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == 0)
        let ring = try #require(frontend.device.configurations[0])
        #expect(ring.joined != nil && ring.memory.awaited == nil)
    }

    @Test("Rings that move about leave no mapping behind")
    func flat() async {
        await #expect(processExitsWith: .success) {
            let (frontend, _) = try JoinedAreaTests.session()
            try JoinedAreaTests.start(frontend)
            var turn: UInt64 = 0
            try LeakTests.expectFlat(messages: 32) {
                turn += 1
                for page in 0..<JoinedAreaTests.pageCount {
                    frontend.send(.iotlbMessage, JoinedAreaTests.invalidation(page))
                    frontend.send(.iotlbMessage, JoinedAreaTests.message(page, to: (turn * 37 + page * 5) % 200 * 4096))
                }
                if turn % 8 == 0 {
                    frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
                    try JoinedAreaTests.start(frontend)
                }
                precondition(frontend.device.configurations[0] != nil)
                frontend.device.calls = []
                frontend.device.stopModes = []
            }
        }
    }
}
