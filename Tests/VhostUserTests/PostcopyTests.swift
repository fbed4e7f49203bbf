import LinuxSystem
import Testing
import VhostUser
import Virtio

/// POSTCOPY_ADVISE, LISTEN and END, and memory in between; on real memory files, since a userfaultfd has no others.
@Suite struct PostcopyTests {
    /// What is asked in an order that no migration has.
    @Test func outOfOrder() throws {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate()
        #expect(frontend.ask(.postcopyListen) == Refusal.Code.invalidValue.rawValue, "LISTEN before ADVISE")
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == Refusal.Code.invalidValue.rawValue, "END before ADVISE")
        let advice = frontend.send(.postcopyAdvise)
        #expect(advice.count == 1 && advice[0].payload.isEmpty && advice[0].descriptors.count == 1)
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == Refusal.Code.invalidValue.rawValue, "END without LISTEN")
        // The front-end waits for the answer of ADVISE, and sees by the missing descriptor that it gets none.
        let again = frontend.send(.postcopyAdvise)
        #expect(again.count == 1 && again[0].payload.isEmpty && again[0].descriptors.isEmpty, "ADVISE twice")
        #expect(frontend.ask(.postcopyListen) == 0)
        #expect(frontend.session.status.isAwaitingMemory)
        #expect(frontend.ask(.postcopyListen) == Refusal.Code.invalidValue.rawValue, "LISTEN twice")
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == 0)
        #expect(!frontend.session.status.isAwaitingMemory)
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == Refusal.Code.invalidValue.rawValue, "END twice")
        // Another migration.
        #expect(frontend.send(.postcopyAdvise).first?.descriptors.count == 1)
        #expect(frontend.closure == nil)
    }

    /// Memory whose addresses the front-end was not told cannot be waited for.
    @Test func memoryBeforeListen() throws {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate()
        #expect(frontend.ask(.setMemoryTable, .memoryTable([TestFrontend.region()]), [try Self.file()]) == 0)
        #expect(frontend.send(.postcopyAdvise).count == 1)
        #expect(frontend.ask(.postcopyListen) == Refusal.Code.memory.rawValue)
        #expect(!frontend.session.status.isAwaitingMemory)
    }

    private static func file(pages: UInt64 = TestFrontend.regionSize / 4096) throws -> FileDescriptor {
        try MemoryFile.create(name: "guest", size: pages * 4096)
    }

    /// A session that listens, and whose device's calls are forgotten.
    private static func listening() throws -> TestFrontend {
        let frontend = TestFrontend(realHost: true)
        frontend.negotiate()
        #expect(frontend.send(.postcopyAdvise).count == 1)
        #expect(frontend.ask(.postcopyListen) == 0)
        frontend.device.calls = []
        return frontend
    }

    private static func regions(_ replies: [Message]) -> [MemoryRegionDescription]? {
        guard replies.count == 1, case .memoryTable(let regions)? = try? replies[0].decode(.memoryTable) else { return nil }
        return regions
    }

    private static func region(_ replies: [Message]) -> MemoryRegionDescription? {
        guard replies.count == 1, case .memoryRegion(let region)? = try? replies[0].decode(.memoryRegion) else { return nil }
        return region
    }

    private static func startRing(_ frontend: TestFrontend) throws {
        frontend.describeRing(0)
        try frontend.setKick(0)
        try frontend.setCall(0)
        #expect(frontend.enable(0) == 0)
    }

    /// SET_MEM_TABLE is answered with the addresses here, in the order of the request; no ring starts before the acknowledgement, which is not
    /// answered. With and without need_reply there is one answer.
    @Test(arguments: [false, true]) func table(needReply: Bool) throws {
        let frontend = try Self.listening()
        let sent = [TestFrontend.region(guest: 1 << 32, frontend: 1 << 40), TestFrontend.region()]
        let replies = frontend.send(
            .setMemoryTable, .memoryTable(sent), [try Self.file(), try Self.file()], needReply: needReply)
        let told = try #require(Self.regions(replies))
        for (told, sent) in zip(told, sent) {
            #expect(told.guestAddress == sent.guestAddress && told.size == sent.size && told.mapOffset == sent.mapOffset)
            #expect(told.frontendAddress != sent.frontendAddress && told.frontendAddress % 4096 == 0)
        }
        try Self.startRing(frontend)
        #expect(frontend.device.configurations.isEmpty, "nothing starts in memory that is not acknowledged")
        #expect(frontend.send(.setMemoryTable, .u64(0)).isEmpty)
        let memory = try #require(frontend.device.configurations[0]?.memory)
        #expect(memory.awaited != nil)
        #expect(frontend.closure == nil && frontend.notices.isEmpty)
        // And when all is there, the ring goes on in memory that is not waited for.
        frontend.device.calls = []
        #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == 0)
        #expect(frontend.device.calls == [.memory(rings: [0])])
        let arrived = try #require(frontend.device.configurations[0]?.memory)
        #expect(arrived.awaited == nil && arrived.sharesTable(with: memory))
    }

    /// QEMU acknowledges regions that were added with one message for all, by the number of the message before.
    @Test func regions() throws {
        let frontend = try Self.listening()
        let first = try #require(Self.region(frontend.send(.addMemoryRegion, .memoryRegion(TestFrontend.region()), [try Self.file()])))
        let other = TestFrontend.region(guest: 1 << 32, frontend: 1 << 40)
        let second = try #require(Self.region(frontend.send(.addMemoryRegion, .memoryRegion(other), [try Self.file()])))
        #expect(first.guestAddress == 0 && second.guestAddress == 1 << 32 && first.frontendAddress != second.frontendAddress)
        try Self.startRing(frontend)
        #expect(frontend.device.configurations.isEmpty)
        #expect(frontend.send(.addMemoryRegion, .u64(0)).isEmpty)
        #expect(frontend.device.configurations[0]?.memory.regionCount == 2)
        #expect(frontend.session.status.memoryRegionCount == 2)
        // Nothing changed, or a region went: acknowledged all the same.
        for request: UInt32 in [0, FrontendRequest.removeMemoryRegion.rawValue] {
            frontend.session.receive(Message(request: request, flags: .version1, payload: Array(repeating: 0, count: 8)))
        }
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(other)) == 0)
        #expect(frontend.session.status.memoryRegionCount == 1)
        #expect(frontend.closure == nil && frontend.notices.isEmpty)
    }

    /// While rings run they stand still from the answer to the acknowledgement, and go on in the new memory.
    @Test func changeUnderRunningRings() throws {
        let frontend = try Self.listening()
        let file = try Self.file()
        _ = frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [file])
        frontend.send(.setMemoryTable, .u64(0))
        try Self.startRing(frontend)
        frontend.device.calls = []
        // One without the ring's memory is refused, with an answer that the front-end waits for, and changes nothing.
        let elsewhere = TestFrontend.region(guest: 1 << 32, frontend: 1 << 40)
        #expect(
            TestFrontend.u64(frontend.send(.setMemoryTable, .memoryTable([elsewhere]), [try Self.file()])) == Refusal.Code.memory.rawValue)
        #expect(frontend.device.calls.isEmpty)
        frontend.device.holds = true
        #expect(frontend.send(.addMemoryRegion, .memoryRegion(elsewhere), [try Self.file()]).isEmpty)
        #expect(frontend.device.calls == [.suspended(0)])
        frontend.device.release()
        #expect(Self.region(frontend.takeReplies()) != nil)
        frontend.device.holds = false
        // A region that goes again before it was acknowledged, and one that comes.
        #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(elsewhere)) == 0)
        #expect(Self.region(frontend.send(.addMemoryRegion, .memoryRegion(elsewhere), [try Self.file()])) != nil)
        #expect(frontend.device.calls == [.suspended(0)])
        // The front-end says that it cannot: the ring stands still until it can.
        frontend.send(.addMemoryRegion, .u64(1))
        #expect(frontend.device.calls == [.suspended(0)])
        frontend.send(.addMemoryRegion, .u64(0))
        #expect(frontend.device.calls == [.suspended(0), .memory(rings: [0])])
        #expect(frontend.device.configurations[0]?.memory.regionCount == 2)
    }

    /// What cannot be waited for is refused by name: a file that is not in memory, memory that is not there.
    @Test func unusableMemory() throws {
        let frontend = try Self.listening()
        let file = try FileDescriptor.open("/proc/self/exe", flags: 0)
        #expect(
            TestFrontend.u64(frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region(size: 4096)]), [file]))
                == Refusal.Code.memory.rawValue)
        #expect(
            TestFrontend.u64(frontend.send(.addMemoryRegion, .memoryRegion(TestFrontend.region()), [try Self.file(pages: 1)]))
                == Refusal.Code.memory.rawValue)
        #expect(frontend.session.status.memoryRegionCount == 0)
    }

    /// END while a ring still waits: what it would read are zeroes that nobody wrote.
    @Test func endTooEarly() throws {
        let frontend = try Self.listening()
        _ = frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [try Self.file()])
        frontend.send(.setMemoryTable, .u64(0))
        try Self.startRing(frontend)
        frontend.device.settles = false
        #expect(frontend.send(.postcopyEnd).isEmpty)
        #expect(frontend.closure == .pagesMissing)
        let awaited = try #require(frontend.device.configurations[0]?.memory.awaited)
        #expect(!awaited.isWithdrawn)
        frontend.session.disconnect {}
        #expect(awaited.isWithdrawn, "before anything else is done with it")
    }

    /// A session that ends in the middle withdraws memory before its rings are stopped; one that ends afterwards has nothing to withdraw.
    @Test(arguments: [false, true]) func disconnect(ended: Bool) throws {
        let frontend = try Self.listening()
        _ = frontend.send(.setMemoryTable, .memoryTable([TestFrontend.region()]), [try Self.file()])
        frontend.send(.setMemoryTable, .u64(0))
        try Self.startRing(frontend)
        let awaited = try #require(frontend.device.configurations[0]?.memory.awaited)
        if ended { #expect(TestFrontend.u64(frontend.send(.postcopyEnd)) == 0) }
        frontend.device.holds = true
        frontend.session.disconnect {}
        #expect(frontend.device.heldCount == 1, "the ring has not stopped")
        #expect(awaited.isWithdrawn == !ended)
        frontend.device.release()
    }

    @Test func notOffered() {
        let frontend = TestFrontend(realHost: true)
        frontend.device.offeredProtocolFeatures = ProtocolFeatures(rawValue: .max).subtracting(.pageFault)
        frontend.negotiate()
        #expect(!frontend.session.offeredProtocolFeatures.contains(.pageFault))
        for request in [FrontendRequest.postcopyAdvise, .postcopyListen, .postcopyEnd] {
            #expect(frontend.ask(request) == Refusal.Code.notNegotiated.rawValue)
        }
    }
}
