import BlockIO
import Virtio

/// What an honest virtio-blk request leads to, worked out from the specification (virtio 1.3, 5.2.6) and not with the code under test.
struct FuzzExpectation {
    enum Outcome: Equatable {
        /// The disk is asked for exactly this, and its answer decides the status.
        case transfer(IOKind, offset: UInt64, length: UInt64)
        /// The request ends with this status, and the disk is not asked.
        case status(BlockStatus)
        /// It ends with a status byte, whatever it says.
        case answered
    }

    /// Guest address of the status byte.
    var status: UInt64
    var outcome: Outcome
    /// How the disk answered, once it did.
    var result: Int64?
}

/// The disk that requests are checked against.
struct FuzzDisk: Hashable {
    var blockSize: Int
    var isReadOnly: Bool

    static let bytes = 1 << 20
    var sectorCount: UInt64 { UInt64(Self.bytes / 512) }

    /// Whether a transfer of `length` bytes at `sector` has whole blocks that lie on the disk.
    func holds(sector: UInt64, length: UInt64) -> Bool {
        let block = UInt64(blockSize)
        let (end, overflow) = sector.addingReportingOverflow(length / 512)
        return length > 0 && length % block == 0 && sector % (block / 512) == 0 && !overflow && end <= sectorCount
    }
}

/// Lays out virtio-blk requests in guest memory: a header, data and a status byte, cut into descriptors in any way.
struct FuzzRequestWriter {
    let memory: FuzzMemory
    let disk: FuzzDisk
    /// Where headers, tables and status bytes go; it grows upwards to `controlEnd` and begins anew when nothing is outstanding.
    private let controlStart: UInt64
    private let controlEnd: UInt64
    private var control: UInt64
    /// Where data lies, freely overlapping.
    private let data: Range<UInt64>

    init(_ memory: FuzzMemory, _ disk: FuzzDisk, control: Range<UInt64>, data: Range<UInt64>) {
        (self.memory, self.disk, self.data) = (memory, disk, data)
        (controlStart, controlEnd) = (control.lowerBound, control.upperBound)
        self.control = control.lowerBound
    }

    /// Nothing is outstanding: the control area is free again.
    mutating func restart() { control = controlStart }

    /// Some bytes of the control area; nil when it is full.
    mutating func allocate(_ count: Int, alignment: UInt64 = 1) -> UInt64? {
        let start = (control + alignment - 1) & ~(alignment - 1)
        guard start + UInt64(count) <= controlEnd else { return nil }
        control = start + UInt64(count)
        return start
    }

    private static let types: [UInt32] = [
        BlockRequestType.read, BlockRequestType.write, BlockRequestType.read, BlockRequestType.write, BlockRequestType.flush,
        BlockRequestType.getID, BlockRequestType.discard, BlockRequestType.writeZeroes, BlockRequestType.secureErase, 5, 31, 32,
    ]

    /// Writes a request's bytes; nil when the control area is full. The descriptors are in order, readable ones first.
    mutating func write(_ reader: inout InputReader) -> (chain: [FuzzDescriptor], expectation: FuzzExpectation)? {
        let type = reader.chance(in: 16) ? reader.word(as: UInt32.self) : reader.pick(Self.types)
        let sector = sector(&reader)
        let isMisaligned = reader.chance(in: 8)
        guard let header = allocate(16, alignment: isMisaligned ? 1 : 8) else { return nil }
        memory.store(type, at: header)
        memory.store(reader.byte(), at: header + 4)
        memory.store(sector, at: header + 8)

        let isIn = type == BlockRequestType.read || type == BlockRequestType.getID
        var pieces: [FuzzDescriptor] = type == BlockRequestType.flush && !reader.chance(in: 8) ? [] : dataPieces(&reader)
        if [BlockRequestType.discard, BlockRequestType.writeZeroes, BlockRequestType.secureErase].contains(type) {
            pieces = ranges(&reader) ?? pieces
        }
        let length = pieces.reduce(0 as UInt64) { $0 + UInt64($1.length) }
        if isIn { for index in pieces.indices { pieces[index].flags = FuzzDescriptor.write } }

        var chain = cutHeader(header, &reader)
        chain += pieces
        guard let status = addStatus(&chain, isIn: isIn, &reader) else { return nil }
        if reader.chance(in: 8) {
            // An empty descriptor changes nothing.
            let place = reader.number(below: chain.count)
            chain.insert(FuzzDescriptor(address: data.lowerBound, length: 0, flags: chain[place].flags), at: place)
        }
        let outcome = outcome(type, sector: sector, length: length)
        return (chain, FuzzExpectation(status: status, outcome: outcome))
    }

    private func outcome(_ type: UInt32, sector: UInt64, length: UInt64) -> FuzzExpectation.Outcome {
        switch type {
        case BlockRequestType.read:
            disk.holds(sector: sector, length: length) ? .transfer(.read, offset: sector * 512, length: length) : .status(.ioError)
        case BlockRequestType.write:
            !disk.isReadOnly && disk.holds(sector: sector, length: length)
                ? .transfer(.write, offset: sector * 512, length: length) : .status(.ioError)
        case BlockRequestType.flush: .transfer(.flush, offset: 0, length: 0)
        case BlockRequestType.getID: .status(.ok)
        case BlockRequestType.discard, BlockRequestType.writeZeroes, BlockRequestType.secureErase: .answered
        default: .status(.unsupported)
        }
    }

    private func sector(_ reader: inout InputReader) -> UInt64 {
        switch reader.byte() % 8 {
        case 0: return reader.edge()
        case 1: return disk.sectorCount - UInt64(reader.number(below: 64))
        case 2: return disk.sectorCount + UInt64(reader.number(below: 64))
        default: return UInt64(reader.byte()) * UInt64(disk.blockSize / 512)
        }
    }

    private func dataPieces(_ reader: inout InputReader) -> [FuzzDescriptor] {
        let count = reader.chance(in: 16) ? reader.number(below: 1100) : reader.number(below: 5)
        let room = UInt64(data.count)
        return (0..<min(count, 64)).map { _ in
            let choice = reader.byte()
            let length: UInt64 =
                switch choice % 8 {
                case 0: UInt64(choice / 8)
                case 1: UInt64(reader.number(below: 65536)) % room
                case 2: 16
                case 3: 4096
                default: UInt64(disk.blockSize) * UInt64(1 + choice / 8 % 4)
                }
            let offset = UInt64(reader.number(below: 65536)) % (room - length)
            return FuzzDescriptor(address: data.lowerBound + offset, length: UInt32(length))
        }
    }

    /// The list of a range command: one descriptor, in the control area; nil when that is full.
    private mutating func ranges(_ reader: inout InputReader) -> [FuzzDescriptor]? {
        let count = reader.number(below: 19)
        guard let list = allocate(16 * count) else { return nil }
        for index in 0..<UInt64(count) {
            memory.store(sector(&reader), at: list + 16 * index)
            let sectors: UInt32 = reader.chance(in: 8) ? reader.edge() : UInt32(reader.byte())
            memory.store(sectors, at: list + 16 * index + 8)
            memory.store(reader.chance(in: 4) ? reader.edge(as: UInt32.self) : 0, at: list + 16 * index + 12)
        }
        return [FuzzDescriptor(address: list, length: UInt32(16 * count - (reader.chance(in: 16) && count > 0 ? 1 : 0)))]
    }

    /// The header in one descriptor, in two, or byte by byte.
    private func cutHeader(_ header: UInt64, _ reader: inout InputReader) -> [FuzzDescriptor] {
        switch reader.byte() % 16 {
        case 14:
            let cut = UInt32(1 + reader.number(below: 15))
            return [
                FuzzDescriptor(address: header, length: cut),
                FuzzDescriptor(address: header + UInt64(cut), length: 16 - cut),
            ]
        case 15: return (0..<16).map { FuzzDescriptor(address: header + $0, length: 1) }
        default: return [FuzzDescriptor(address: header, length: 16)]
        }
    }

    /// A status byte in a descriptor of its own, or behind the data in the last one. Returns where it is.
    private mutating func addStatus(_ chain: inout [FuzzDescriptor], isIn: Bool, _ reader: inout InputReader) -> UInt64? {
        let last = chain[chain.count - 1]
        let end = last.address + UInt64(last.length)
        if isIn, last.flags == FuzzDescriptor.write, end < data.upperBound, reader.chance(in: 4) {
            chain[chain.count - 1].length += 1
            memory.store(0xff as UInt8, at: end)
            return end
        }
        guard let status = allocate(1) else { return nil }
        memory.store(0xff as UInt8, at: status)
        chain.append(FuzzDescriptor(address: status, length: 1, flags: FuzzDescriptor.write))
        return status
    }
}
