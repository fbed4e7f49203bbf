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
        #expect(byte(frontend.send(.crosvmGetSharedMemoryRegions)) == [UInt8](repeating: 0, count: 8), "their number, a u64")
    }

    // MARK: SNAPSHOT and RESTORE

    /// A session with the given memory, ready for a RESTORE as crosvm sends it: memory, call descriptors, SLEEP.
    private func destination(_ region: MemoryRegionDescription = TestFrontend.region(), isGuestPhysical: Bool = false) throws
        -> TestFrontend
    {
        let frontend = TestFrontend()
        let protocolFeatures = frontend.usualProtocolFeatures.union(isGuestPhysical ? .guestPhysicalAddresses : [])
        frontend.negotiate(protocolFeatures)
        try frontend.setMemory([region])
        #expect(byte(frontend.send(.crosvmSleep)) == [1])
        for index in 0..<2 { try frontend.setCall(index) }
        return frontend
    }

    private func kicks(_ count: Int = 4) throws -> [FileDescriptor] { try (0..<count).map { _ in try EventFD().descriptor } }

    /// A sleeping session with two rings, and its snapshot.
    private func source() throws -> (frontend: TestFrontend, snapshot: [UInt8]) {
        let frontend = try TestFrontend.running(2)
        frontend.send(.setStatus, .u64(7))
        frontend.device.state = [1, 2, 3]
        frontend.device.bases[1] = RingBase(split: 17)
        #expect(byte(frontend.send(.crosvmSleep)) == [1])
        let reply = try #require(byte(frontend.send(.crosvmSnapshot)))
        #expect(reply.first == 1)
        return (frontend, Array(reply.dropFirst()))
    }

    @Test("A snapshot goes on in another session, whose front-end has its memory elsewhere or speaks guest addresses")
    func snapshot() throws {
        let (_, snapshot) = try source()
        for (region, isGuestPhysical) in [
            (TestFrontend.region(), false), (TestFrontend.region(frontend: 0x1234_5000_0000), false), (TestFrontend.region(), true),
        ] {
            let other = try destination(region, isGuestPhysical: isGuestPhysical)
            #expect(byte(other.send(.crosvmRestore, .opaque(snapshot), try kicks())) == [1])
            #expect(other.session.status.rings.allSatisfy { !$0.isRunning }, "it sleeps")
            #expect(byte(other.send(.crosvmWake)) == [1])
            #expect(other.session.status.rings.map(\.isRunning) == [true, true, false, false])
            let ring = try #require(other.device.configurations[1])
            #expect(ring.base == RingBase(split: 17) && ring.size == 256 && ring.kick != nil && ring.call != nil)
            var view = ring.memory.view
            #expect(unsafe view.translate(0x1_0000, 1) == ring.addresses.descriptors)
            #expect(unsafe view.translate(0x1_4000, 1) == ring.addresses.driver)
            #expect(unsafe view.translate(0x1_8000, 1) == ring.addresses.device)
            #expect(other.session.features == .version1 && other.session.deviceStatus == 7)
            #expect(other.device.state == [1, 2, 3])
        }
    }

    @Test("A device that no driver has set up is saved, and restored without descriptors")
    func freshSnapshot() throws {
        let other = try destination()
        #expect(byte(other.send(.crosvmRestore, .opaque(AnswerTests.freshSnapshot))) == [1])
        #expect(byte(other.send(.crosvmWake)) == [1])
        #expect(other.device.configurations.isEmpty)
    }

    @Test("While a ring runs there is no snapshot and no restoring")
    func snapshotRefused() throws {
        let frontend = try TestFrontend.running()
        #expect(byte(frontend.send(.crosvmSnapshot)) == [0])
        #expect(frontend.notices.contains { $0.description.contains("ring 0 runs; send SLEEP first") })
        let (_, snapshot) = try source()
        #expect(byte(frontend.send(.crosvmRestore, .opaque(snapshot), try kicks())) == [0])
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("A snapshot that cannot be used is answered with 0, and nothing changes")
    func hostileRestore() throws {
        let (_, snapshot) = try source()
        func refused(_ bytes: [UInt8], _ kicks: [FileDescriptor], _ prepare: (TestFrontend) throws -> Void = { _ in }) throws {
            let other = try destination()
            try prepare(other)
            let before = other.session.status
            #expect(byte(other.send(.crosvmRestore, .opaque(bytes), kicks)) == [0])
            #expect(other.notices.contains { $0.description.hasPrefix("RESTORE failed: ") })
            #expect(other.session.status == before && other.closure == nil)
            #expect(byte(other.send(.crosvmWake)) == [1])
            #expect(other.device.configurations.isEmpty)
        }
        for count in 0..<snapshot.count { try refused(Array(snapshot.prefix(count)), try kicks()) }
        try refused(snapshot + [0], try kicks())
        for index in snapshot.indices {
            var spoilt = snapshot
            spoilt[index] ^= 0x10
            try refused(spoilt, try kicks())
        }
        try refused(snapshot, [])
        try refused(snapshot, try kicks(1))
        try refused(snapshot, try kicks(5))
        try refused(snapshot, try kicks()) { $0.device.stateFailure = "test" }
        try refused(snapshot, try kicks()) { $0.device.queueSizeMax = 128 }
        try refused(snapshot, try kicks()) { $0.device.offeredFeatures = [] }
        try refused(snapshot, try kicks()) { try $0.setMemory([TestFrontend.region(guest: 1 << 32)]) }
        // Its rings and its memory would do; it is of a device with more rings all the same.
        let smaller = TestFrontend(queueCount: 2)
        smaller.negotiate()
        try smaller.setMemory([TestFrontend.region()])
        #expect(byte(smaller.send(.crosvmRestore, .opaque(snapshot), try kicks(2))) == [0])
        #expect(smaller.notices.contains { $0.description.contains("a device with 4 rings, this one has 2") })
    }
}
