import LinuxSystem
import VhostUserFrontend
import Virtio

/// Requests of a batch.
let batch = 32

/// What the driver asks for.
enum Request: Sendable {
    /// A read of 4 KiB into one segment.
    case plain
    /// A write of 64 KiB out of 16 segments.
    case scattered
}

typealias SplitPair = RingPair<DriverSplitQueue, SplitVirtqueue>
typealias PackedPair = RingPair<DriverPackedQueue, PackedVirtqueue>

/// The two sides of a ring in one thread: the driver's, which is not counted, and the device's, which is.
///
/// Safety: all memory is the pair's own, allocated in init and freed with it.
@safe
final class RingPair<Driver: DriverQueue, Device: Virtqueue> {
    enum Failure: Error {
        case noRoom, notDone
    }

    /// The device's side. In raw memory, so that looking at it costs nothing that a daemon does not pay.
    @safe
    struct DeviceSide {
        var device: Device
        var view: GuestMemoryView
        let check: BlockRequestCheck
        let segments: UnsafeMutablePointer<IOVector>
        var notifications = 0
    }

    let side: UnsafeMutablePointer<DeviceSide>
    private var driver: Driver
    private let isIndirect: Bool
    private let guest: GuestMemory
    private let memory: DriverMemory
    private let header: SharedBuffer
    private let data: SharedBuffer
    private let mappings: [MemoryMapping]
    static var segmentsMax: Int { 64 }

    init(_ format: RingFormat, isIndirect: Bool, isTracked: Bool) throws {
        self.isIndirect = isIndirect
        let size = 256
        memory = try DriverMemory(anonymous: [.init(guestAddress: 0x10_0000, size: 16 << 20)])
        guest = try memory.deviceMemory()
        let options = DriverRingOptions(eventIndex: true, indirect: true, indirectCapacity: 32)
        guard let area = DriverRingArea(size: size, format: format, options: options, memory: memory),
            let header = memory.allocate(64), let data = memory.allocate(64 << 10, alignment: 4096)
        else { throw Failure.noRoom }
        (self.header, self.data) = (header, data)
        driver = Driver(area: area, options: options)
        let layout = InflightLayout(queueCount: 1, queueSize: size, isPacked: format == .packed)
        let region = try MemoryMapping(anonymous: layout.regionBytes)
        let scratch = try MemoryMapping(anonymous: max(64, Device.scratchBytes(queueSize: size, inflightEntries: isTracked ? size : 0)))
        mappings = [region, scratch]
        var features: VirtioFeatures = [.version1, .ringEventIndex, .ringIndirectDescriptors]
        if format == .packed { features.insert(.ringPacked) }
        let device = try unsafe Device(
            VirtqueueConfiguration(
                size: size,
                addresses: RingAddresses(descriptors: area.descriptors.pointer, driver: area.driver.pointer, device: area.device.pointer),
                base: RingBase(rawValue: format == .packed ? 0x8000_8000 : 0), features: features,
                inflight: isTracked ? layout.queue(0, in: region.base) : nil, scratch: scratch.base))
        let segments = UnsafeMutablePointer<IOVector>.allocate(capacity: Self.segmentsMax)
        unsafe side = .allocate(capacity: 1)
        let check = BlockRequestCheck(BlockAbilities(byteCount: 1 << 30), negotiated: features)
        unsafe side.initialize(to: DeviceSide(device: device, view: guest.view, check: check, segments: segments))
    }

    deinit {
        unsafe side.pointee.segments.deallocate()
        unsafe side.deinitialize(count: 1)
        unsafe side.deallocate()
    }

    /// The driver asks for a batch, the device does it, the driver takes it back.
    func round(_ request: Request, _ device: (UnsafeMutablePointer<DeviceSide>) -> Void) throws {
        let type: UInt32 = request == .plain ? 0 : 1
        unsafe header.pointer.storeBytes(of: type.littleEndian, as: UInt32.self)
        var (readable, writable) = ([DriverSegment(address: header.guestAddress, length: 16)], [DriverSegment]())
        switch request {
        case .plain: writable = [DriverSegment(address: data.guestAddress, length: 4096)]
        case .scattered:
            // Apart from each other, so that nothing can be merged.
            readable += (0..<16).map { DriverSegment(address: data.guestAddress + UInt64(15 - $0) * 4096, length: 4096) }
        }
        writable.append(DriverSegment(address: header.guestAddress + 32, length: 1))
        for token in 0..<UInt32(batch) {
            guard driver.add(token: token, readable: readable, writable: writable, indirect: isIndirect) else { throw Failure.noRoom }
        }
        driver.publish()
        unsafe header.pointer.storeBytes(of: 0xff, toByteOffset: 32, as: UInt8.self)
        unsafe device(side)
        guard try driver.reapAll().count == batch, unsafe header.pointer.load(fromByteOffset: 32, as: UInt8.self) == 0 else {
            throw Failure.notDone
        }
    }
}

extension RingPair {
    /// The way of plain requests.
    @inline(__always)
    static func plainTurn(_ side: UnsafeMutablePointer<DeviceSide>) {
        guard unsafe side.pointee.device.look(likely: ChainHandle()) == .chains else { return }
        while true {
            guard let transfer = unsafe Self.pop(side) else { break }
            let isFine = unsafe side.pointee.check.passes(transfer)
            unsafe BlockRequest.setStatus(isFine ? .ok : .ioError, at: transfer.status)
            unsafe side.pointee.device.push(transfer.handle, length: isFine ? transfer.dataLength + 1 : 1)
        }
        unsafe finish(side)
    }

    @inline(__always)
    private static func pop(_ side: UnsafeMutablePointer<DeviceSide>) -> PlainTransfer? {
        switch unsafe side.pointee.device.popTransfer(side.pointee.view.windows) {
        case .transfer(let transfer): transfer
        case .empty: nil
        case .other: unsafe side.pointee.device.popLinkedTransfer(side.pointee.view.windows)
        }
    }

    /// The way of requests of any shape.
    @inline(__always)
    static func generalTurn(_ side: UnsafeMutablePointer<DeviceSide>) {
        let segments = unsafe side.pointee.segments
        while true {
            var chain = DescriptorChain()
            var buffer = unsafe SegmentBuffer(base: segments, capacity: Int32(segmentsMax), spill: nil, spillCapacity: 0)
            guard case .chain = unsafe side.pointee.device.pop(&side.pointee.view, &buffer, &chain) else { break }
            var request = unsafe BlockRequest(placeholder: segments)
            let isRequest = unsafe request.parse(chain, segments) == .request
            let verdict = unsafe side.pointee.check.verdict(request)
            request.setStatus(isRequest && (verdict == .read || verdict == .write) ? .ok : .ioError)
            unsafe side.pointee.device.push(chain.handle, length: 1)
        }
        unsafe finish(side)
    }

    @inline(__always)
    private static func finish(_ side: UnsafeMutablePointer<DeviceSide>) {
        unsafe side.pointee.device.publish()
        if unsafe side.pointee.device.shouldNotify() { unsafe side.pointee.notifications += 1 }
    }
}

// What is counted: whatever runs inside of functions whose names begin with this word.

@inline(never)
func countedSplit(_ side: UnsafeMutablePointer<SplitPair.DeviceSide>) { unsafe SplitPair.plainTurn(side) }

@inline(never)
func countedPacked(_ side: UnsafeMutablePointer<PackedPair.DeviceSide>) { unsafe PackedPair.plainTurn(side) }

@inline(never)
func countedSplitGeneral(_ side: UnsafeMutablePointer<SplitPair.DeviceSide>) { unsafe SplitPair.generalTurn(side) }

@inline(never)
func countedPackedGeneral(_ side: UnsafeMutablePointer<PackedPair.DeviceSide>) { unsafe PackedPair.generalTurn(side) }
