import LinuxSystem
import VhostUser
import Virtio

/// A device that checks what a session asks of it, runs real rings on the memory it is given, and answers when it is told to.
final class FuzzDevice: SessionDevice {
    private enum State { case idle, running, stopping }

    /// A ring of either format with what it needs.
    private struct Running {
        var ring: any Virtqueue
        var memory: GuestMemory
        var view: GuestMemoryView
        let scratch: FuzzBlock
        /// The inflight part's mapping.
        let owner: (any Sendable)?
        let hasEventIndex: Bool
        var place: RingPlace
        /// Where its writes are logged.
        var log: RingLog?
        /// It waits for a translation of its own areas, and is not looked at.
        var isSuspended = false
    }

    /// Who hears of misses.
    weak var session: Session?

    let offeredFeatures: VirtioFeatures = VirtioFeatures.rings.union([.blockFlush, .blockConfigWriteback, .blockMultiQueue])
    let offeredProtocolFeatures = ProtocolFeatures(rawValue: .max)
    let queueCount = 3
    let queueSizeMax = 256
    private var states = [State](repeating: .idle, count: 3)
    private var running: [Int: Running] = [:]
    /// Answers that wait.
    private var held: [() -> Void] = []
    private(set) var startCount = 0
    private(set) var failure: String?

    private func require(_ condition: Bool, _ promise: @autoclosure () -> String) {
        if !condition, failure == nil { failure = promise() }
    }

    var isIdle: Bool { states.allSatisfy { $0 == .idle } && held.isEmpty }
    var heldCount: Int { held.count }

    /// Completes what has waited longest.
    func release() { if !held.isEmpty { held.removeFirst()() } }

    func readConfig(offset: Int, size: Int) -> [UInt8]? {
        require(offset >= 0 && (1...256).contains(size), "\(size) bytes of the config space at \(offset)")
        return offset + size <= BlockConfigSpace.size ? [UInt8](repeating: 0, count: size) : nil
    }

    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
        require(offset >= 0 && (1...256).contains(bytes.count), "\(bytes.count) bytes to the config space at \(offset)")
        return offset + bytes.count <= BlockConfigSpace.size
    }

    func featuresDidChange(_ features: VirtioFeatures) {
        require(features.subtracting(.protocolFeatures).isSubset(of: offeredFeatures), "features that were not offered: \(features)")
    }

    func statusDidChange(_ status: UInt8) {}

    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError) {
        require(states[index] == .idle, "ring \(index) starts while it is \(states[index])")
        require(VirtqueueLayout.isValid(queueSize: ring.size, features: ring.features), "ring \(index) has \(ring.size) descriptors")
        touch(ring.addresses, ring.size, ring.features)
        let isPacked = ring.features.contains(.ringPacked)
        let entries = ring.inflight?.queue.entryCount ?? 0
        let bytes =
            isPacked
            ? PackedVirtqueue.scratchBytes(queueSize: ring.size, inflightEntries: entries)
            : SplitVirtqueue.scratchBytes(queueSize: ring.size, inflightEntries: entries)
        let scratch = FuzzBlock(size: bytes)
        let configuration = unsafe VirtqueueConfiguration(
            size: ring.size, addresses: ring.addresses, base: ring.base, features: ring.features, inflight: ring.inflight?.queue,
            scratch: scratch.base)
        do throws(VirtqueueError) {
            let started: any Virtqueue = isPacked ? try PackedVirtqueue(configuration) : try SplitVirtqueue(configuration)
            running[index] = Running(
                ring: started, memory: ring.memory, view: ring.memory.view, scratch: scratch, owner: ring.inflight?.owner,
                hasEventIndex: ring.features.contains(.ringEventIndex), place: RingPlace(addresses: ring.addresses, joined: ring.joined),
                log: ring.log)
        } catch {
            throw RingStartError(error.description)
        }
        states[index] = .running
        startCount += 1
        work(index)
    }

    /// Reads both ends of each area: what the session accepts is mapped.
    private func touch(_ addresses: RingAddresses, _ size: Int, _ features: VirtioFeatures) {
        let layout = VirtqueueLayout(queueSize: size, features: features)
        let areas = unsafe [
            (addresses.descriptors, layout.descriptorBytes), (addresses.driver, layout.driverBytes),
            (addresses.device, layout.deviceBytes),
        ]
        for unsafe(place, count) in unsafe areas {
            _ = unsafe place.load(as: UInt8.self)
            _ = unsafe (place + count - 1).load(as: UInt8.self)
        }
    }

    /// Takes a few chains, touches their memory, and gives them back.
    private func work(_ index: Int) {
        guard var now = running[index], !now.isSuspended else { return }
        var missed: MemoryMiss?
        let cursor = now.ring.usedCursor
        unsafe withUnsafeTemporaryAllocation(of: IOVector.self, capacity: 64) { places in
            guard let first = places.baseAddress else { return }
            for _ in 0..<8 {
                var buffer = unsafe SegmentBuffer(base: first, capacity: 64, spill: nil, spillCapacity: 0)
                var chain = DescriptorChain()
                now.view.miss = nil
                let result = now.ring.pop(&now.view, &buffer, &chain)
                if case .missed = result { missed = now.view.miss }
                guard result == .chain else {
                    if case .malformed = result { now.ring.push(chain.handle, length: 0) }
                    break
                }
                for segment in 0..<Int(chain.readableCount + chain.writableCount) {
                    _ = unsafe places[segment].base.load(as: UInt8.self)
                    _ = unsafe (places[segment].base + places[segment].length - 1).load(as: UInt8.self)
                }
                now.ring.push(chain.handle, length: 1)
            }
        }
        now.ring.publish()
        mark(now.ring.usedWrites(since: cursor), now)
        _ = now.ring.shouldNotify()
        _ = now.ring.enableNotifications()
        running[index] = now
        // The session may give the answer at once, if it has the translation: it is told when nothing else is under way.
        if let missed { held.append { [weak self] in self?.session?.ringDidMiss(index, missed) } }
    }

    /// Puts what was written to the ring into the log, at whatever address the front-end named.
    private func mark(_ writes: RingWrites, _ now: Running) {
        guard let log = now.log else { return }
        var marks = DirtyMarks(log.log)
        let area = writes.area == .device ? log.used : log.descriptors
        for piece in [writes.first, writes.second] { area?.forEach(in: piece) { marks.add($0, $1) } }
        // unsafe: the address is compared, not followed.
        if log.logsBuffers, let place = unsafe now.memory.guestAddress(of: now.place.addresses.device) { marks.add(place, 1) }
        marks.flush()
    }

    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        require(states[index] == .running, "ring \(index) stops while it is \(states[index])")
        states[index] = .stopping
        held.append { [self] in
            states[index] = .idle
            completion(running.removeValue(forKey: index)?.ring.base ?? RingBase(split: 0))
        }
    }

    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void) {
        // How writes are logged matters until the ring has stopped.
        var isLog = false
        if case .log = change { isLog = true }
        require(states[index] == .running || isLog && states[index] == .stopping, "ring \(index) changes while it is \(states[index])")
        switch change {
        case .log(let log): running[index]?.log = log
        case .suspended: running[index]?.isSuspended = true
        case .denied(let miss): running[index]?.view.denied = miss
        default: break
        }
        held.append { [self] in
            if states[index] == .running { work(index) }
            completion()
        }
    }

    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void) {
        let expected = states.indices.filter { states[$0] == .running }
        // With an IOMMU only those whose areas are translated go on.
        let isAll = rings.keys.sorted() == expected || memory.isTranslated && rings.keys.allSatisfy(expected.contains)
        require(isAll, "memory for rings \(rings.keys.sorted()), while \(expected) run")
        for (index, place) in rings {
            do throws(VirtqueueError) {
                try running[index]?.ring.relocate(place.addresses)
            } catch {
                require(false, "ring \(index) is moved to where it cannot be: \(error)")
            }
            running[index]?.place = place
            running[index]?.log = place.log
            running[index]?.memory = memory
            running[index]?.view = memory.view
            running[index]?.isSuspended = false
        }
        held.append { [self] in
            for index in rings.keys where states[index] == .running { work(index) }
            completion()
        }
    }

    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void) {
        if states.contains(where: { $0 != .idle }) { failure = failure ?? "the state is moved while a ring is not idle" }
        held.append { completion(nil) }
    }

    func cancelStateTransfer() {}

    func resetDevice() {
        require(states.allSatisfy { $0 == .idle }, "a reset while rings are \(states)")
    }
}
