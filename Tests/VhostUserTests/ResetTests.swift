import LinuxSystem
import Testing
import VhostUser
import Virtio

/// RESET_OWNER, RESET_DEVICE, the device status, and the end of a session.
@Suite struct ResetTests {
    @Test("RESET_OWNER disables the rings and keeps everything else")
    func resetOwner() throws {
        let frontend = try TestFrontend.running(2)
        #expect(frontend.ask(.resetOwner) == 0)
        #expect(frontend.device.calls == [.stop(0), .stop(1)])
        #expect(frontend.session.status.rings.allSatisfy { !$0.isEnabled && !$0.isRunning })
        #expect(frontend.session.features == .version1)
        #expect(frontend.session.status.memoryRegionCount == 1)
        #expect(frontend.enable(1) == 0)
        #expect(frontend.session.status.rings[1].isRunning)
    }

    @Test("RESET_DEVICE and status 0 stop the rings, then reset the device, then answer", arguments: [true, false])
    func reset(byMessage: Bool) throws {
        let frontend = try TestFrontend.running(2)
        frontend.send(.setStatus, .u64(15))
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == 15)
        let call = frontend.device.configurations[0]?.call
        frontend.device.calls = []
        frontend.device.holds = true
        let early = byMessage ? frontend.send(.resetDevice, needReply: true) : frontend.send(.setStatus, .u64(0), needReply: true)
        #expect(early.isEmpty)
        frontend.device.release()
        #expect(frontend.device.calls == [.stop(0), .stop(1)], "not before the last ring has stopped")
        frontend.device.release()
        #expect(frontend.device.calls == [.stop(0), .stop(1), .reset, .features([]), .status(0)])
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
        let status = frontend.session.status
        #expect(status.features.isEmpty && status.deviceStatus == 0)
        #expect(status.rings.allSatisfy { $0.size == nil && !$0.isStarted && !$0.isEnabled })
        // What belongs to the connection is still there.
        #expect(status.isOwned && status.memoryRegionCount == 1 && status.protocolFeatures == frontend.usualProtocolFeatures)
        frontend.device.holds = false
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
        frontend.describeRing(0)
        try frontend.setKick(0)
        #expect(frontend.enable(0) == 0)
        #expect(frontend.device.configurations[0]?.base == RingBase(split: 0))
        #expect(frontend.device.configurations[0]?.call === call)
    }

    @Test("A session without VHOST_USER_F_PROTOCOL_FEATURES enables its rings again after a reset with SET_FEATURES")
    func resetWithoutProtocolFeatures() throws {
        let frontend = TestFrontend()
        frontend.send(.setFeatures, .u64(VirtioFeatures.version1.rawValue))
        frontend.send(.resetDevice)
        #expect(frontend.session.status.rings.allSatisfy { !$0.isEnabled })
        frontend.send(.setFeatures, .u64(VirtioFeatures.version1.rawValue))
        #expect(frontend.session.status.rings.allSatisfy { $0.isEnabled })
    }

    @Test("The status is a byte, told to the device")
    func status() {
        let frontend = TestFrontend()
        frontend.negotiate()
        frontend.device.calls = []
        for value: UInt64 in [1, 3, 11, 15] {
            #expect(frontend.ask(.setStatus, .u64(value)) == 0)
            #expect(TestFrontend.u64(frontend.send(.getStatus)) == value)
        }
        #expect(frontend.device.calls == [.status(1), .status(3), .status(11), .status(15)])
        #expect(frontend.ask(.setStatus, .u64(256)) == Refusal.Code.invalidValue.rawValue)
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == 15)
    }

    @Test("NEEDS_RESET stays until a reset, whatever the driver writes")
    func needsReset() throws {
        let frontend = try TestFrontend.running()
        frontend.session.ringDidBreak(0, reason: "test")
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == 0, "before DRIVER_OK it means nothing")
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        try frontend.setKick(0)
        frontend.send(.setStatus, .u64(15))
        frontend.session.ringDidBreak(0, reason: "test")
        frontend.send(.setStatus, .u64(15))
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == UInt64(15 | 64))
        frontend.send(.setStatus, .u64(0))
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == 0)
    }

    @Test("After status 0 GET_VRING_BASE still tells where a ring stopped, as QEMU 7.2 asks; after RESET_DEVICE it is a fresh one")
    func baseAfterReset() throws {
        let frontend = try TestFrontend.running()
        frontend.device.bases[0] = RingBase(split: 77)
        let ask = Payload.vringState(VringState(index: 0, number: 0))
        func base() throws -> UInt32? {
            guard case .vringState(let state)? = try frontend.send(.getVringBase, ask).first?.decode(.vringState) else { return nil }
            return state.number
        }
        frontend.send(.setStatus, .u64(0))
        #expect(try base() == 77)
        frontend.send(.resetDevice)
        #expect(try base() == 0)
    }

    // MARK: The end

    @Test("A disconnect stops what runs, lets go of the memory, and is silent")
    func disconnect() throws {
        let frontend = try TestFrontend.running(3)
        frontend.device.holds = true
        var isDone = false
        frontend.session.disconnect { isDone = true }
        #expect(frontend.device.calls == [.stop(0), .stop(1), .stop(2)])
        for _ in 0..<3 {
            #expect(!isDone && frontend.host.liveCount == 1)
            frontend.device.release()
        }
        #expect(isDone)
        #expect(frontend.host.liveCount == 0)
        #expect(frontend.send(.getFeatures).isEmpty)
        #expect(!frontend.session.isReady)
    }

    @Test("A disconnect with nothing running completes at once")
    func idleDisconnect() {
        let frontend = TestFrontend()
        var isDone = false
        frontend.session.disconnect { isDone = true }
        #expect(isDone)
    }

    @Test("A disconnect while GET_VRING_BASE waits does not stop that ring twice, and the late answer goes nowhere")
    func disconnectWhilePending() throws {
        let frontend = try TestFrontend.running(2)
        frontend.device.holds = true
        frontend.send(.getVringBase, .vringState(VringState(index: 0, number: 0)))
        frontend.send(.getFeatures)
        var isDone = false
        frontend.session.disconnect { isDone = true }
        #expect(frontend.device.calls == [.stop(0), .stop(1)])
        frontend.device.release()
        #expect(!isDone)
        frontend.device.release()
        #expect(isDone)
        #expect(frontend.outputs.isEmpty)
    }

    @Test("A disconnect while a call descriptor is being swapped, or memory replaced, stops the ring all the same")
    func disconnectWhileChanging() throws {
        for isMemory in [false, true] {
            let frontend = try TestFrontend.running()
            frontend.device.holds = true
            if isMemory { try frontend.setMemory() } else { try frontend.setCall(0) }
            var isDone = false
            frontend.session.disconnect { isDone = true }
            frontend.device.release()
            #expect(!isDone)
            frontend.device.release()
            #expect(isDone)
            #expect(frontend.host.liveCount == 0)
        }
    }

    @Test("A change of memory that completes after the disconnect starts no ring, although one waited for it")
    func memoryAfterDisconnect() throws {
        let frontend = try TestFrontend.running()
        frontend.describeRing(1)
        frontend.send(.setVringAddress, .vringAddress(TestFrontend.address(40).with(index: 1)))
        try frontend.setKick(1)
        frontend.enable(1)
        frontend.device.holds = true
        let behind = TestFrontend.region(guest: 1 << 30, size: 1 << 16, frontend: TestFrontend.frontendBase + 40 << 16)
        frontend.send(.addMemoryRegion, .memoryRegion(behind), [try EventFD().descriptor])
        frontend.device.calls = []
        var isDone = false
        frontend.session.disconnect { isDone = true }
        while frontend.device.heldCount > 0 { frontend.device.release() }
        #expect(frontend.device.calls == [.stop(0)])
        #expect(isDone)
    }

    @Test("A disconnect while a broken ring stops waits for it")
    func disconnectWhileBreaking() throws {
        let frontend = try TestFrontend.running()
        frontend.device.holds = true
        frontend.session.ringDidBreak(0, reason: "test")
        var isDone = false
        frontend.session.disconnect { isDone = true }
        #expect(frontend.device.heldCount == 1)
        frontend.device.release()
        #expect(isDone)
    }

    @Test("Protocol features that may not be set together end the session")
    func illegalProtocolFeatures() {
        let legal: ProtocolFeatures = [.inbandNotifications, .backendChannel, .replyAck]
        let frontend = TestFrontend()
        frontend.send(.setProtocolFeatures, .u64(legal.subtracting(.replyAck).rawValue))
        #expect(frontend.closure == .illegalProtocolFeatures(legal.subtracting(.replyAck)))
    }
}
