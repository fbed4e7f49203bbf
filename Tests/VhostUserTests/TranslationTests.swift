import LinuxSystem
import Testing
import Virtio

@testable import VhostUser

/// ACCESS_PLATFORM and IOTLB_MSG, in both directions.
@Suite struct TranslationTests {
    private static let base = TestFrontend.frontendBase

    private func entry(
        _ iova: UInt64, _ size: UInt64, to frontendAddress: UInt64 = base, _ permissions: UInt8 = 3, _ kind: IOTLBMessage.Kind = .update
    ) -> Payload {
        .iotlb(IOTLBMessage(iova: iova, size: size, frontendAddress: frontendAddress, permissions: permissions, kind: kind))
    }

    private func invalidation(_ iova: UInt64, _ size: UInt64) -> Payload { entry(iova, size, to: 0, 0, .invalidate) }

    /// What went out over the back-end channel since the last look.
    private func requests(_ frontend: TestFrontend) -> [IOTLBMessage] {
        frontend.takeOutputs().compactMap { output in
            guard case .backendRequest(let message) = output, case .iotlb(let iotlb)? = try? message.decode(.iotlb) else { return nil }
            return iotlb
        }
    }

    private func answer(_ frontend: TestFrontend, _ value: UInt64) {
        frontend.session.receiveOnBackendChannel(Message(BackendRequest.iotlbMessage).reply(.u64(value)))
    }

    /// A session with an IOMMU and a back-end channel; ring 0 is described, at the I/O virtual addresses that `TestFrontend` gives.
    private func session(_ features: ProtocolFeatures? = nil, limits: SessionLimits = SessionLimits()) throws -> TestFrontend {
        let frontend = TestFrontend(limits: limits)
        frontend.device.offeredFeatures.insert(.accessPlatform)
        frontend.negotiate(features, features: [.version1, .accessPlatform, .protocolFeatures])
        #expect(frontend.ask(.setBackendChannel, .none, [try EventFD().descriptor]) ?? 0 == 0)
        try frontend.setMemory()
        frontend.describeRing(0)
        return frontend
    }

    /// Ring 0 runs: its 64 KiB are translated to the same place.
    private func running() throws -> TestFrontend {
        let frontend = try session()
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        try frontend.setKick(0)
        frontend.enable(0)
        #expect(frontend.device.calls.contains(.start(0)))
        frontend.device.calls = []
        _ = frontend.takeOutputs()
        return frontend
    }

    @Test("A ring whose areas miss asks for them, waits, and starts with the last update")
    func ringWaits() throws {
        let frontend = try session()
        try frontend.setKick(0)
        #expect(frontend.enable(0) == 0)
        #expect(!frontend.device.calls.contains(.start(0)))
        let asked = requests(frontend)
        #expect(asked.map(\.kind) == [.miss, .miss, .miss])
        #expect(asked.map(\.iova) == [Self.base, Self.base + 0x4000, Self.base + 0x8000])
        #expect(asked.map(\.permissions) == [1, 1, 3])
        for offset in [UInt64(0), 0x4000, 0x8000] {
            #expect(!frontend.device.calls.contains(.start(0)))
            #expect(frontend.ask(.iotlbMessage, entry(Self.base + offset, 0x1000, to: Self.base + offset)) == 0)
            answer(frontend, 0)
        }
        #expect(frontend.device.calls.contains(.start(0)))
        #expect(requests(frontend).isEmpty, "no miss was asked twice")
    }

    @Test("A ring that waits for its areas is stopped like one that does not run")
    func waitingRingStops() throws {
        let frontend = try session()
        try frontend.setKick(0)
        frontend.enable(0)
        let replies = frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        #expect(try replies.first?.decode(.vringState) == .vringState(VringState(index: 0, number: 0)))
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        #expect(!frontend.device.calls.contains(.start(0)))
    }

    @Test("The answer comes whether it was asked for or not; without the feature the message is refused")
    func answers() throws {
        let frontend = try session([.backendChannel])
        #expect(TestFrontend.u64(frontend.send(.iotlbMessage, entry(0x1000, 0x1000))) == 0)
        #expect(TestFrontend.u64(frontend.send(.iotlbMessage, entry(0x1000, 0))) == Refusal.Code.invalidValue.rawValue)
        let other = TestFrontend()
        other.negotiate()
        #expect(other.ask(.iotlbMessage, entry(0x1000, 0x1000)) == Refusal.Code.notNegotiated.rawValue)
    }

    @Test(
        "Impossible messages are refused, and change nothing",
        arguments: [
            (UInt64(0x1000), UInt64(0), base, UInt8(3), IOTLBMessage.Kind.update, Refusal.Code.invalidValue),
            (0x1000, 0x1000, base, 0, .update, .invalidValue), (0x1000, 0x1000, base, 4, .update, .invalidValue),
            (0x1000, 0x1000, base, 0xff, .update, .invalidValue), (.max, 2, base, 3, .update, .invalidValue),
            (0x1000, .max, base, 3, .update, .invalidValue), (0x1000, 0x1000, 0, 3, .update, .memory),
            (0x1000, 0x1001, base + 0xf_f000, 3, .update, .memory), (0x1000, 0x1000, .max, 3, .update, .memory),
            (0x1000, 0x1000, base, 3, .miss, .invalidValue), (0x1000, 0x1000, base, 3, .accessFail, .invalidValue),
        ] as [(UInt64, UInt64, UInt64, UInt8, IOTLBMessage.Kind, Refusal.Code)])
    func impossible(_ row: (iova: UInt64, size: UInt64, to: UInt64, perm: UInt8, kind: IOTLBMessage.Kind, code: Refusal.Code)) throws {
        let frontend = try running()
        #expect(frontend.ask(.iotlbMessage, entry(row.iova, row.size, to: row.to, row.perm, row.kind)) == row.code.rawValue)
        #expect(frontend.device.calls.isEmpty && frontend.session.status.rings[0].isRunning)
    }

    @Test("A miss is asked once while it is pending, and the ring goes on with the update")
    func miss() throws {
        let frontend = try running()
        let miss = MemoryMiss(address: 0x1234_5010, access: .write)
        for _ in 0..<10 { frontend.session.ringDidMiss(0, miss) }
        let asked = requests(frontend)
        #expect(asked == [IOTLBMessage(iova: 0x1234_5010, size: 0, frontendAddress: 0, permissions: 2, kind: .miss)])
        #expect(frontend.ask(.iotlbMessage, entry(0x9000_0000, 0x1000)) == 0)
        #expect(frontend.device.calls.isEmpty, "nobody waits for this one")
        #expect(frontend.ask(.iotlbMessage, entry(0x1234_5000, 0x1000)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        answer(frontend, 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        // The ring looked before it had the update.
        frontend.session.ringDidMiss(0, miss)
        #expect(frontend.device.calls == [.memory(rings: [0]), .memory(rings: [0])] && requests(frontend).isEmpty)
    }

    @Test("A denied miss, one answered without a translation again and again, and an update that permits too little end in an error")
    func denied() throws {
        let miss = MemoryMiss(address: 0x5000, access: .write)
        let refused = try running()
        refused.session.ringDidMiss(0, miss)
        answer(refused, 1)
        #expect(refused.device.calls == [.denied(0, miss)])
        #expect(requests(refused).map(\.kind) == [.miss, .accessFail])

        let vain = try running()
        vain.session.ringDidMiss(0, miss)
        for _ in 0..<20 { answer(vain, 0) }
        #expect(vain.device.calls == [.denied(0, miss)])
        #expect(requests(vain).filter { $0.kind == .miss }.count == 8)

        let silent = try session([.backendChannel])
        silent.send(.iotlbMessage, entry(Self.base, 0x1_0000))
        try silent.setKick(0)
        silent.enable(0)
        silent.device.calls = []
        silent.session.ringDidMiss(0, miss)
        silent.send(.iotlbMessage, entry(0x5000, 0x1000, to: Self.base, 1))
        #expect(silent.device.calls == [.denied(0, miss)])
    }

    @Test("An invalidation is acknowledged when the rings have the new translations")
    func invalidation() throws {
        let frontend = try running()
        frontend.send(.iotlbMessage, entry(0x5000, 0x3000))
        frontend.device.holds = true
        #expect(frontend.send(.iotlbMessage, invalidation(0x6000, 0x1000)).isEmpty)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        frontend.device.holds = false
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        var view = try #require(frontend.device.configurations[0]?.memory).view
        #expect(unsafe view.translate(0x5fff, 1) != nil && view.translate(0x7000, 1) != nil && view.translate(0x6000, 1) == nil)
    }

    @Test("A ring whose own areas are invalidated is suspended, asks for them, and goes on when they are back", arguments: [0, 1])
    func suspension(isEverything: UInt64) throws {
        let frontend = try running()
        #expect(frontend.ask(.iotlbMessage, invalidation(isEverything == 1 ? 0 : Self.base, isEverything == 1 ? 0 : 0x1_0000)) == 0)
        #expect(frontend.device.calls == [.suspended(0)])
        #expect(requests(frontend).map(\.kind) == [.miss, .miss, .miss])
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x8000)) == 0)
        #expect(frontend.device.calls == [.suspended(0)])
        #expect(frontend.ask(.iotlbMessage, entry(Self.base + 0x8000, 0x8000, to: Self.base + 0x8000)) == 0)
        #expect(frontend.device.calls == [.suspended(0), .memory(rings: [0])])
    }

    @Test("The number of translations is bounded; those of running rings stay")
    func bound() throws {
        var limits = SessionLimits()
        limits.translationCountMax = 16
        let frontend = try session(limits: limits)
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        try frontend.setKick(0)
        frontend.enable(0)
        for index in 0..<10_000 as Range<UInt64> {
            frontend.send(.iotlbMessage, entry(index << 20, 0x1000))
        }
        frontend.device.calls = []
        frontend.send(.iotlbMessage, invalidation(0, 0x1000))
        #expect(frontend.device.calls == [.memory(rings: [0])])
        #expect(try #require(frontend.device.configurations[0]?.memory).regionCount <= 17)
    }

    @Test("A ring whose areas an update moves, or pushes out, does not go on where they were")
    func movedAreas() throws {
        var limits = SessionLimits()
        limits.translationCountMax = 16
        // In pages of its own: as many as are kept, so that the next one pushes them out.
        let frontend = try session(limits: limits)
        let pages = (0..<16 as Range<UInt64>).map { Self.base + $0 << 12 }
        for page in pages { #expect(frontend.ask(.iotlbMessage, entry(page, 0x1000, to: page)) == 0) }
        try frontend.setKick(0)
        frontend.enable(0)
        frontend.device.calls = []
        #expect(frontend.ask(.iotlbMessage, entry(pages[8], 0x1000, to: pages[8])) == 0)
        #expect(frontend.device.calls == [], "it says the same again")
        #expect(frontend.ask(.iotlbMessage, entry(pages[8], 0x1000, to: Self.base + 0x2_0000)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        frontend.device.calls = []
        // Of the areas' pages themselves; others are let go for it.
        #expect(frontend.ask(.iotlbMessage, entry(1 << 40, 0x1000)) == 0)
        #expect(frontend.device.calls == [])
        for index in 0..<4096 as Range<UInt64> {
            #expect(frontend.ask(.iotlbMessage, entry(pages[0] + index, 1, to: pages[0] + index)) == 0)
            if frontend.device.calls.contains(.suspended(0)) { break }
        }
        #expect(frontend.device.calls.last == .suspended(0))
        frontend.device.calls = []
        #expect(requests(frontend).contains { $0.kind == .miss && $0.iova == pages[8] })
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
    }

    @Test("A log that comes while a ring is suspended gets what the ring writes where it goes on", arguments: [false, true])
    func logWhileSuspended(isRingLogged: Bool) throws {
        let frontend = try session()
        let address = TestFrontend.address(0, flags: isRingLogged ? 1 : 0, log: Self.base + 0x8000)
        #expect(frontend.ask(.setVringAddress, .vringAddress(address)) == 0)
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        try frontend.setKick(0)
        frontend.enable(0)
        #expect(frontend.ask(.iotlbMessage, invalidation(0, 0)) == 0)
        #expect(frontend.device.calls.last == .suspended(0))
        let features: VirtioFeatures = [.version1, .accessPlatform, .protocolFeatures, .logAll]
        #expect(frontend.ask(.setFeatures, .u64(features.rawValue)) == 0)
        let log = try MemoryFile.create(name: "log", size: 4096)
        let replies = frontend.send(.setLogBase, .log(LogDescription(size: 4096, offset: 0)), [log])
        #expect(TestFrontend.u64(replies) == 0)
        // The used ring comes to lie elsewhere.
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x8000)) == 0)
        #expect(frontend.ask(.iotlbMessage, entry(Self.base + 0x8000, 0x8000, to: Self.base + 0x4_0000)) == 0)
        #expect(frontend.device.calls.last == .memory(rings: [0]))
        let used = TestFrontend.region().guestAddress + 0x4_0000
        let ringLog = try #require(frontend.device.configurations[0]?.log)
        #expect(LogWay(ringLog) == LogWay(byteCount: 4096, usedAddress: isRingLogged ? used : nil))
    }

    @Test("The answer to a miss of before a stop, a reset or other features concerns nobody", arguments: 0..<3)
    func lateAnswers(way: Int) throws {
        let frontend = try running()
        frontend.session.ringDidMiss(0, MemoryMiss(address: 0x5000, access: .write))
        if way == 1 {
            #expect(frontend.ask(.resetDevice) == 0)
        } else {
            frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        }
        if way > 0 {
            frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .accessPlatform, .protocolFeatures]).rawValue))
            frontend.describeRing(0)
        }
        #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
        try frontend.setKick(0)
        frontend.enable(0)
        #expect(frontend.session.status.rings[0].isRunning)
        let other = MemoryMiss(address: 0x9000, access: .write)
        frontend.session.ringDidMiss(0, other)
        frontend.device.calls = []
        answer(frontend, 1)
        #expect(frontend.device.calls == [], "the first answer is the old miss's")
        answer(frontend, 1)
        #expect(frontend.device.calls == [.denied(0, other)])
    }

    @Test("Misses that nobody answers, and translations of single bytes of a ring's areas, are bounded")
    func boundOfMisses() throws {
        let frontend = try running()
        for index in 0..<20_000 as Range<UInt64> {
            frontend.session.ringDidMiss(0, MemoryMiss(address: 1 << 40 + index << 12, access: .write))
        }
        #expect(frontend.session.iotlb.asked.count <= 4096)
        var table = IOTLB()
        for index in 0..<100 as Range<UInt64> {
            let byte = IOTLB.Entry(iova: index, last: index, frontendAddress: index << 12, access: .readWrite)
            let hasMoved = table.update(byte, limit: 16) { _ in true }
            #expect(hasMoved == (index > 0 && table.entries.count == 1), "whoever stands on them has to know")
            #expect(table.entries.count <= 16)
        }
    }

    @Test("A new memory table keeps the translations that lie in it, and is refused when a ring's would not")
    func memoryTable() throws {
        let frontend = try running()
        let far = TestFrontend.region(guest: 1 << 30, frontend: 1 << 40)
        let file = try EventFD().descriptor
        #expect(frontend.ask(.setMemoryTable, .memoryTable([far]), [file]) == Refusal.Code.memory.rawValue)
        #expect(frontend.ask(.addMemoryRegion, .memoryRegion(far), [file]) == 0)
        #expect(frontend.ask(.iotlbMessage, entry(0x5000, 0x1000, to: 1 << 40)) == 0)
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(far)) == 0)
        var view = try #require(frontend.device.configurations[0]?.memory).view
        #expect(unsafe view.translate(0x5000, 1) == nil && view.translate(Self.base, 1) != nil)
    }

    @Test("After a stop, a reset and SET_FEATURES no translation from before is used")
    func forgetting() throws {
        for way in 0..<2 {
            let frontend = try running()
            if way == 0 {
                frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
            } else {
                #expect(frontend.ask(.resetDevice) == 0)
                frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .accessPlatform, .protocolFeatures]).rawValue))
                frontend.describeRing(0)
            }
            frontend.device.calls = []
            try frontend.setKick(0)
            frontend.enable(0)
            #expect(!frontend.device.calls.contains(.start(0)))
            #expect(requests(frontend).count == 3 || way == 0)
            #expect(frontend.ask(.iotlbMessage, entry(Self.base, 0x1_0000)) == 0)
            #expect(frontend.device.calls.contains(.start(0)))
        }
    }

    @Test("With another back-end channel the misses that rings wait for are asked for again")
    func anotherChannel() throws {
        let frontend = try running()
        frontend.session.ringDidMiss(0, MemoryMiss(address: 0x5000, access: .read))
        frontend.session.backendChannelDidClose()
        _ = frontend.takeOutputs()
        frontend.send(.setBackendChannel, .none, [try EventFD().descriptor])
        #expect(requests(frontend).map(\.iova) == [0x5000])
    }
}
