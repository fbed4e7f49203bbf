import LinuxSystem
import Testing
import VhostUser
import Virtio

/// Rings that may not be: indices, sizes and places that no correct front-end sends.
@Suite struct RingRefusalTests {
    @Test("A ring index beyond the last is refused in every vring message", arguments: [4, 255, 256, 65536, UInt32.max] as [UInt32])
    func indices(index: UInt32) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        let code = Refusal.Code.queueIndex.rawValue
        for request: FrontendRequest in [.setVringSize, .setVringBase, .getVringBase, .setVringEnable] {
            #expect(frontend.ask(request, .vringState(VringState(index: index, number: 1))) == code, "\(request)")
        }
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0).with(index: index))) == code)
        for request: FrontendRequest in [.setVringKick, .setVringCall, .setVringError] {
            let payload = Payload.vringDescriptor(VringDescriptorReference(rawValue: UInt64(index)))
            let descriptors = index & 0x100 == 0 ? [try EventFD().descriptor] : []
            // 256 is ring 0 with the flag for "no descriptor", and no mistake.
            #expect(frontend.ask(request, payload, descriptors) == (index == 256 ? 0 : code), "\(request)")
        }
        #expect(frontend.session.status.rings.allSatisfy { $0.size == nil && !$0.isEnabled })
    }

    @Test("The highest of 256 rings is one")
    func lastIndex() throws {
        let frontend = try TestFrontend.running(1, queueCount: 256)
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 255, number: 2))) == 0)
        try frontend.setKick(255)
        #expect(frontend.session.status.rings[255].isStarted)
    }

    @Test("Bits 9 to 63 of a kick's u64 mean nothing else", arguments: [0x200, 0x1_0000, 0x1_0000_0000, 1 << 63] as [UInt64])
    func reservedBits(bit: UInt64) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        for request: FrontendRequest in [.setVringKick, .setVringCall, .setVringError] {
            let answer = frontend.ask(
                request, .vringDescriptor(VringDescriptorReference(rawValue: bit)), [try EventFD().descriptor])
            #expect(answer == Refusal.Code.queueIndex.rawValue)
        }
        #expect(!frontend.session.status.rings[0].isStarted)
    }

    @Test("Bit 8 and the number of descriptors have to agree")
    func bit8() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        for request: FrontendRequest in [.setVringKick, .setVringCall, .setVringError] {
            let without = Payload.vringDescriptor(VringDescriptorReference(index: 0, hasDescriptor: true))
            #expect(frontend.ask(request, without) == Refusal.Code.descriptors.rawValue)
            let surplus = Payload.vringDescriptor(VringDescriptorReference(index: 0, hasDescriptor: false))
            #expect(frontend.ask(request, surplus, [try EventFD().descriptor]) == Refusal.Code.descriptors.rawValue)
        }
        #expect(!frontend.session.status.rings[0].isStarted)
    }

    @Test("Split rings have 1 to queueSizeMax descriptors, a power of 2", arguments: [0, 3, 1000, 1025, 2048, 0x1_0000, UInt32.max])
    func splitSizes(size: UInt32) {
        let frontend = TestFrontend()
        frontend.negotiate()
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: size))) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.session.status.rings[0].size == nil)
    }

    @Test("Packed rings may have any number up to the limit")
    func packedSizes() {
        let frontend = TestFrontend()
        frontend.negotiate(features: [.version1, .protocolFeatures, .ringPacked])
        for size: UInt32 in [1, 3, 1000, 1024] {
            #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: size))) == 0)
        }
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: 0))) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: 1025))) == Refusal.Code.invalidValue.rawValue)
    }

    @Test("A size set before the features is checked again when the ring would start")
    func sizeBeforeFeatures() throws {
        let frontend = TestFrontend()
        frontend.send(.setProtocolFeatures, .u64(ProtocolFeatures.replyAck.rawValue))
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: 0))) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.ask(.setVringSize, .vringState(VringState(index: 0, number: 3))) == 0)
        frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
        try frontend.setMemory()
        frontend.send(.setVringAddress, .vringAddress(TestFrontend.address(0)))
        try frontend.setKick(0)
        #expect(frontend.enable(0) == Refusal.Code.invalidValue.rawValue)
        #expect(frontend.device.configurations.isEmpty)
    }

    @Test("Misaligned areas are refused at once", arguments: [(8, 0, 0), (0, 1, 0), (0, 0, 2)])
    func misaligned(descriptor: UInt64, available: UInt64, used: UInt64) {
        let frontend = TestFrontend()
        frontend.negotiate()
        var address = TestFrontend.address(0)
        address.descriptor += descriptor
        address.available += available
        address.used += used
        #expect(frontend.ask(.setVringAddress, .vringAddress(address)) == Refusal.Code.invalidValue.rawValue)
    }

    static let base = TestFrontend.frontendBase
    static let end = TestFrontend.frontendBase + TestFrontend.regionSize

    /// Descriptor table of 4096 bytes, avail ring of 516, used ring of 2052, as three offsets; nil is the usual place.
    static let places: [(String, UInt64?, UInt64?, UInt64?)] = [
        ("descriptors before the region", base - 4096, nil, nil), ("descriptors across the end", end - 4080, nil, nil),
        ("avail behind the region", nil, end, nil), ("avail across the end", nil, end - 512, nil),
        ("used across the end", nil, nil, end - 2048), ("used at the top of the address space", nil, nil, 0 &- 2052),
        ("descriptors at the top of the address space", 0 &- 4096, nil, nil), ("used ring on the avail ring", nil, base + 0x8000, nil),
        ("avail inside the descriptors", nil, base + 4094, nil), ("used ends in the avail ring", nil, nil, base + 0x4000 - 2048),
    ]

    @Test("Areas outside memory, across a region's end, or over one another keep the ring from starting", arguments: places)
    func place(name: String, descriptor: UInt64?, available: UInt64?, used: UInt64?) throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        var address = TestFrontend.address(0)
        address.descriptor = descriptor ?? address.descriptor
        address.available = available ?? address.available
        address.used = used ?? address.used
        #expect(frontend.ask(.setVringAddress, .vringAddress(address)) == 0, "the memory table may still come")
        try frontend.setKick(0)
        #expect(frontend.enable(0) == Refusal.Code.memory.rawValue)
        #expect(frontend.device.configurations.isEmpty)
        // A correct place mends it.
        #expect(frontend.ask(.setVringAddress, .vringAddress(TestFrontend.address(0))) == 0)
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("Areas that end exactly where the region does are fine, and so are two that touch")
    func tightPlaces() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        let used = Self.end - 2052
        let available = used - 516
        let address = VringAddress(index: 0, descriptor: (available - 4096) & ~15, used: used, available: available)
        #expect(frontend.ask(.setVringAddress, .vringAddress(address)) == 0)
        try frontend.setKick(0)
        #expect(frontend.enable(0) == 0)
        #expect(frontend.session.status.rings[0].isRunning)
    }

    @Test("A device that does not start a ring says why")
    func deviceRefuses() throws {
        let frontend = TestFrontend()
        frontend.negotiate()
        try frontend.setMemory()
        frontend.describeRing(0)
        try frontend.setKick(0)
        frontend.device.startFailure = "no room"
        #expect(frontend.enable(0) == Refusal.Code.device.rawValue)
        #expect(frontend.notices.map(\.description) == ["SET_VRING_ENABLE refused: ring 0 does not start: no room"])
        #expect(!frontend.session.status.rings[0].isRunning)
    }

    @Test("A broken ring is stopped, told, and free again after GET_VRING_BASE")
    func broken() throws {
        let frontend = try TestFrontend.running(2)
        frontend.send(.setStatus, .u64(15))
        frontend.device.calls = []
        frontend.session.ringDidBreak(1, reason: "avail index ahead")
        frontend.session.ringDidBreak(1, reason: "told again")
        #expect(frontend.device.calls == [.stop(1)])
        #expect(frontend.notices.map(\.description) == ["ring 1 is broken: avail index ahead"])
        #expect(frontend.session.status.rings[1].breakage == "avail index ahead")
        #expect(frontend.session.status.rings[0].isRunning)
        #expect(TestFrontend.u64(frontend.send(.getStatus)) == UInt64(15 | 64), "DEVICE_NEEDS_RESET")
        #expect(frontend.enable(1) == Refusal.Code.device.rawValue)
        try frontend.setKick(1)
        #expect(!frontend.session.status.rings[1].isRunning)
        frontend.send(.getVringBase, .vringState(VringState(index: 1, number: 0)))
        try frontend.setKick(1)
        #expect(frontend.session.status.rings[1].isRunning)
        // A ring that breaks again and again is logged once.
        for _ in 0..<5 {
            frontend.session.ringDidBreak(1, reason: "again")
            frontend.send(.getVringBase, .vringState(VringState(index: 1, number: 0)))
            try frontend.setKick(1)
        }
        #expect(frontend.notices.isEmpty)
    }
}
