import LinuxSystem
import Testing
import VhostUser
import Virtio

/// What the front-ends of the field send, in their order, with their sizes and flags, as their sources have it.
@Suite struct FrontendScriptTests {
    /// A front-end that sends what it always sends and expects what it always gets.
    private struct Script {
        let frontend: TestFrontend
        /// QEMU and front-ends in Rust set need_reply on some messages only once REPLY_ACK is negotiated.
        func ask(_ request: FrontendRequest, _ payload: Payload = .none, _ descriptors: [FileDescriptor] = []) {
            #expect(frontend.ask(request, payload, descriptors) == 0, "\(request)")
        }
        func tell(_ request: FrontendRequest, _ payload: Payload = .none, _ descriptors: [FileDescriptor] = []) {
            #expect(frontend.send(request, payload, descriptors).isEmpty, "\(request)")
            #expect(frontend.notices.isEmpty, "\(request)")
        }
        func get(_ request: FrontendRequest, _ payload: Payload = .none) throws -> Payload {
            let reply = try #require(frontend.send(request, payload).first, "\(request)")
            guard case .always(let kind) = request.shape.answer else { throw TestFailure() }
            return try reply.decode(kind)
        }
        func state(_ index: Int, _ number: UInt32) -> Payload { .vringState(VringState(index: UInt32(index), number: number)) }
        func event() throws -> [FileDescriptor] { [try EventFD().descriptor] }
        func runningRings() -> [Int] { frontend.session.status.rings.indices.filter { frontend.session.status.rings[$0].isRunning } }
    }

    /// hw/virtio/vhost-user.c, vhost_user_backend_init and vhost_dev_init.
    private func qemuConnect(_ script: Script, _ wanted: ProtocolFeatures, queues: Int) throws {
        #expect(try script.get(.getFeatures) == .u64(script.frontend.device.offeredFeatures.union(.protocolFeatures).rawValue))
        guard case .u64(let offered) = try script.get(.getProtocolFeatures) else { throw TestFailure() }
        #expect(wanted.isSubset(of: ProtocolFeatures(rawValue: offered)))
        script.tell(.setProtocolFeatures, .u64(wanted.rawValue))
        #expect(try script.get(.getQueueCount) == .u64(UInt64(script.frontend.device.queueCount)))
        #expect(try script.get(.getMemorySlotCount) == .u64(509))
        script.ask(.setBackendChannel, .none, try script.event())
        script.tell(.setOwner)
        _ = try script.get(.getFeatures)
        // vhost_virtqueue_init: every ring gets a call descriptor before anything else is known of it.
        for index in 0..<queues {
            script.tell(.setVringCall, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
        }
        let config = try script.get(.getConfig, .config(ConfigAccess(offset: 0, size: 60, bytes: [UInt8](repeating: 0, count: 60))))
        #expect(config.configAccess?.size == 60)
    }

    /// vhost_user_blk_start and vhost_dev_start.
    private func qemuStart(_ script: Script, queues: Int, features: VirtioFeatures, hasStatus: Bool, bases: [UInt32]) throws {
        func setFeatures() throws {
            script.tell(.setFeatures, .u64(features.union(.protocolFeatures).rawValue))
            guard hasStatus else { return }
            guard case .u64(let status) = try script.get(.getStatus) else { throw TestFailure() }
            if status & 8 == 0 { script.tell(.setStatus, .u64(status | 8)) }
        }
        try setFeatures()
        let wanted = InflightDescription(size: 0, offset: 0, queueCount: UInt16(queues), queueSize: 128)
        guard case .inflight(let inflight) = try script.get(.getInflightDescriptor, .inflight(wanted)) else { throw TestFailure() }
        script.tell(.setInflightDescriptor, .inflight(inflight), try script.event())
        try setFeatures()
        script.ask(.addMemoryRegion, .memoryRegion(TestFrontend.region()), try script.event())
        for index in 0..<queues {
            script.tell(.setVringSize, script.state(index, 128))
            script.tell(.setVringBase, script.state(index, bases[index]))
            script.tell(.setVringAddress, .vringAddress(TestFrontend.address(index)))
            script.tell(.setVringKick, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
            script.tell(.setVringCall, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
        }
        #expect(script.runningRings().isEmpty)
        for index in 0..<queues { script.ask(.setVringEnable, script.state(index, 1)) }
        if hasStatus {
            guard case .u64(let status) = try script.get(.getStatus) else { throw TestFailure() }
            script.tell(.setStatus, .u64(status | 7))
        }
        #expect(script.runningRings() == Array(0..<queues))
    }

    /// vhost_dev_stop: rings are disabled, then their bases asked for; with STATUS the device is reset afterwards.
    private func qemuStop(_ script: Script, queues: Int, hasStatus: Bool) throws -> [UInt32] {
        for index in 0..<queues { script.ask(.setVringEnable, script.state(index, 0)) }
        var bases: [UInt32] = []
        for index in 0..<queues {
            guard case .vringState(let state) = try script.get(.getVringBase, script.state(index, 0)) else { throw TestFailure() }
            bases.append(state.number)
        }
        if hasStatus { script.tell(.setStatus, .u64(0)) }
        #expect(script.runningRings().isEmpty)
        return bases
    }

    static let qemu7: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendChannel, .config, .inflightSharedMemory, .configureMemorySlots, .resetDevice,
    ]

    @Test("QEMU connects, starts, stops for a reset of the guest, and starts again", arguments: [false, true], [false, true])
    func qemu(isVersion10: Bool, isPacked: Bool) throws {
        let script = Script(frontend: TestFrontend())
        let wanted = isVersion10 ? Self.qemu7.union(.status) : Self.qemu7
        let features: VirtioFeatures = isPacked ? [.version1, .ringEventIndex, .ringPacked] : [.version1, .ringEventIndex]
        try qemuConnect(script, wanted, queues: 4)
        let fresh: UInt32 = isPacked ? 0x8000_8000 : 0
        try qemuStart(script, queues: 4, features: features, hasStatus: isVersion10, bases: Array(repeating: fresh, count: 4))
        #expect(script.frontend.device.configurations[3]?.base.rawValue == fresh)
        #expect(script.frontend.device.configurations[3]?.call != nil)
        #expect(script.frontend.device.configurations[3]?.inflight != nil)

        // Masking and unmasking of interrupts while it runs.
        for _ in 0..<10 {
            script.tell(.setVringCall, .vringDescriptor(.init(index: 2, hasDescriptor: true)), try script.event())
        }
        for index in 0..<4 { script.frontend.device.bases[index] = RingBase(rawValue: fresh + UInt32(index)) }
        let bases = try qemuStop(script, queues: 4, hasStatus: isVersion10)
        #expect(bases == (0..<4).map { fresh + $0 })
        // The memory table is not sent again: QEMU remembers what it sent, and sends changes.
        script.frontend.send(.removeMemoryRegion, .memoryRegion(TestFrontend.region()))
        try qemuStart(script, queues: 4, features: features, hasStatus: isVersion10, bases: bases)
        #expect(script.frontend.device.configurations[3]?.base.rawValue == bases[3])
    }

    @Test("QEMU's memory table survives a stop, so that only what changed has to be sent")
    func qemuKeepsMemory() throws {
        let script = Script(frontend: TestFrontend())
        try qemuConnect(script, Self.qemu7.union(.status), queues: 1)
        try qemuStart(script, queues: 1, features: .version1, hasStatus: true, bases: [0])
        _ = try qemuStop(script, queues: 1, hasStatus: true)
        #expect(script.frontend.session.status.memoryRegionCount == 1)
    }

    @Test("QEMU switches logging on and off under running rings")
    func qemuLogging() throws {
        let script = Script(frontend: TestFrontend())
        try qemuConnect(script, Self.qemu7, queues: 1)
        try qemuStart(script, queues: 1, features: .version1, hasStatus: false, bases: [0])
        script.ask(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures, .logAll]).rawValue))
        script.ask(.setVringAddress, .vringAddress(TestFrontend.address(0, flags: 1, log: 0x8000)))
        #expect(script.runningRings() == [0])
        script.tell(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
        script.tell(.setVringAddress, .vringAddress(TestFrontend.address(0)))
        #expect(script.frontend.device.calls.filter { $0 == .stop(0) }.isEmpty)
    }

    @Test("libblkio 1.5: the virtio-blk-vhost-user driver")
    func libblkio() throws {
        let script = Script(frontend: TestFrontend(queueCount: 2))
        script.tell(.setOwner)
        _ = try script.get(.getFeatures)
        _ = try script.get(.getProtocolFeatures)
        script.tell(.setProtocolFeatures, .u64(ProtocolFeatures([.multiQueue, .config, .replyAck, .configureMemorySlots]).rawValue))
        script.ask(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures, .ringEventIndex]).rawValue))
        let config = try script.get(.getConfig, .config(ConfigAccess(offset: 0, size: 60, bytes: [UInt8](repeating: 0, count: 60))))
        #expect(config.configAccess?.bytes.count == 60)
        #expect(try script.get(.getQueueCount) == .u64(2))
        #expect(try script.get(.getMemorySlotCount) == .u64(509))
        script.ask(.addMemoryRegion, .memoryRegion(TestFrontend.region()), try script.event())
        for index in 0..<2 {
            script.ask(.setVringSize, script.state(index, 256))
            script.ask(.setVringAddress, .vringAddress(TestFrontend.address(index)))
            script.ask(.setVringBase, script.state(index, 0))
            script.ask(.setVringCall, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
            script.ask(.setVringKick, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
            script.ask(.setVringEnable, script.state(index, 1))
        }
        #expect(script.runningRings() == [0, 1])
        // Buffers are registered and given back while requests run.
        let pool = TestFrontend.region(guest: 1 << 30, frontend: 1 << 40)
        script.ask(.addMemoryRegion, .memoryRegion(pool), try script.event())
        script.ask(.removeMemoryRegion, .memoryRegion(pool))
        #expect(script.runningRings() == [0, 1])
    }

    @Test("crosvm: activate, sleep by stopping the rings, wake, reset")
    func crosvm() throws {
        let script = Script(frontend: TestFrontend(queueCount: 1))
        script.tell(.setOwner)
        _ = try script.get(.getFeatures)
        script.tell(.setFeatures, .u64(VirtioFeatures.protocolFeatures.rawValue))
        _ = try script.get(.getProtocolFeatures)
        script.tell(
            .setProtocolFeatures,
            .u64(ProtocolFeatures([.multiQueue, .config, .replyAck, .backendChannel]).rawValue))
        script.ask(.setBackendChannel, .none, try script.event())
        let capacity = try script.get(.getConfig, .config(ConfigAccess(offset: 0, size: 8, bytes: [UInt8](repeating: 0, count: 8))))
        #expect(capacity.configAccess?.size == 8)
        func activate(base: UInt32) throws {
            script.ask(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
            script.ask(.setMemoryTable, .memoryTable([TestFrontend.region()]), try script.event())
            script.ask(.setVringSize, script.state(0, 64))
            script.ask(.setVringAddress, .vringAddress(TestFrontend.address(0)))
            script.ask(.setVringBase, script.state(0, base))
            script.ask(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: true)), try script.event())
            script.ask(.setVringKick, .vringDescriptor(.init(index: 0, hasDescriptor: true)), try script.event())
            script.ask(.setVringEnable, script.state(0, 1))
            #expect(script.runningRings() == [0])
        }
        try activate(base: 0)
        script.frontend.device.bases[0] = RingBase(split: 9)
        script.ask(.setVringEnable, script.state(0, 0))
        #expect(try script.get(.getVringBase, script.state(0, 0)) == script.state(0, 9))
        try activate(base: 9)
        #expect(script.frontend.device.configurations[0]?.base == RingBase(split: 9))
    }

    /// devices/src/virtio/vhost/user/vmm of the time between SLEEP and DEVICE_STATE: the virtual machine is put to sleep, saved, and another
    /// process goes on with it, where the device was made to sleep before it ever ran.
    @Test("crosvm: sleep, snapshot and wake; restore in another process and wake")
    func crosvmSnapshot() throws {
        func connect() throws -> Script {
            let script = Script(frontend: TestFrontend(queueCount: 1))
            script.tell(.setOwner)
            _ = try script.get(.getFeatures)
            script.tell(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
            _ = try script.get(.getProtocolFeatures)
            script.tell(.setProtocolFeatures, .u64(ProtocolFeatures([.multiQueue, .config, .backendChannel]).rawValue))
            script.tell(.setBackendChannel, .none, try script.event())
            #expect(try script.get(.crosvmGetSharedMemoryRegions) == .u64(0))
            return script
        }
        let first = try connect()
        first.tell(.setMemoryTable, .memoryTable([TestFrontend.region()]), try first.event())
        first.tell(.setVringSize, first.state(0, 64))
        first.tell(.setVringAddress, .vringAddress(TestFrontend.address(0)))
        first.tell(.setVringBase, first.state(0, 0))
        first.tell(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: true)), try first.event())
        first.tell(.setVringKick, .vringDescriptor(.init(index: 0, hasDescriptor: true)), try first.event())
        first.tell(.setVringEnable, first.state(0, 1))
        #expect(first.runningRings() == [0])
        first.frontend.device.bases[0] = RingBase(split: 9)
        #expect(try first.get(.crosvmSleep) == .opaque([1]))
        guard case .opaque(let saved) = try first.get(.crosvmSnapshot), saved.first == 1 else { throw TestFailure() }
        #expect(try first.get(.crosvmWake) == .opaque([1]))
        #expect(first.runningRings() == [0])

        let second = try connect()
        #expect(try second.get(.crosvmSleep) == .opaque([1]))
        second.tell(.setMemoryTable, .memoryTable([TestFrontend.region(frontend: 1 << 40)]), try second.event())
        second.tell(.setVringCall, .vringDescriptor(.init(index: 0, hasDescriptor: true)), try second.event())
        let restored = second.frontend.send(.crosvmRestore, .opaque(Array(saved.dropFirst())), try second.event())
        #expect(restored.map(\.payload) == [[1]])
        #expect(try second.get(.crosvmWake) == .opaque([1]))
        #expect(second.runningRings() == [0])
        #expect(second.frontend.device.configurations[0]?.base == RingBase(split: 9))
    }

    @Test("Cloud Hypervisor: config at 0x100, RESET_OWNER at a reset, the owner set again")
    func cloudHypervisor() throws {
        let script = Script(frontend: TestFrontend(queueCount: 2))
        let wanted: ProtocolFeatures = [.multiQueue, .config, .replyAck, .configureMemorySlots, .inflightSharedMemory]
        func connect() throws {
            script.frontend.send(.setOwner)
            _ = try script.get(.getFeatures)
            _ = try script.get(.getProtocolFeatures)
            script.frontend.send(.setProtocolFeatures, .u64(wanted.rawValue))
        }
        try connect()
        let access = ConfigAccess(offset: 0x100, size: 60, flags: 1, bytes: [UInt8](repeating: 0, count: 60))
        #expect(try script.get(.getConfig, .config(access)).configAccess?.bytes == script.frontend.device.config)
        func setUp() throws {
            script.ask(.setFeatures, .u64(VirtioFeatures([.version1, .protocolFeatures]).rawValue))
            script.ask(.setMemoryTable, .memoryTable([TestFrontend.region()]), try script.event())
            let wanted = InflightDescription(size: 0, offset: 0, queueCount: 2, queueSize: 128, encodedByteCount: 20)
            guard case .inflight(let inflight) = try script.get(.getInflightDescriptor, .inflight(wanted)) else { throw TestFailure() }
            #expect(inflight.encodedByteCount == 20 && inflight.size > 0)
            script.ask(.setInflightDescriptor, .inflight(inflight), try script.event())
            for index in 0..<2 {
                script.ask(.setVringSize, script.state(index, 128))
                script.ask(.setVringAddress, .vringAddress(TestFrontend.address(index)))
                script.ask(.setVringBase, script.state(index, 0))
                script.ask(.setVringCall, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
                script.ask(.setVringKick, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), try script.event())
                script.ask(.setVringEnable, script.state(index, 1))
            }
            #expect(script.runningRings() == [0, 1])
        }
        try setUp()
        for index in 0..<2 { script.ask(.setVringEnable, script.state(index, 0)) }
        script.ask(.resetOwner)
        #expect(script.runningRings().isEmpty)
        try connect()
        try setUp()
    }
}
