import VhostUser
import Virtio

/// A device that writes down what it is asked, and answers at once or when told to.
final class TestDevice: SessionDevice {
    enum Call: Equatable {
        case start(Int)
        case stop(Int)
        case kick(Int, polled: Bool)
        case kicked(Int)
        case call(Int, present: Bool)
        case error(Int, present: Bool)
        case log(Int, UInt64?)
        case memory(rings: [Int])
        case reset
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
        case .kicked: calls.append(.kicked(index))
        case .usedLogAddress(let address): calls.append(.log(index, address))
        }
        complete(completion)
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingAddresses], completion: @escaping () -> Void) {
        calls.append(.memory(rings: rings.keys.sorted()))
        complete { [self] in
            for (index, addresses) in rings {
                configurations[index]?.memory = memory
                configurations[index]?.addresses = addresses
            }
            completion()
        }
    }

    func resetDevice() { calls.append(.reset) }
}
