import LinuxSystem
import Testing
import VhostUser

/// SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE as messages: what is refused, and when they are answered.
@Suite struct StateMessageTests {
    private func begin(_ frontend: TestFrontend, direction: UInt32 = 0, phase: UInt32 = 0, _ channel: FileDescriptor? = nil) throws
        -> UInt64?
    {
        let transfer = DeviceStateTransfer(direction: direction, phase: phase)
        return TestFrontend.u64(frontend.send(.setDeviceStateDescriptor, .deviceState(transfer), [try channel ?? EventFD().descriptor]))
    }

    @Test("The answer says that no channel comes along, a refusal too")
    func answers() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        #expect(TestFrontend.u64(frontend.send(.checkDeviceState)) == Refusal.Code.invalidValue.rawValue, "nothing was transferred")
        #expect(try begin(frontend) == 0x100)
        #expect(frontend.device.calls.last == .transfer(saves: true))
        #expect(try begin(frontend, direction: 1) == 0x100)
        #expect(frontend.device.calls.last == .transfer(saves: false))
        #expect(try begin(frontend, direction: 2) == 0x100 | Refusal.Code.invalidValue.rawValue)
        #expect(try begin(frontend, phase: 1) == 0x100 | Refusal.Code.invalidValue.rawValue)
        let running = try TestFrontend.running()
        #expect(try begin(running) == 0x100 | Refusal.Code.ringRuns.rawValue)
        let real = TestFrontend(realHost: true)
        real.negotiate()
        let file = try MemoryFile.create(name: "file", size: 4096)
        #expect(try begin(real, file) == 0x100 | Refusal.Code.descriptors.rawValue, "a file is no channel")
    }

    @Test("CHECK_DEVICE_STATE is answered when the transfer is over, with what became of it")
    func check() throws {
        for failure in [nil, "it is empty"] {
            let frontend = TestFrontend()
            frontend.negotiate()
            frontend.device.holds = true
            frontend.device.stateFailure = failure
            #expect(try begin(frontend, direction: 1) == 0x100)
            #expect(frontend.send(.checkDeviceState).isEmpty)
            #expect(!frontend.session.isReady)
            frontend.device.release()
            #expect(TestFrontend.u64(frontend.takeReplies()) == (failure == nil ? 0 : Refusal.Code.device.rawValue))
            #expect(frontend.session.isReady)
            #expect(TestFrontend.u64(frontend.send(.checkDeviceState)) == (failure == nil ? 0 : Refusal.Code.device.rawValue), "again")
        }
    }

    @Test("A transfer that another took the place of is of no interest any more")
    func replaced() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        frontend.device.holds = true
        frontend.device.stateFailure = "the first one's"
        #expect(try begin(frontend) == 0x100)
        frontend.device.stateFailure = nil
        #expect(try begin(frontend) == 0x100)
        #expect(frontend.send(.checkDeviceState).isEmpty)
        frontend.device.release()
        #expect(frontend.takeReplies().isEmpty)
        frontend.device.release()
        #expect(TestFrontend.u64(frontend.takeReplies()) == 0)
    }

    @Test("The end of the connection ends a transfer")
    func disconnect() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        frontend.device.holds = true
        #expect(try begin(frontend) == 0x100)
        frontend.send(.checkDeviceState)
        var isFree = false
        frontend.session.disconnect { isFree = true }
        #expect(isFree)
        #expect(frontend.device.calls.last == .cancelTransfer)
        frontend.device.release()
        #expect(frontend.takeReplies().isEmpty)
    }
}
