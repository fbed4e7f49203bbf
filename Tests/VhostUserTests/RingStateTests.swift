import LinuxSystem
import Testing
import VhostUser
import Virtio

/// When a ring runs and when it does not (specification, "Ring states").
@Suite struct RingStateTests {
    @Test("A ring runs once it is described, started and enabled, in whatever order that comes", arguments: 0..<24)
    func order(permutation: Int) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        var steps = ["memory", "description", "kick", "enable"]
        var rest = permutation
        for index in steps.indices {
            steps.swapAt(index, index + rest % (steps.count - index))
            rest /= steps.count - index
        }
        for (position, step) in steps.enumerated() {
            switch step {
            case "memory": try frontend.setMemory()
            case "description": frontend.describeRing(1)
            case "kick": try frontend.setKick(1)
            default: frontend.enable(1)
            }
            #expect(frontend.session.status.rings[1].isRunning == (position == 3), "\(steps) at \(position)")
        }
        #expect(frontend.device.calls.filter { $0 == .start(1) }.count == 1)
        let ring = try #require(frontend.device.configurations[1])
        #expect(ring.size == 256 && ring.base == RingBase(split: 0) && !ring.isPolled && ring.kick != nil)
        #expect(ring.features == .version1)
        let base = try #require(ring.memory.regions.first)
        #expect(unsafe ring.addresses.descriptors == base.hostBase + 0x10000)
        #expect(unsafe ring.addresses.driver == base.hostBase + 0x14000)
        #expect(unsafe ring.addresses.device == base.hostBase + 0x18000)
    }

    @Test("SET_VRING_KICK with bit 8 starts a ring that is polled")
    func polled() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        #expect(frontend.ask(.setVringKick, .vringDescriptor(.init(index: 0, hasDescriptor: false))) == 0)
        frontend.enable(0)
        #expect(frontend.device.configurations[0]?.isPolled == true)
        #expect(frontend.device.configurations[0]?.kick == nil)
        #expect(frontend.session.status.rings[0].isPolled)
    }

    @Test("SET_FEATURES without VHOST_USER_F_PROTOCOL_FEATURES enables every ring")
    func enabledByFeatures() throws {
        let frontend = TestFrontend()
        frontend.send(.setFeatures, .u64(VirtioFeatures.version1.rawValue))
        #expect(frontend.session.status.rings.allSatisfy { $0.isEnabled })
        try frontend.setMemory()
        frontend.describeRing(2)
        try frontend.setKick(2)
        #expect(frontend.device.calls.contains(.start(2)))
    }

    @Test("With VHOST_USER_F_PROTOCOL_FEATURES a ring waits to be enabled, and SET_FEATURES enables a waiting one if the bit goes")
    func enabledLater() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        try frontend.setKick(0)
        #expect(!frontend.session.status.rings[0].isRunning)
        frontend.send(.setFeatures, .u64(VirtioFeatures.version1.rawValue))
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("SET_VRING_KICK on a running ring changes the descriptor and does not stop, start or disable it")
    func kickDoesNotDisable() throws {
        let frontend = try TestFrontend.running()
        try frontend.setKick(0)
        #expect(frontend.device.calls == [.kick(0, polled: false)])
        #expect(frontend.session.status.rings[0].isEnabled && frontend.session.status.rings[0].isRunning)
        frontend.send(.setVringKick, .vringDescriptor(.init(index: 0, hasDescriptor: false)))
        #expect(frontend.device.calls == [.kick(0, polled: false), .kick(0, polled: true)])
    }

    @Test("A call descriptor is acknowledged when the data path uses it, not before")
    func callSwap() throws {
        let frontend = try TestFrontend.running()
        frontend.device.holds = true
        let call = try EventFD().descriptor
        let early = frontend.send(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: true)), [call], needReply: true)
        #expect(early.isEmpty && !frontend.session.isReady)
        #expect(frontend.device.calls == [.call(0, present: true)])
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        #expect(frontend.device.configurations[0]?.call === call)
        // Masking: no descriptor.
        frontend.device.holds = false
        #expect(frontend.ask(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: false))) == 0)
        #expect(frontend.device.calls.last == .call(0, present: false))
    }

    @Test("Call and error descriptors that come before a ring runs are there when it starts")
    func descriptorsBeforeStart() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        let call = try EventFD().descriptor
        let error = try EventFD().descriptor
        #expect(frontend.ask(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: true)), [call]) == 0)
        #expect(frontend.ask(.setVringError, .vringDescriptor(.init(index: 0, hasDescriptor: true)), [error]) == 0)
        #expect(frontend.device.calls == [.features(.version1)])
        frontend.describeRing(0)
        try frontend.setKick(0)
        frontend.enable(0)
        #expect(frontend.device.configurations[0]?.call === call)
        #expect(frontend.device.configurations[0]?.error === error)
        frontend.send(.setVringError, .vringDescriptor(.init(index: 0, hasDescriptor: false)))
        #expect(frontend.device.calls.last == .error(0, present: false))
    }

    @Test("Disable waits for the ring, keeps its place, and enable goes on there")
    func disable() throws {
        let frontend = try TestFrontend.running()
        frontend.device.bases[0] = RingBase(split: 77)
        frontend.device.holds = true
        #expect(frontend.send(.setVringEnable, .vringState(VringState(index: 0, number: 0)), needReply: true).isEmpty)
        #expect(frontend.device.calls == [.stop(0)])
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        #expect(!frontend.session.status.rings[0].isRunning && frontend.session.status.rings[0].isStarted)
        frontend.enable(0)
        #expect(frontend.device.calls == [.stop(0), .start(0)])
        #expect(frontend.device.configurations[0]?.base == RingBase(split: 77))
    }

    @Test("An enable storm stops and starts once for each change, and not at all for none")
    func storm() throws {
        let frontend = try TestFrontend.running()
        for _ in 0..<1000 {
            #expect(frontend.enable(0, false) == 0)
            #expect(frontend.enable(0, false) == 0)
            #expect(frontend.enable(0, true) == 0)
            #expect(frontend.enable(0, true) == 0)
        }
        #expect(frontend.device.calls.count == 2000)
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("SET_VRING_ENABLE knows 0 and 1")
    func enableValues() {
        let frontend = TestFrontend()
        frontend.negotiate()
        #expect(frontend.ask(.setVringEnable, .vringState(VringState(index: 0, number: 2))) == Refusal.Code.invalidValue.rawValue)
        #expect(!frontend.session.status.rings[0].isEnabled)
    }

    @Test("GET_VRING_BASE waits for its own ring only, and stops it until the next SET_VRING_KICK")
    func getVringBase() throws {
        let frontend = try TestFrontend.running(2)
        frontend.device.bases[1] = RingBase(split: 1234)
        frontend.device.holds = true
        let state = VringState(index: 1, number: 0)
        #expect(frontend.send(.getVringBase, .vringState(state)).isEmpty)
        #expect(frontend.device.calls == [.stop(1)])
        #expect(frontend.device.stopModes == [.leaveInflight], "GET_VRING_BASE_INFLIGHT is negotiated")
        #expect(frontend.session.status.rings[0].isRunning)
        frontend.device.release()
        let replies = frontend.takeReplies()
        #expect(replies.count == 1)
        #expect(try replies.first?.decode(.vringState) == .vringState(VringState(index: 1, number: 1234)))
        #expect(!frontend.session.status.rings[1].isStarted && frontend.session.status.rings[1].isEnabled)
        // Without a new start nothing runs; with one, where it was.
        frontend.device.holds = false
        frontend.enable(1)
        #expect(frontend.device.calls == [.stop(1)])
        try frontend.setKick(1)
        #expect(frontend.device.configurations[1]?.base == RingBase(split: 1234))
        #expect(frontend.device.configurations[1]?.call != nil)
    }

    @Test("GET_VRING_BASE of a ring that does not run answers where it would begin")
    func baseOfIdleRings() throws {
        let frontend = TestFrontend()
        frontend.negotiate(features: [.version1, .protocolFeatures])
        func base(_ index: UInt32) throws -> Payload? {
            try frontend.send(.getVringBase, .vringState(VringState(index: index, number: 9))).first?.decode(.vringState)
        }
        #expect(try base(0) == .vringState(VringState(index: 0, number: 0)))
        frontend.send(.setVringBase, .vringState(VringState(index: 1, number: 0xffff)))
        #expect(try base(1) == .vringState(VringState(index: 1, number: 0xffff)))
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures, .ringPacked]).rawValue))
        #expect(try base(1) == .vringState(VringState(index: 1, number: 0x8000_8000)), "a base of the other format is forgotten")
    }

    @Test("A packed ring keeps the 32 bits of its base, a split one has 16")
    func baseWidth() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        let wide = Payload.vringState(VringState(index: 0, number: 0x1_0000))
        #expect(frontend.ask(.setVringBase, wide) == Refusal.Code.invalidValue.rawValue)
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures, .ringPacked]).rawValue))
        #expect(frontend.ask(.setVringBase, .vringState(VringState(index: 0, number: 0x8005_0003))) == 0)
        try frontend.setMemory()
        frontend.send(.setVringSize, .vringState(VringState(index: 0, number: 3)))
        frontend.send(.setVringAddress, .vringAddress(TestFrontend.address(0)))
        try frontend.setKick(0)
        frontend.enable(0)
        #expect(frontend.device.configurations[0]?.base == RingBase(rawValue: 0x8005_0003))
        frontend.device.bases[0] = RingBase(rawValue: 0x0001_8002)
        let reply = frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        #expect(try reply.first?.decode(.vringState) == .vringState(VringState(index: 0, number: 0x0001_8002)))
    }

    @Test("Messages wait in order while one is pending, and are bounded")
    func waiting() throws {
        let frontend = try TestFrontend.running()
        frontend.device.holds = true
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        #expect(frontend.send(.getFeatures).isEmpty)
        #expect(frontend.send(.getQueueCount).isEmpty)
        frontend.device.release()
        let outputs = frontend.takeOutputs()
        let requests = outputs.compactMap { if case .reply(let message) = $0 { message.request } else { nil } }
        #expect(requests == [11, 1, 17])
        guard case .ready? = outputs.last else {
            Issue.record("no word that the session is ready again: \(outputs)")
            return
        }
        // The owner does not look at isReady: its limit is reached.
        frontend.enable(0)
        try frontend.setKick(0)
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        for _ in 0..<frontend.session.limits.waitingMessageCountMax {
            frontend.send(.getFeatures)
            #expect(frontend.closure == nil)
        }
        frontend.send(.getFeatures)
        #expect(frontend.closure == .tooManyMessages)
    }

    @Test("Size, base and place of a running ring stay as they are")
    func noChangesWhileRunning() throws {
        let frontend = try TestFrontend.running()
        let code = Refusal.Code.ringRuns.rawValue
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: 128))) == code)
        #expect(frontend.ask(.setVringBase, .vringState(VringState(index: 0, number: 5))) == code)
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(1).with(index: 0))) == code)
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0))) == 0, "the same place is no change")
        #expect(frontend.device.calls.isEmpty)
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0, flags: 1, log: 0x5000))) == 0)
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0))) == 0)
        #expect(frontend.device.calls == [.log(0, nil), .log(0, nil)], "there is no log")
    }

    @Test("Under a running ring SET_FEATURES may switch logging and nothing else")
    func featuresWhileRunning() throws {
        let frontend = try TestFrontend.running()
        let base: VirtioFeatures = [.version1, .protocolFeatures]
        #expect(frontend.ask(.setFeatures, .u64(base.union(.logAll).rawValue)) == 0)
        #expect(frontend.device.calls == [.features([.version1, .logAll]), .log(0, nil)])
        #expect(frontend.ask(.setFeatures, .u64(base.union(.ringEventIndex).rawValue)) == Refusal.Code.ringRuns.rawValue)
        #expect(frontend.session.features == [.version1, .logAll])
        #expect(frontend.session.status.rings[0].isRunning)
    }
}

extension VringAddress {
    func with(index: UInt32) -> VringAddress {
        var copy = self
        copy.index = index
        return copy
    }
}
