import LinuxSystem
import VhostUserFrontend
import Virtio

/// One request of the guest's.
struct GuestRequest {
    /// What it does, and what the model has to be told at its end.
    enum Kind: Equatable {
        case read(Range<Int>)
        case write([Range<Int>], model: Int)
        /// Discard: afterwards the sectors hold what they held, or zeroes.
        case discard([Range<Int>], model: Int)
        case flush(model: Int)
        /// One that the device has to refuse.
        case impossible
        /// One with an address that the IOMMU does not permit.
        case forbidden
        case identity
    }

    var number: UInt64
    var kind: Kind
}

/// A ring of the virtual driver, with the memory of its requests.
///
/// ```
/// slot's line (64 bytes)   header 16 | status 1 | pad | number 8 at 32
/// slot's data              Scenario.slotBytes
/// ```
@safe
struct GuestQueue {
    /// How far behind its status byte the number of a request is.
    static let numberOffset = 16
    private static let statusOffset = 16

    var ring: any DriverQueue
    let kick: EventFD
    let call: EventFD
    /// The device signalled, and the driver has not come to it yet.
    var isSignalled = false
    /// Whether the driver waits for signals. If not, it looks at the ring when it likes.
    let waits: Bool
    var requests: [Int: GuestRequest] = [:]
    private let lines: SharedBuffer
    private let data: SharedBuffer
    /// Which of the pages in memory each slot's data is in; those behind the slots' own are free.
    private var pages: [Int]
    private let scenario: Scenario
    private let memory: DriverMemory

    init(index: Int, scenario: Scenario, memory: DriverMemory, waits: Bool) throws {
        let options = DriverRingOptions(
            eventIndex: scenario.hasEventIndex, indirect: scenario.hasIndirect, indirectCapacity: Scenario.indirectCapacity)
        guard let area = Self.area(size: scenario.ringSizes[index], scenario, memory),
            let lines = memory.allocate(64 * scenario.slotCount, alignment: 4096),
            let data = memory.allocate(Scenario.slotBytes * scenario.pageCount, alignment: Scenario.slotBytes)
        else { preconditionFailure("guest memory is large enough for its queues") }
        self.lines = lines
        self.data = data
        self.memory = memory
        self.scenario = scenario
        self.waits = waits
        pages = Array(0..<scenario.pageCount)
        ring = scenario.isPacked ? DriverPackedQueue(area: area, options: options) : DriverSplitQueue(area: area, options: options)
        kick = try EventFD()
        call = try EventFD()
        if waits { _ = ring.enableCalls() }
    }

    /// A ring whose parts are in pages of their own: what is logged of one says nothing of another.
    private static func area(size: Int, _ scenario: Scenario, _ memory: DriverMemory) -> DriverRingArea? {
        let capacity = scenario.hasIndirect ? Scenario.indirectCapacity : 0
        let format = scenario.format
        guard let descriptors = memory.allocate(16 * size, alignment: 4096),
            let driver = memory.allocate(DriverRingArea.driverBytes(format, size: size), alignment: 4096),
            let device = memory.allocate(DriverRingArea.deviceBytes(format, size: size), alignment: 4096),
            let tables = memory.allocate(16 * size * capacity, alignment: 4096)
        else { return nil }
        return DriverRingArea(
            size: size, format: format, descriptors: descriptors, driver: driver, device: device, tables: tables, tableCapacity: capacity)
    }

    /// A slot that no request has; nil when all are taken.
    func freeSlot(_ dice: Dice) -> Int? {
        let free = (0..<scenario.slotCount).filter { requests[$0] == nil }
        return free.isEmpty ? nil : dice.pick(free)
    }

    // MARK: Memory

    /// Where a slot's data is.
    private func place(_ slot: Int) -> UnsafeMutableRawPointer { unsafe data.pointer + Scenario.slotBytes * pages[slot] }

    /// The address by which the device knows a slot's data. With an IOMMU it stands for whatever page the slot has just now.
    func address(ofSlot slot: Int) -> UInt64 { data.guestAddress + UInt64(Scenario.slotBytes * slot) }

    /// Where the front-end has a slot's data.
    func frontendAddress(ofSlot slot: Int) -> UInt64 { data.frontendAddress + UInt64(Scenario.slotBytes * pages[slot]) }

    /// Gives a slot's address another page.
    mutating func move(_ slot: Int, _ dice: Dice) { pages.swapAt(slot, dice.number(scenario.slotCount...scenario.pageCount - 1)) }

    /// What the device may write of the slots whose requests it has: data and status byte, as bytes in this process.
    var unfinished: [UnsafeRawBufferPointer] {
        unsafe requests.keys.flatMap { slot in
            unsafe [
                UnsafeRawBufferPointer(start: place(slot), count: Scenario.slotBytes),
                UnsafeRawBufferPointer(start: lines.pointer + 64 * slot + Self.statusOffset, count: 1),
            ]
        }
    }

    // MARK: Requests

    /// Fills a slot's data with stamped sectors.
    func fill(_ slot: Int, sectors: Range<Int>, base: UInt64) {
        for (index, sector) in sectors.enumerated() {
            let place = unsafe place(slot) + SimulatedDisk.sectorBytes * index
            unsafe place.initializeMemory(as: UInt64.self, repeating: DiskModel.stamp(base, sector), count: SimulatedDisk.sectorBytes / 8)
        }
    }

    /// The stamps of the sectors that a read brought; a sector that is not of one piece has one that nobody wrote.
    func stamps(_ slot: Int, count: Int) -> [UInt64] {
        (0..<count).map { index in
            let place = unsafe place(slot) + SimulatedDisk.sectorBytes * index
            let words = unsafe place.assumingMemoryBound(to: UInt64.self)
            let first = unsafe words[0]
            for word in [1, 20, 43, 62, 63] where unsafe words[word] != first { return .max }
            return first
        }
    }

    /// Puts ranges into a slot's data; returns their bytes.
    func fill(_ slot: Int, ranges: [Range<Int>]) -> Int {
        for (index, range) in ranges.enumerated() {
            let place = unsafe place(slot) + SectorRange.byteCount * index
            unsafe place.storeBytes(of: UInt64(range.lowerBound), as: UInt64.self)
            unsafe place.storeBytes(of: UInt32(range.count), toByteOffset: 8, as: UInt32.self)
            unsafe place.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
        }
        return SectorRange.byteCount * ranges.count
    }

    /// Adds a request whose data, `length` bytes of its slot, is cut into pieces at random; false when the ring has no room.
    mutating func add(
        _ request: GuestRequest, _ command: BlockCommand, slot: Int, sector: Int, length: Int, toDevice: Bool, _ dice: Dice
    ) -> Bool {
        let line = unsafe lines.pointer + 64 * slot
        unsafe line.storeBytes(of: UInt64(command.rawValue), as: UInt64.self)
        unsafe line.storeBytes(of: UInt64(sector), toByteOffset: 8, as: UInt64.self)
        unsafe line.storeBytes(of: VhostUserFrontend.BlockStatus.notWritten.rawValue, toByteOffset: Self.statusOffset, as: UInt8.self)
        unsafe line.storeBytes(of: request.number, toByteOffset: Self.statusOffset + Self.numberOffset, as: UInt64.self)
        let address = lines.guestAddress + UInt64(64 * slot)
        let pieces = cut(length, slot, dice, isForbidden: request.kind == .forbidden)
        let header = DriverSegment(address: address, length: 16)
        let status = DriverSegment(address: address + UInt64(Self.statusOffset), length: 1)
        let segments = [header] + pieces + [status]
        let readable = toDevice ? segments.count - 1 : 1
        let direct = directCount(of: segments.count, dice)
        let isAdded = unsafe segments.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe ring.add(
                token: UInt32(slot), segments: base, readable: readable, writable: segments.count - readable, directCount: direct)
        }
        if isAdded { requests[slot] = request }
        return isAdded
    }

    /// At most three pieces without indirect tables, so that small rings take them.
    private func cut(_ length: Int, _ slot: Int, _ dice: Dice, isForbidden: Bool) -> [DriverSegment] {
        let start = address(ofSlot: slot) + (isForbidden ? Scenario.unmappedOffset : 0)
        guard length > 0 else { return [] }
        let countMax = scenario.hasIndirect ? Scenario.indirectCapacity - 2 : max(1, min(3, ring.area.size - 2))
        var pieces: [DriverSegment] = []
        var done = 0
        while done < length {
            let left = length - done
            let isLast = pieces.count + 1 == countMax || dice.once(in: 2)
            let size = isLast ? left : dice.number(1...left)
            pieces.append(DriverSegment(address: start + UInt64(done), length: UInt32(size)))
            done += size
        }
        return pieces
    }

    /// How many of a chain's segments get ring descriptors of their own: all, none, or with a split ring some.
    private func directCount(of count: Int, _ dice: Dice) -> Int {
        guard scenario.hasIndirect else { return count }
        switch dice.below(4) {
        case 0 where count <= ring.freeCount: return count
        case 1 where !scenario.isPacked && ring.freeCount > count: return dice.below(count)
        default: return 0
        }
    }

    /// Shows the device what was added, and kicks it if it wants that.
    mutating func publish() {
        ring.publish()
        if ring.shouldKick() { kick.signal() }
    }

    /// The status byte of a slot's request.
    func status(_ slot: Int) -> VhostUserFrontend.BlockStatus {
        VhostUserFrontend.BlockStatus(rawValue: unsafe lines.pointer.load(fromByteOffset: 64 * slot + Self.statusOffset, as: UInt8.self))
    }
}
