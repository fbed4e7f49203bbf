import LinuxSystem
import VhostUser
import Virtio

/// How a ring logs, in words that can be compared.
struct LogWay: Equatable {
    var byteCount: UInt64
    var logsBuffers = true
    var usedAddress: UInt64?
    var hasNotifier = false

    init(byteCount: UInt64, logsBuffers: Bool = true, usedAddress: UInt64? = nil, hasNotifier: Bool = false) {
        (self.byteCount, self.logsBuffers, self.usedAddress, self.hasNotifier) = (byteCount, logsBuffers, usedAddress, hasNotifier)
    }

    init(_ log: RingLog) {
        self.init(
            byteCount: log.log.byteCount, logsBuffers: log.logsBuffers, usedAddress: log.used?.start, hasNotifier: log.notifier != nil)
    }
}

/// A device that writes down what it is asked, and answers at once or when told to.
final class TestDevice: SessionDevice {
    enum Call: Equatable {
        case start(Int)
        case stop(Int)
        case kick(Int, polled: Bool)
        case kicked(Int)
        case suspended(Int)
        case denied(Int, MemoryMiss)
        case call(Int, present: Bool)
        case error(Int, present: Bool)
        case log(Int, LogWay?)
        case memory(rings: [Int])
        case reset
        case transfer(saves: Bool)
        case cancelTransfer
        case features(VirtioFeatures)
        case status(UInt8)
        case write(offset: Int, bytes: [UInt8], migration: Bool)
    }

    var offeredFeatures: VirtioFeatures = [
        .version1, .ringPacked, .ringEventIndex, .ringIndirectDescriptors, .blockFlush, .blockMultiQueue, .blockConfigWriteback, .logAll,
    ]
    var offeredProtocolFeatures = ProtocolFeatures(rawValue: .max)
    var queueCount: Int
    var queueSizeMax = 1024
    var config: [UInt8] = (0..<60).map { UInt8($0) }
    var refusesWrites = false
    var startFailure: String?
    var stateFailure: String?
    /// Whether rings show, when all pages are said to be there, that they wait for none.
    var settles = true

    var calls: [Call] = []
    var configurations: [Int: RingConfiguration] = [:]
    var stopModes: [RingStop] = []
    /// The bases that stopped rings tell.
    var bases: [Int: RingBase] = [:]
    /// Whether stops, changes and memory changes wait for `release`.
    var holds = false
    private var held: [() -> Void] = []

    init(queueCount: Int = 4) { self.queueCount = queueCount }

    var heldCount: Int { held.count }

    /// Completes the oldest thing that waits.
    func release() { held.removeFirst()() }

    private func complete(_ completion: @escaping () -> Void) {
        if holds { held.append(completion) } else { completion() }
    }

    func readConfig(offset: Int, size: Int) -> [UInt8]? {
        offset + size <= config.count ? Array(config[offset..<offset + size]) : nil
    }

    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
        calls.append(.write(offset: offset, bytes: bytes, migration: isMigration))
        return !refusesWrites
    }

    func featuresDidChange(_ features: VirtioFeatures) { calls.append(.features(features)) }
    func statusDidChange(_ status: UInt8) { calls.append(.status(status)) }

    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        if let startFailure { throw RingStartError(startFailure) }
        calls.append(.start(index))
        configurations[index] = ring
    }

    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        calls.append(.stop(index))
        stopModes.append(mode)
        let base = bases[index] ?? RingBase(split: 0)
        complete { [self] in
            configurations[index] = nil
            completion(base)
        }
    }

    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
        switch change {
        case .kick(let kick, let isPolled):
            calls.append(.kick(index, polled: isPolled))
            configurations[index]?.kick = kick
        case .call(let call):
            calls.append(.call(index, present: call != nil))
            configurations[index]?.call = call
        case .error(let error): calls.append(.error(index, present: error != nil))
        case .suspended: calls.append(.suspended(index))
        case .denied(let miss): calls.append(.denied(index, miss))
        case .kicked: calls.append(.kicked(index))
        case .log(let log):
            calls.append(.log(index, log.map(LogWay.init)))
            configurations[index]?.log = log
        }
        complete(completion)
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void) {
        calls.append(.memory(rings: rings.keys.sorted()))
        complete { [self] in
            for (index, place) in rings {
                configurations[index]?.memory = memory
                configurations[index]?.addresses = place.addresses
                configurations[index]?.joined = place.joined
                configurations[index]?.log = place.log
            }
            completion()
        }
    }

    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
        calls.append(.transfer(saves: saves))
        let failure = stateFailure
        complete { completion(failure) }
    }

    func cancelStateTransfer() {
        // Said only where there is something to cancel, so that other tests need not know of it.
        if calls.contains(.transfer(saves: true)) || calls.contains(.transfer(saves: false)) { calls.append(.cancelTransfer) }
    }

    var state: [UInt8] = []

    func restore(_ state: [UInt8]) -> String? {
        guard stateFailure == nil else { return stateFailure }
        self.state = state
        return nil
    }

    func settle(completion: @escaping (Bool) -> Void) { completion(settles) }
    func resetDevice() { calls.append(.reset) }
}
