import LinuxSystem
import VhostUser
import Virtio

/// The stream of messages: a real socket with real descriptors, codec, session, and a device that checks what is asked of it.
enum MessageTarget {
    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        #if VHUBLK_FUZZ
            // Nobody else opens descriptors in the fuzzer's process. What the process keeps for itself is opened once, by some first input.
            let (count, first) = try descriptorsLeft(by: input)
            if first > 0 {
                let (_, second) = try descriptorsLeft(by: input)
                try FuzzFailure.require(second == 0, "\(second) descriptors are left open")
            }
            return count
        #else
            return try MessageRun().run(input)
        #endif
    }

    #if VHUBLK_FUZZ
        private static func descriptorsLeft(by input: [UInt8]) throws(FuzzFailure) -> (messageCount: Int, left: Int) {
            let before = FuzzDescriptors.openNumbers()
            let count = try MessageRun().run(input)
            return (count, FuzzDescriptors.openNumbers().count { !before.contains($0) })
        }
    #endif
}

private final class MessageRun {
    private static let frontendBase: UInt64 = 0x7f00_0000_0000
    private static let regionBytes: UInt64 = 1 << 18

    private let socket: FileDescriptor
    private let device = FuzzDevice()
    private let connection: SessionConnection
    private let pool = FuzzDescriptors()
    private var replyCount = 0
    /// Where ring areas are, in the address space that was negotiated for them.
    private var ringBase = MessageRun.frontendBase
    private var isClosed: Bool { events.isClosed }

    private final class Events {
        var isClosed = false
        var noticeCount = 0
        /// Calls that go in-band, by ring.
        var calls: [Int: FileDescriptor] = [:]
    }
    private let events: Events

    init() throws(FuzzFailure) {
        do throws(SystemError) {
            let (here, there) = try UnixSocket.pair()
            socket = there
            let events = Events()
            self.events = events
            connection = SessionConnection(here, device: device) { event in
                switch event {
                case .closed: events.isClosed = true
                case .notice: events.noticeCount += 1
                case .callDescriptor(let ring, let descriptor): events.calls[ring] = descriptor
                case .interest, .backendSocket, .backendInterest: break
                }
            }
        } catch {
            throw FuzzFailure("the fuzzer has no sockets: \(error)")
        }
    }

    func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        var reader = InputReader(input)
        if !reader.chance(in: 4) { try setUp(&reader) }
        while !reader.isAtEnd, !isClosed {
            switch reader.byte() % 16 {
            case 0...9: try sendMessage(&reader)
            case 10: device.release()
            case 11: connection.session.ringDidBreak(reader.number(below: 3), reason: "the fuzzer says so")
            case 12: connection.session.configDidChange()
            case 13: try answerOnChannel(&reader)
            case 14: try send(reader.take(reader.number(below: 64)), [])
            default: try scribble(&reader)
            }
            pump()
            for (ring, descriptor) in events.calls {
                EventFD(adopting: descriptor).signal()
                connection.callDescriptorIsReady(ring)
            }
            try takeReplies()
            try check()
        }
        try hangUp()
        return replyCount + device.startCount
    }

    private func check() throws(FuzzFailure) {
        if let failure = device.failure { throw FuzzFailure(failure) }
        try FuzzFailure.require(events.noticeCount <= 66, "\(events.noticeCount) lines in the log for one session")
    }

    private func pump() { connection.mainSocketIsReady(canRead: true, canWrite: true, isHungUp: false) }

    /// An orderly beginning: features, memory, and as many running rings as the input wants.
    private func setUp(_ reader: inout InputReader) throws(FuzzFailure) {
        let bits = reader.byte()
        var features: VirtioFeatures = [.version1, .protocolFeatures, .ringIndirectDescriptors]
        if bits & 1 != 0 { features.insert(.ringPacked) }
        if bits & 2 != 0 { features.insert(.ringEventIndex) }
        let more = reader.byte()
        if more & 1 != 0 { features.insert(.accessPlatform) }
        if more & 2 != 0 { features.insert(.logAll) }
        device.session = connection.session
        var protocolFeatures = Session.servedProtocolFeatures
        // With these the front-end names ring areas as the guest does, and brings no descriptors for events.
        if bits & 8 == 0 { protocolFeatures.subtract([.guestPhysicalAddresses, .inbandNotifications]) } else { ringBase = 0 }
        try send(Message(.setProtocolFeatures, .u64(protocolFeatures.rawValue)), [])
        try send(Message(.setFeatures, .u64(features.rawValue)), [])
        try send(Message(.setMemoryTable, .memoryTable([region(0)])), [.memory])
        try setUpMoves(more)
        if bits & 4 != 0 {
            let wanted = InflightDescription(size: 0, offset: 0, queueCount: 3, queueSize: 256)
            try send(Message(.getInflightDescriptor, .inflight(wanted)), [])
        }
        for index: UInt32 in 0..<UInt32(bits / 16 % 4) {
            try send(Message(.setVringSize, .vringState(VringState(index: index, number: 64))), [])
            var address = address(index)
            if more & 2 != 0 { (address.flags, address.log) = (VringAddress.logFlag, UInt64(index) << 16 + 0x8000) }
            try send(Message(.setVringAddress, .vringAddress(address)), [])
            try send(Message(.setVringKick, .u64(UInt64(index))), [.event])
            try send(Message(.setVringEnable, .vringState(VringState(index: index, number: 1))), [])
            pump()
        }
        pump()
        try takeReplies()
    }

    /// A back-end channel, a dirty log, translations: as many as wanted.
    private func setUpMoves(_ more: UInt8) throws(FuzzFailure) {
        if more & 1 != 0 { ringBase = 0 }
        if more & 4 != 0 { try send(Message(.setBackendChannel, .none), [.socket]) }
        if more & 2 != 0 { try send(Message(.setLogBase, .log(LogDescription(size: 4096, offset: 0))), [.memory]) }
        guard more & 9 == 9 else { return }
        // The first pages, where the rings are.
        let update = IOTLBMessage(
            iova: 0, size: UInt64(more) << 10, frontendAddress: Self.frontendBase, permissions: 3, kind: .update)
        try send(Message(FrontendRequest.iotlbMessage, .iotlb(update)), [])
    }

    private func region(_ slot: UInt64) -> MemoryRegionDescription {
        MemoryRegionDescription(
            guestAddress: slot * Self.regionBytes, size: Self.regionBytes, frontendAddress: Self.frontendBase + slot * Self.regionBytes,
            mapOffset: slot * Self.regionBytes)
    }

    private func address(_ index: UInt32) -> VringAddress {
        let base = ringBase + UInt64(index % 4) << 16
        return VringAddress(index: index, descriptor: base, used: base + 0x8000, available: base + 0x4000)
    }

    // MARK: One message

    /// The messages that matter come more often.
    private static let requests: [FrontendRequest] =
        FrontendRequest.allCases
        + Array(
            repeating: [
                .setVringKick, .setVringEnable, .getVringBase, .setVringAddress, .setVringSize, .setVringBase, .setMemoryTable,
                .addMemoryRegion, .removeMemoryRegion, .getInflightDescriptor, .setInflightDescriptor, .setFeatures, .iotlbMessage,
                .setLogBase, .setLogDescriptor, .setDeviceStateDescriptor, .checkDeviceState,
            ], count: 4
        ).flatMap { $0 }

    private func sendMessage(_ reader: inout InputReader) throws(FuzzFailure) {
        let request = reader.pick(Self.requests)
        let style = reader.byte()
        let payload = payload(request, &reader)
        var message = Message(request, payload, needReply: style & 1 != 0)
        var kinds = usualDescriptors(request, payload)
        if style & 14 == 14 { kinds = (0..<reader.number(below: 40)).map { _ in reader.pick(FuzzDescriptors.Kind.allCases) } }
        if style & 112 == 112 {
            switch reader.byte() % 4 {
            case 0: message.flags = MessageFlags(rawValue: reader.edge())
            case 1: message.request = reader.edge()
            case 2: message.payload = Array(message.payload.prefix(reader.number(below: 64)))
            default: message.payload += reader.take(reader.number(below: 64))
            }
        }
        try send(message, kinds)
    }

    private func usualDescriptors(_ request: FrontendRequest, _ payload: Payload) -> [FuzzDescriptors.Kind] {
        switch (request, payload) {
        case (_, .memoryTable(let regions)): regions.map { _ in .memory }
        case (_, .vringDescriptor(let reference)): reference.hasDescriptor ? [.event] : []
        case (.setBackendChannel, _), (.setDeviceStateDescriptor, _): [.socket]
        case (.addMemoryRegion, _), (.setInflightDescriptor, _), (.setLogBase, _): [.memory]
        default: Array(repeating: .event, count: request.shape.descriptorCount.lowerBound)
        }
    }

    private func payload(_ request: FrontendRequest, _ reader: inout InputReader) -> Payload {
        switch request.shape.payload {
        case .none: return .none
        case .u64:
            let features: [VirtioFeatures] = [
                [.version1, .protocolFeatures], [.version1, .ringPacked], device.offeredFeatures, [.version1, .protocolFeatures, .logAll],
                [.version1, .protocolFeatures, .accessPlatform],
            ]
            if request == .setFeatures, !reader.chance(in: 4) { return .u64(reader.pick(features).rawValue) }
            return .u64(reader.chance(in: 2) ? reader.edge() : UInt64(reader.byte() % 16))
        case .vringState:
            let usual: UInt32 = request == .setVringSize ? 1 << UInt32(reader.byte() % 10) : UInt32(reader.byte() % 3)
            return .vringState(VringState(index: index(&reader), number: reader.chance(in: 4) ? reader.edge() : usual))
        case .vringAddress:
            var address = address(index(&reader))
            switch reader.byte() % 8 {
            case 5: address.used = Self.frontendBase &+ reader.edge(as: UInt64.self)
            case 6: address.descriptor = Self.frontendBase &+ reader.edge(as: UInt64.self)
            case 7: address.available = reader.edge()
            case 4: (address.flags, address.log) = (VringAddress.logFlag, reader.edge())
            default: break
            }
            return .vringAddress(address)
        case .vringDescriptor:
            return .vringDescriptor(VringDescriptorReference(rawValue: reader.chance(in: 8) ? reader.edge() : UInt64(reader.byte() % 3)))
        case .memoryTable: return .memoryTable((0..<reader.number(below: 5)).map { _ in anyRegion(&reader) })
        case .memoryRegion: return .memoryRegion(anyRegion(&reader))
        case .config:
            let size: UInt32 = reader.chance(in: 4) ? reader.edge() : 1 + UInt32(reader.byte() % 96)
            let offset: UInt32 = reader.chance(in: 4) ? reader.edge() : UInt32(reader.byte() % 96)
            return .config(ConfigAccess(offset: offset, size: size, bytes: [UInt8](repeating: 1, count: Int(min(size, 300)))))
        case .inflight:
            return .inflight(
                InflightDescription(
                    size: reader.chance(in: 4) ? reader.edge() : 1 << 16, offset: reader.chance(in: 4) ? reader.edge() : 0,
                    queueCount: reader.chance(in: 4) ? reader.edge() : 1 + UInt16(reader.byte() % 3),
                    queueSize: reader.chance(in: 4) ? reader.edge() : 256))
        case .log: return .log(log(&reader))
        case .iotlb: return .iotlb(translation(&reader))
        case .deviceState:
            return .deviceState(
                DeviceStateTransfer(
                    direction: reader.chance(in: 8) ? reader.edge() : UInt32(reader.byte() % 2),
                    phase: reader.chance(in: 8) ? reader.edge() : 0))
        default: return .opaque(reader.take(reader.number(below: 64)))
        }
    }

    private func log(_ reader: inout InputReader) -> LogDescription {
        LogDescription(size: reader.chance(in: 4) ? reader.edge() : 4096, offset: reader.chance(in: 4) ? reader.edge() : 0)
    }

    private func translation(_ reader: inout InputReader) -> IOTLBMessage {
        let page = UInt64(reader.byte() % 64) << 12
        let kinds: [IOTLBMessage.Kind] = [.update, .update, .update, .invalidate]
        var message = IOTLBMessage(
            iova: page, size: UInt64(reader.byte() % 16) << 12, frontendAddress: Self.frontendBase + page,
            permissions: 1 + reader.byte() % 3,
            kind: reader.pick(kinds))
        switch reader.byte() % 16 {
        case 12: message.iova = reader.edge()
        case 13: message.size = reader.edge()
        case 14: message.frontendAddress = reader.edge()
        case 15: (message.permissions, message.type) = (reader.byte(), reader.byte())
        default: break
        }
        return message
    }

    private func index(_ reader: inout InputReader) -> UInt32 {
        reader.chance(in: 16) ? reader.edge() : UInt32(reader.byte() % 3)
    }

    private func anyRegion(_ reader: inout InputReader) -> MemoryRegionDescription {
        var region = region(UInt64(reader.byte() % 4))
        switch reader.byte() % 8 {
        case 4: region.size = reader.edge()
        case 5: region.guestAddress = reader.edge()
        case 6: region.mapOffset = reader.edge()
        case 7: region.frontendAddress = reader.edge()
        default: break
        }
        return region
    }

    // MARK: Bytes

    private func send(_ message: Message, _ kinds: [FuzzDescriptors.Kind]) throws(FuzzFailure) {
        try send(message.encoded, kinds)
    }

    /// Sends bytes with descriptors, as far as the socket takes them; a session that has closed does not.
    private func send(_ bytes: [UInt8], _ kinds: [FuzzDescriptors.Kind]) throws(FuzzFailure) {
        var raw: [Int32] = []
        for kind in kinds { raw.append(try pool.descriptor(kind).rawValue) }
        _ = try? unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: raw) }
    }

    /// The front-end's answer to what came over the back-end channel, or something else.
    private func answerOnChannel(_ reader: inout InputReader) throws(FuzzFailure) {
        guard let channel = pool.channel else { return }
        let requests: [BackendRequest] = [.configChange, .iotlbMessage]
        var bytes = Message(reader.pick(requests), .none).reply(.u64(UInt64(reader.byte() % 2))).encoded
        if reader.chance(in: 4) { bytes = reader.take(reader.number(below: 32)) }
        _ = try? unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(channel, $0) }
        connection.backendSocketIsReady(canRead: true, canWrite: true)
        var sink = [UInt8](repeating: 0, count: 4096)
        _ = try? unsafe sink.withUnsafeMutableBytes { try unsafe UnixSocket.receive(channel, into: $0) }
    }

    /// The guest writes into its memory: rings, descriptors, or what an inflight region is made of.
    private func scribble(_ reader: inout InputReader) throws(FuzzFailure) {
        let memory = try pool.descriptor(.memory)
        do throws(SystemError) {
            let mapping = try MemoryMapping(descriptor: memory, offset: 0, size: FuzzDescriptors.memoryBytes)
            let start = reader.number(below: 16) << 14 + reader.number(below: 256)
            for (index, byte) in reader.take(reader.number(below: 64)).enumerated() {
                unsafe mapping.base.storeBytes(of: byte, toByteOffset: start + index, as: UInt8.self)
            }
        } catch {
            throw FuzzFailure("the fuzzer cannot map its memory: \(error)")
        }
    }

    /// Reads what the session answered: whole messages with the reply flag.
    private func takeReplies() throws(FuzzFailure) {
        let front = MessageConnection(socket, receiving: .replies)
        do throws(StreamError) {
            while try front.receive() != nil { replyCount += 1 }
        } catch {
            if case .closed = error { return }
            throw FuzzFailure("no front-end can read the answers: \(error)")
        }
    }

    /// The front-end goes: everything stops, and nothing is left.
    private func hangUp() throws(FuzzFailure) {
        UnixSocket.shutdown(socket)
        pump()
        var isDone = false
        connection.disconnect { isDone = true }
        // Each step of an input leaves one or two answers waiting.
        for _ in 0..<4096 where !device.isIdle { device.release() }
        try check()
        try FuzzFailure.require(isDone && device.isIdle, "after the end rings run, or the end is not told")
    }
}
