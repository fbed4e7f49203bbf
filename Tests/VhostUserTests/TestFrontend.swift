import LinuxSystem
import Testing
import VhostUser
import Virtio

/// A front-end without a socket: messages go into a session, and what comes out is collected.
final class TestFrontend {
    let device: TestDevice
    let host: TestHost
    let session: Session
    private final class Outbox {
        var outputs: [SessionOutput] = []
    }
    private let outbox = Outbox()

    /// One region of 1 MiB at guest address 0, seen by the front-end at this address.
    static let frontendBase: UInt64 = 0x7f00_0000_0000
    static let regionSize: UInt64 = 1 << 20

    /// With `realHost` the session works on descriptors and mappings as they are, otherwise on those of a `TestHost`.
    init(queueCount: Int = 4, limits: SessionLimits = SessionLimits(), realHost: Bool = false) {
        device = TestDevice(queueCount: queueCount)
        host = TestHost()
        let outbox = outbox
        session = Session(device: device, host: realHost ? LinuxSessionHost() : host, limits: limits) { outbox.outputs.append($0) }
    }

    // MARK: What came out

    var outputs: [SessionOutput] { outbox.outputs }

    /// Everything put out since the last call.
    func takeOutputs() -> [SessionOutput] {
        defer { outbox.outputs = [] }
        return outbox.outputs
    }

    /// The replies put out since the last call.
    func takeReplies() -> [Message] {
        takeOutputs().compactMap { if case .reply(let message) = $0 { message } else { nil } }
    }

    var notices: [SessionNotice] {
        outbox.outputs.compactMap { if case .notice(let notice) = $0 { notice } else { nil } }
    }

    var closure: StreamError? {
        outbox.outputs.lazy.compactMap { if case .close(let error) = $0 { error } else { nil } }.first
    }

    // MARK: What goes in

    /// Sends a message and returns the replies that came at once.
    @discardableResult
    func send(
        _ request: FrontendRequest, _ payload: Payload = .none, _ descriptors: [FileDescriptor] = [], needReply: Bool = false
    ) -> [Message] {
        outbox.outputs = []
        session.receive(Message(request, payload, descriptors: descriptors, needReply: needReply))
        return outputs.compactMap { if case .reply(let message) = $0 { message } else { nil } }
    }

    /// Sends a message with need_reply and returns the answer's u64.
    func ask(_ request: FrontendRequest, _ payload: Payload = .none, _ descriptors: [FileDescriptor] = []) -> UInt64? {
        Self.u64(send(request, payload, descriptors, needReply: true))
    }

    static func u64(_ replies: [Message]) -> UInt64? {
        guard replies.count == 1, case .u64(let value)? = try? replies[0].decode(.u64) else { return nil }
        return value
    }

    /// The code of a refusal: the answer's low bits, since SET_DEVICE_STATE_FD has a flag above them.
    static func code(_ replies: [Message]) -> UInt64? { u64(replies).map { $0 & 0xff } }

    // MARK: Set-up

    /// Everything the session serves, as far as a front-end sets it by itself: GPA_ADDRESSES gives ring addresses another meaning.
    var usualProtocolFeatures: ProtocolFeatures { session.offeredProtocolFeatures.subtracting(.guestPhysicalAddresses) }

    /// The usual protocol features, or what is given.
    func negotiate(_ protocolFeatures: ProtocolFeatures? = nil, features: VirtioFeatures = [.version1, .protocolFeatures]) {
        send(.setProtocolFeatures, .u64((protocolFeatures ?? usualProtocolFeatures).rawValue))
        send(.setOwner)
        send(.setFeatures, .u64(features.rawValue))
    }

    static func region(
        guest: UInt64 = 0, size: UInt64 = regionSize, frontend: UInt64 = frontendBase, offset: UInt64 = 0
    ) -> MemoryRegionDescription {
        MemoryRegionDescription(guestAddress: guest, size: size, frontendAddress: frontend, mapOffset: offset)
    }

    func setMemory(_ regions: [MemoryRegionDescription] = [region()]) throws {
        let descriptors = try regions.map { _ in try EventFD().descriptor }
        send(.setMemoryTable, .memoryTable(regions), descriptors)
    }

    /// Areas for ring `index`, one after the other, 64 KiB a ring.
    static func address(_ index: Int, flags: UInt32 = 0, log: UInt64 = 0) -> VringAddress {
        let base = frontendBase + UInt64(index) << 16
        return VringAddress(
            index: UInt32(index), flags: flags, descriptor: base, used: base + 0x8000, available: base + 0x4000, log: log)
    }

    /// Size, base and areas.
    func describeRing(_ index: Int, size: UInt32 = 256, base: UInt32 = 0) {
        send(.setVringSize, .vringState(VringState(index: UInt32(index), number: size)))
        send(.setVringBase, .vringState(VringState(index: UInt32(index), number: base)))
        send(.setVringAddress, .vringAddress(Self.address(index)))
    }

    func setKick(_ index: Int) throws {
        send(.setVringKick, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), [try EventFD().descriptor])
    }

    func setCall(_ index: Int) throws {
        send(.setVringCall, .vringDescriptor(.init(index: UInt8(index), hasDescriptor: true)), [try EventFD().descriptor])
    }

    @discardableResult
    func enable(_ index: Int, _ on: Bool = true) -> UInt64? {
        ask(.setVringEnable, .vringState(VringState(index: UInt32(index), number: on ? 1 : 0)))
    }

    /// A session in which the rings below `ringCount` run; the device's calls are forgotten.
    static func running(_ ringCount: Int = 1, queueCount: Int = 4) throws -> TestFrontend {
        let frontend = TestFrontend(queueCount: queueCount)
        frontend.negotiate()
        try frontend.setMemory()
        for index in 0..<ringCount {
            frontend.describeRing(index)
            try frontend.setKick(index)
            try frontend.setCall(index)
            #expect(frontend.enable(index) == 0)
        }
        #expect(frontend.device.configurations.count == ringCount)
        frontend.device.calls = []
        _ = frontend.takeOutputs()
        return frontend
    }
}
