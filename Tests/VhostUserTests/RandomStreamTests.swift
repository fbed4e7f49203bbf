import LinuxSystem
import Testing
import VhostUser
import Virtio

/// Streams of mostly sensible messages with mistakes in them, against a device that answers late: whatever comes, the session keeps its
/// promises to the device and answers in order.
@Suite struct RandomStreamTests {
    /// SplitMix64: the same seed gives the same stream everywhere.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
            return mixed ^ mixed >> 31
        }
    }

    /// A device that checks what it is asked: no ring starts twice, none is stopped or changed that does not run.
    private final class StrictDevice: SessionDevice {
        enum State { case idle, running, stopping }
        let offeredFeatures: VirtioFeatures = [.version1, .ringPacked, .ringEventIndex, .logAll]
        let offeredProtocolFeatures = ProtocolFeatures(rawValue: .max)
        let queueCount = 3
        let queueSizeMax = 256
        var states = [State](repeating: .idle, count: 3)
        var mistakes: [String] = []
        var held: [() -> Void] = []
        var startCount = 0

        func check(_ condition: Bool, _ mistake: String) { if !condition { mistakes.append(mistake) } }

        func readConfig(offset: Int, size: Int) -> [UInt8]? {
            check(offset >= 0 && size > 0 && offset + size <= 256, "read \(offset) \(size)")
            return [UInt8](repeating: 0, count: size)
        }
        func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
            check(offset >= 0 && !bytes.isEmpty && offset + bytes.count <= 256, "write \(offset) \(bytes.count)")
            return true
        }
        func featuresDidChange(_ features: VirtioFeatures) {}
        func statusDidChange(_ status: UInt8) {}
        func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
            check(states[index] == .idle, "ring \(index) starts while it is \(states[index])")
            check(VirtqueueLayout.isValid(queueSize: ring.size, features: ring.features), "ring \(index) of \(ring.size)")
            startCount += 1
            states[index] = .running
        }
        func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
            check(states[index] == .running, "ring \(index) stops while it is \(states[index])")
            states[index] = .stopping
            held.append { [self] in
                states[index] = .idle
                completion(RingBase(split: 0))
            }
        }
        func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
            check(states.allSatisfy { $0 == .idle }, "the state is moved while a ring is not idle")
            held.append { completion(saves ? nil : "a test's") }
        }
        func cancelStateTransfer() {}
        func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
            // How writes are logged matters until the ring has stopped.
            var isLog = false
            if case .log = change { isLog = true }
            check(states[index] == .running || isLog && states[index] == .stopping, "ring \(index) changes while it is \(states[index])")
            held.append(completion)
        }
        func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void) {
            check(rings.keys.sorted() == states.indices.filter { states[$0] == .running }, "memory for \(rings.keys.sorted()): \(states)")
            held.append(completion)
        }
        func resetDevice() { check(states.allSatisfy { $0 == .idle }, "reset while \(states)") }
    }

    private static func number<Number: FixedWidthInteger>(_ usual: ClosedRange<Number>, _ generator: inout Generator) -> Number {
        switch Int.random(in: 0..<30, using: &generator) {
        case 0: .max
        case 1: Number.random(in: .min ... .max, using: &generator)
        case 2: 0
        default: Number.random(in: usual, using: &generator)
        }
    }

    private static func region(_ generator: inout Generator) -> MemoryRegionDescription {
        let slot = UInt64.random(in: 0..<3, using: &generator)
        return MemoryRegionDescription(
            guestAddress: number(slot << 20...slot << 20, &generator), size: number(1 << 20...1 << 20, &generator),
            frontendAddress: TestFrontend.frontendBase + slot << 20, mapOffset: number(0...0, &generator))
    }

    private static func payload(_ request: FrontendRequest, _ generator: inout Generator) -> Payload {
        switch request.shape.payload {
        case .none: return .none
        case .u64:
            let features: VirtioFeatures = Bool.random(using: &generator) ? [.version1, .protocolFeatures] : [.version1, .ringPacked]
            return .u64(request == .setFeatures ? features.rawValue : number(0...15, &generator))
        case .vringState:
            let usual: ClosedRange<UInt32> = request == .setVringSize ? 64...256 : 0...1
            return .vringState(VringState(index: number(0...2, &generator), number: number(usual, &generator)))
        case .vringAddress:
            var address = TestFrontend.address(Int.random(in: 0...2, using: &generator))
            if Int.random(in: 0..<10, using: &generator) == 0 { address.used = number(0...1 << 40, &generator) }
            return .vringAddress(address)
        case .vringDescriptor: return .vringDescriptor(VringDescriptorReference(rawValue: number(0...2, &generator)))
        case .memoryTable: return .memoryTable((0..<Int.random(in: 1...3, using: &generator)).map { _ in region(&generator) })
        case .memoryRegion: return .memoryRegion(region(&generator))
        case .config:
            let size: UInt32 = number(1...60, &generator)
            let bytes = [UInt8](repeating: 0, count: Int(min(size, 512)))
            return .config(ConfigAccess(offset: number(0...60, &generator), size: size, bytes: bytes))
        case .inflight:
            return .inflight(
                InflightDescription(
                    size: number(1 << 16...1 << 17, &generator), offset: number(0...0, &generator), queueCount: number(1...3, &generator),
                    queueSize: number(64...256, &generator)))
        default: return .opaque((0..<Int.random(in: 0...64, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) })
        }
    }

    /// The messages that matter come more often.
    private static let requests: [FrontendRequest] =
        FrontendRequest.allCases
        + Array(repeating: [.setVringKick, .setVringEnable, .getVringBase, .setVringAddress, .setVringSize, .setMemoryTable], count: 8)
        .flatMap { $0 }

    /// Three rings that run.
    private static func setUp(_ event: FileDescriptor) -> [Message] {
        var messages = [
            Message(.setProtocolFeatures, .u64(Session.servedProtocolFeatures.subtracting(.guestPhysicalAddresses).rawValue)),
            Message(.setFeatures, .u64(VirtioFeatures.version1.rawValue)),
            Message(.setMemoryTable, .memoryTable([TestFrontend.region()]), descriptors: [event]),
        ]
        for index: UInt32 in 0..<3 {
            messages.append(Message(.setVringSize, .vringState(VringState(index: index, number: 128))))
            messages.append(Message(.setVringAddress, .vringAddress(TestFrontend.address(Int(index)))))
            messages.append(Message(.setVringKick, .u64(UInt64(index)), descriptors: [event]))
        }
        return messages
    }

    @Test("1 000 sessions of 200 messages", arguments: 0..<10 as Range<UInt64>)
    func streams(block: UInt64) throws {
        let event = try EventFD().descriptor
        var startCount = 0
        for seed in block * 100..<(block + 1) * 100 {
            var generator = Generator(state: seed)
            let device = StrictDevice()
            let host = TestHost()
            var replies: [UInt32] = []
            var isClosed = false
            let session = Session(device: device, host: host) { output in
                if case .reply(let message) = output { replies.append(message.request) }
                if case .close = output { isClosed = true }
            }
            var expected: [UInt32] = []
            for message in Self.setUp(event) { session.receive(message) }
            replies = []
            for _ in 0..<200 where !isClosed {
                let request = Self.requests.randomElement(using: &generator)!
                let payload = Self.payload(request, &generator)
                var count = request.shape.descriptorCount.lowerBound
                if case .memoryTable(let regions) = payload { count = regions.count }
                if case .vringDescriptor(let reference) = payload { count = reference.hasDescriptor ? 1 : 0 }
                if Int.random(in: 0..<20, using: &generator) == 0 { count = Int.random(in: 0...3, using: &generator) }
                // The protocol features stay, so that every message is answered.
                if request == .setProtocolFeatures { continue }
                while !session.isReady { device.held.removeFirst()() }
                session.receive(Message(request, payload, descriptors: Array(repeating: event, count: count), needReply: true))
                expected.append(request.rawValue)
                if Int.random(in: 0..<20, using: &generator) == 0 {
                    session.ringDidBreak(Int.random(in: 0...2, using: &generator), reason: "test")
                }
                while !device.held.isEmpty, Bool.random(using: &generator) { device.held.removeFirst()() }
            }
            var isDone = false
            if Bool.random(using: &generator) {
                while !device.held.isEmpty { device.held.removeFirst()() }
                #expect(replies == expected, "seed \(seed)")
            } else {
                #expect(expected.starts(with: replies), "seed \(seed)")
            }
            session.disconnect { isDone = true }
            while !device.held.isEmpty { device.held.removeFirst()() }
            #expect(isDone && device.states.allSatisfy { $0 == .idle } && host.liveCount == 0, "seed \(seed)")
            #expect(device.mistakes.isEmpty, "seed \(seed): \(device.mistakes)")
            startCount += device.startCount
        }
        #expect(startCount > 400, "the streams get further than their set-up")
    }
}
