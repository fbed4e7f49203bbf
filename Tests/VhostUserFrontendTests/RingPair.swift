import LinuxSystem
import VhostUserFrontend
import Virtio

/// What a ring pair is made of, and how a random sequence goes over it.
struct RingPairSetting: Sendable, CustomStringConvertible {
    var format: RingFormat
    var size: Int
    var eventIndex: Bool
    var indirect: Bool
    var inflight: Bool
    var seed: UInt64

    var description: String {
        "\(format) size \(size) eventIndex \(eventIndex) indirect \(indirect) inflight \(inflight) seed \(seed)"
    }
}

struct RingPairFailure: Error, CustomStringConvertible {
    var description: String
}

/// splitmix64, so that a seed replays.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}

/// The driver's ring of this module and the device's of Virtio over the same memory, in one thread, each step chosen at random; a model of
/// what must come out checks every step: each chain comes out of the device as it went in, each completion reaches the driver once, and no
/// side sleeps while the other has something for it.
@safe
final class RingPair<Driver: DriverQueue, Device: Virtqueue> {
    private struct Chain {
        var readable: [DriverSegment]
        var writable: [DriverSegment]
    }

    private let setting: RingPairSetting
    private var random: SeededGenerator
    private let memory: DriverMemory
    private let guest: GuestMemory
    private var view: GuestMemoryView
    private let area: DriverRingArea
    private var driver: Driver
    private var device: Device
    private let scratch: MemoryMapping
    private let region: MemoryMapping
    // This object's own, given back in deinit; pops get its length.
    private let vectors: UnsafeMutablePointer<IOVector>

    /// Published or not, by token; what the device has popped, with the handle; what it pushed, by token.
    private var given: [UInt32: Chain] = [:]
    private var popped: [(token: UInt32, handle: ChainHandle)] = []
    private var pushed: [UInt32: UInt32] = [:]
    private var nextToken: UInt32 = 0
    private var isDeviceAsleep = false
    private var isDriverAsleep = false
    private(set) var completed = 0
    private(set) var restarts = 0
    private static var vectorCount: Int { 64 }

    init(_ setting: RingPairSetting) throws {
        self.setting = setting
        random = SeededGenerator(state: setting.seed)
        memory = try DriverMemory(anonymous: [
            .init(guestAddress: 0x10_0000, size: 8 << 20), .init(guestAddress: 0x8000_0000, size: 1 << 20),
        ])
        guest = try memory.deviceMemory()
        view = guest.view
        let options = DriverRingOptions(eventIndex: setting.eventIndex, indirect: setting.indirect, indirectCapacity: 8)
        guard let area = DriverRingArea(size: setting.size, format: setting.format, options: options, memory: memory) else {
            throw RingPairFailure(description: "no room for the ring")
        }
        self.area = area
        driver = Driver(area: area, options: options)
        let layout = InflightLayout(queueCount: 1, queueSize: setting.size, isPacked: setting.format == .packed)
        region = try MemoryMapping(anonymous: layout.regionBytes)
        scratch = try MemoryMapping(anonymous: max(64, Device.scratchBytes(queueSize: setting.size, inflightEntries: setting.size)))
        unsafe vectors = .allocate(capacity: 2 * Self.vectorCount)
        let base = RingBase(rawValue: setting.format == .packed ? 0x8000_8000 : 0)
        device = try Self.device(setting, area, scratch, region, base)
    }

    deinit {
        unsafe vectors.deallocate()
    }

    private static func device(
        _ setting: RingPairSetting, _ area: DriverRingArea, _ scratch: MemoryMapping, _ region: MemoryMapping, _ base: RingBase
    ) throws -> Device {
        var features: VirtioFeatures = [.version1]
        if setting.eventIndex { features.insert(.ringEventIndex) }
        if setting.indirect { features.insert(.ringIndirectDescriptors) }
        if setting.format == .packed { features.insert(.ringPacked) }
        let layout = InflightLayout(queueCount: 1, queueSize: setting.size, isPacked: setting.format == .packed)
        let addresses = unsafe RingAddresses(
            descriptors: area.descriptors.pointer, driver: area.driver.pointer, device: area.device.pointer)
        return try unsafe Device(
            VirtqueueConfiguration(
                size: setting.size, addresses: addresses, base: base, features: features,
                inflight: setting.inflight ? layout.queue(0, in: region.base) : nil, scratch: scratch.base))
    }

    /// Makes `steps` random steps, then lets everything finish.
    func run(steps: Int) throws {
        for _ in 0..<steps {
            switch random.next() % 8 {
            case 0, 1: try driverAdds()
            case 2, 3: try deviceTakes()
            case 4, 5: try deviceGivesBack()
            case 6: try driverReaps()
            default: try restart()
            }
        }
        while !given.isEmpty {
            driver.publish()
            try deviceTakes(all: true)
            try deviceGivesBack(all: true)
            try driverReaps(all: true)
        }
        guard driver.freeCount == setting.size, driver.inFlight == 0, device.inFlightCount == 0 else {
            throw failure("the rings are not empty at the end")
        }
        guard driver.base == device.base.rawValue else {
            throw failure("the driver's base is \(driver.base), the device's \(device.base.rawValue)")
        }
    }

    private func failure(_ reason: String) -> RingPairFailure {
        RingPairFailure(description: "\(reason) (\(setting), \(completed) completed, \(restarts) restarts)")
    }

    // MARK: The driver's turn

    private func driverAdds() throws {
        // Chains that fit a ring of two entries.
        let isSmall = setting.size < 4
        for _ in 0...random.next() % 4 {
            let chain = Chain(
                readable: segments(Int(random.next() % (isSmall ? 2 : 4))), writable: segments(Int(1 + random.next() % (isSmall ? 1 : 3))))
            let total = chain.readable.count + chain.writable.count
            let direct = setting.indirect ? directCount(total) : total
            let all = chain.readable + chain.writable
            let added = unsafe all.withUnsafeBufferPointer {
                unsafe driver.add(
                    token: nextToken, segments: $0.baseAddress!, readable: chain.readable.count, writable: chain.writable.count,
                    directCount: direct)
            }
            guard added else { break }
            given[nextToken] = chain
            nextToken &+= 1
        }
        driver.publish()
        let isKicked = driver.shouldKick()
        if isKicked { isDeviceAsleep = false }
        if isDeviceAsleep, given.count > popped.count + pushed.count {
            throw failure("the device sleeps, and the driver does not kick it for new buffers")
        }
    }

    private func directCount(_ total: Int) -> Int {
        switch random.next() % 3 {
        case 0: total
        case 1: 0
        // Direct descriptors before a table: split rings only.
        default: setting.format == .split ? Int(random.next() % UInt64(total + 1)) : 0
        }
    }

    /// Random places in both regions; the address is marked so that a chain that is mixed up shows.
    private func segments(_ count: Int) -> [DriverSegment] {
        (0..<count).map { _ in
            let region = Int(random.next() % 2)
            let length = 1 + Int(random.next() % 5000)
            let lowest = region == 0 ? 4 << 20 : 0
            let room = Int(memory.regions[region].size) - lowest - length
            let buffer = memory.buffer(region: region, offset: lowest + Int(random.next() % UInt64(room)), size: length)
            return DriverSegment(address: buffer.guestAddress, length: UInt32(length))
        }
    }

    private func driverReaps(all: Bool = false) throws {
        var used = UsedBuffer()
        while true {
            switch driver.reap(&used) {
            case .completed:
                guard let length = pushed.removeValue(forKey: used.token) else {
                    throw failure("token \(used.token) came back, which the device did not give back")
                }
                guard length == used.length else { throw failure("length \(used.length) came back instead of \(length)") }
                given[used.token] = nil
                completed += 1
                if !all, random.next() % 4 == 0 { return }
            case .none:
                guard pushed.isEmpty else { throw failure("\(pushed.count) buffers were given back and are not seen") }
                isDriverAsleep = random.next() % 2 == 0 && !driver.enableCalls()
                if !isDriverAsleep { driver.disableCalls() }
                return
            case .violation(let violation): throw failure("the driver sees \(violation)")
            }
        }
    }

    // MARK: The device's turn

    private func deviceTakes(all: Bool = false) throws {
        while true {
            var buffer = unsafe SegmentBuffer(
                base: vectors, capacity: Int32(2 + random.next() % 4), spill: vectors + Self.vectorCount,
                spillCapacity: Int32(Self.vectorCount))
            var chain = DescriptorChain()
            switch device.pop(&view, &buffer, &chain) {
            case .chain: try check(chain, buffer)
            case .empty:
                guard given.count == popped.count + pushed.count else {
                    throw failure("the device finds nothing, but \(given.count - popped.count - pushed.count) buffers are published")
                }
                isDeviceAsleep = random.next() % 2 == 0 && !device.enableNotifications()
                if !isDeviceAsleep { device.disableNotifications() }
                return
            case let other: throw failure("the device popped \(other)")
            }
            if !all, random.next() % 4 == 0 { return }
        }
    }

    /// Finds the chain among those the driver gave: the same host addresses and lengths.
    private func check(_ chain: DescriptorChain, _ buffer: SegmentBuffer) throws {
        let taken = Set(popped.map(\.token)).union(pushed.keys)
        for (token, wanted) in given where !taken.contains(token) {
            if matches(wanted, chain, buffer) {
                popped.append((token, chain.handle))
                return
            }
        }
        throw failure("the device popped a chain that the driver did not give")
    }

    private func matches(_ wanted: Chain, _ chain: DescriptorChain, _ buffer: SegmentBuffer) -> Bool {
        let all = wanted.readable + wanted.writable
        guard Int(chain.readableCount) == wanted.readable.count, Int(chain.writableCount) == wanted.writable.count else { return false }
        for (index, segment) in all.enumerated() {
            let vector = unsafe buffer.base[index]
            var view = guest.view
            guard vector.length == Int(segment.length), unsafe vector.base == view.translate(segment.address, UInt64(segment.length)) else {
                return false
            }
        }
        return true
    }

    private func deviceGivesBack(all: Bool = false) throws {
        var count = all ? popped.count : Int(random.next() % UInt64(popped.count + 1))
        guard count > 0 else { return }
        while count > 0 {
            let index = Int(random.next() % UInt64(popped.count))
            let (token, handle) = popped.remove(at: index)
            let length = 1 + UInt32(truncatingIfNeeded: random.next() % 100_000)
            device.push(handle, length: length)
            pushed[token] = length
            count -= 1
        }
        device.publish()
        let isCalled = device.shouldNotify()
        if isCalled { isDriverAsleep = false }
        if isDriverAsleep { throw failure("the driver sleeps, and the device does not call it for used buffers") }
    }

    /// The device goes away and another takes its place: after a clean stop with the base, or, with an inflight region, at any time.
    private func restart() throws {
        guard setting.inflight || device.inFlightCount == 0 else { return }
        let base =
            popped.isEmpty && random.next() % 2 == 0 ? device.base : RingBase(rawValue: setting.inflight ? lostBase : device.base.rawValue)
        // A new process: nothing of the old one's private memory is left.
        unsafe scratch.base.initializeMemory(as: UInt8.self, repeating: 0xa5, count: scratch.size)
        // What the one before took over and never popped again is still in flight too.
        let wasInFlight = popped.count + device.resubmitCount
        popped = []
        device = try Self.device(setting, area, scratch, region, base)
        guard device.resubmitCount == wasInFlight else {
            throw failure("\(wasInFlight) requests were in flight, \(device.resubmitCount) are resubmitted")
        }
        isDeviceAsleep = false
        restarts += 1
    }

    /// What a front-end knows of the base after a crash: QEMU tells the used index of a split ring and the start of a packed one.
    private var lostBase: UInt32 { setting.format == .packed ? 0x8000_8000 : driver.baseAfterCrash }
}
