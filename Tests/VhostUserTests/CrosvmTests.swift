import LinuxSystem
import Testing
import VhostUser
import Virtio

/// crosvm's own messages.
@Suite struct CrosvmTests {
    private func byte(_ replies: [Message]) -> [UInt8]? { replies.count == 1 ? replies[0].payload : nil }

    @Test("SLEEP stops the rings and leaves them started and enabled; WAKE has them go on where they were")
    func sleepAndWake() throws {
        let frontend = try TestFrontend.running(2)
        frontend.device.bases[1] = RingBase(split: 17)
        #expect(byte(frontend.send(.crosvmSleep)) == [1])
        #expect(frontend.device.stopModes == [.drain, .drain])
        #expect(frontend.session.status.rings.prefix(2).allSatisfy { $0.isStarted && $0.isEnabled && !$0.isRunning })
        #expect(frontend.device.configurations.isEmpty)
        #expect(byte(frontend.send(.crosvmWake)) == [1])
        #expect(frontend.session.status.rings.prefix(2).allSatisfy { $0.isRunning })
        #expect(frontend.device.configurations[1]?.base == RingBase(split: 17))
    }

    @Test("No ring starts between SLEEP and WAKE")
    func asleep() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        #expect(byte(frontend.send(.crosvmSleep)) == [1])
        try frontend.setMemory()
        frontend.describeRing(0)
        try frontend.setKick(0)
        #expect(frontend.enable(0) == 0)
        #expect(!frontend.session.status.rings[0].isRunning)
        #expect(byte(frontend.send(.crosvmSleep)) == [1], "a second one changes nothing")
        #expect(byte(frontend.send(.crosvmWake)) == [1])
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("SLEEP is answered when the requests of the rings have ended")
    func waits() throws {
        let frontend = try TestFrontend.running()
        frontend.device.holds = true
        #expect(frontend.send(.crosvmSleep).isEmpty)
        frontend.device.release()
        #expect(byte(frontend.takeReplies()) == [1])
    }

    @Test("WAKE says 0 when a ring cannot go on")
    func wakeFails() throws {
        let frontend = try TestFrontend.running()
        frontend.send(.crosvmSleep)
        frontend.device.startFailure = "test"
        #expect(byte(frontend.send(.crosvmWake)) == [0])
        #expect(frontend.notices.contains { $0.description.contains("WAKE failed") })
    }

    @Test("A reset ends the sleep")
    func reset() throws {
        let frontend = try TestFrontend.running()
        frontend.send(.crosvmSleep)
        frontend.send(.resetDevice)
        frontend.negotiate()
        frontend.describeRing(0)
        try frontend.setKick(0)
        #expect(frontend.enable(0) == 0)
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("There are no shared memory regions to tell of")
    func sharedMemory() {
        let frontend = TestFrontend()
        frontend.negotiate()
        #expect(byte(frontend.send(.crosvmGetSharedMemoryRegions)) == [])
    }
}
