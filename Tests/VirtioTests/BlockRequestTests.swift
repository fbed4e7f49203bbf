import LinuxSystem
import Testing
import Virtio

/// A chain built piece by piece, as if popped.
///
/// Safety: freed in deinit; requests parsed from it must not outlive it.
@safe
final class TestChain {
    let memory: TestMemory
    let segments = TestSegments(inline: 64, spill: 1)
    private var used = 0
    /// Block offsets of the bytes of the readable and the writable part.
    var readable: [Int] = []
    var writable: [Int] = []

    /// Lays out the given pieces with gaps between them, beginning `shift` bytes into an aligned place each.
    init(readable readableSizes: [Int], writable writableSizes: [Int], shift: Int = 0) throws {
        memory = try TestMemory(size: 0x4000)
        for size in readableSizes { readable += add(size, shift: shift) }
        for size in writableSizes { writable += add(size, shift: shift) }
        segments.chain.readableCount = Int32(readableSizes.count)
        segments.chain.writableCount = Int32(writableSizes.count)
        segments.chain.readableLength = UInt64(readable.count)
        segments.chain.writableLength = UInt64(writable.count)
    }

    private func add(_ size: Int, shift: Int) -> [Int] {
        let index = unsafe segments.buffer.base + segmentCount
        let offset = used + shift
        unsafe index.initialize(to: IOVector(base: memory.base + offset, length: size))
        segmentCount += 1
        used = (offset + size + 32) & ~15
        return Array(offset..<offset + size)
    }

    private var segmentCount = 0

    /// Writes the header's bytes, wherever they are.
    func setHeader(type: UInt32, sector: UInt64, reserved: UInt32 = 0xffff_ffff) {
        setReadable(0, type)
        setReadable(4, reserved)
        setReadable(8, sector)
    }

    /// Writes a value at a position of the readable part.
    func setReadable<Value: FixedWidthInteger>(_ position: Int, _ value: Value) {
        for index in 0..<Value.bitWidth / 8 where position + index < readable.count {
            memory.store(UInt8(truncatingIfNeeded: value >> Value(8 * index)), readable[position + index])
        }
    }

    func parse() -> (outcome: BlockRequest.Outcome, request: BlockRequest) {
        var request = unsafe BlockRequest(placeholder: segments.buffer.base)
        let outcome = unsafe request.parse(segments.chain, segments.buffer.base)
        return (outcome, request)
    }

    /// Block offsets of the bytes of a parsed request's data, in order.
    func dataBytes(_ request: BlockRequest) -> [Int] {
        (0..<Int(request.dataCount)).flatMap { index -> [Int] in
            let segment = unsafe request.data[index]
            let start = unsafe memory.offset(of: segment.base)
            return Array(start..<start + segment.length)
        }
    }
}

@Suite("Block request")
struct BlockRequestTests {
    /// Ways to cut a part: sizes of its pieces.
    static let headerCuts: [[Int]] = [
        [16], [1, 15], [8, 8], [4, 12], [15, 1], [3, 3, 3, 3, 4], [Int](repeating: 1, count: 16),
    ]

    @Test("a write: header in any pieces, or sharing one with data", arguments: headerCuts, [[512], [1, 511], [100, 200, 212]])
    func write(header: [Int], data: [Int]) throws {
        for shift in [0, 1, 8] {
            for sharesDescriptor in [false, true] {
                var readable = header + data
                if sharesDescriptor {
                    readable = header.dropLast() + [(header.last ?? 0) + data[0]] + data.dropFirst()
                }
                for writable in [[1], [3]] {
                    let chain = try TestChain(readable: readable, writable: writable, shift: shift)
                    chain.setHeader(type: 1, sector: 0x1122_3344_5566_7788)
                    let (outcome, request) = chain.parse()
                    #expect(outcome == .request)
                    #expect(request.type == BlockRequestType.write)
                    #expect(request.sector == 0x1122_3344_5566_7788)
                    #expect(request.dataLength == 512)
                    #expect(chain.dataBytes(request) == Array(chain.readable.dropFirst(16)))
                    #expect(unsafe chain.memory.offset(of: request.status) == chain.writable.last)
                    #expect(request.usedLength(.ok) == 1)
                }
            }
        }
    }

    @Test(
        "a read: status in a piece of its own, or at the end of one with data", arguments: headerCuts,
        [[512, 1], [513], [512, 512, 1], [100, 413]])
    func read(header: [Int], writable: [Int]) throws {
        let chain = try TestChain(readable: header, writable: writable)
        chain.setHeader(type: 0, sector: 7)
        let (outcome, request) = chain.parse()
        #expect(outcome == .request)
        #expect(request.sector == 7)
        #expect(chain.dataBytes(request) == Array(chain.writable.dropLast()))
        #expect(request.dataLength == UInt64(chain.writable.count - 1))
        #expect(unsafe chain.memory.offset(of: request.status) == chain.writable.last)
        #expect(request.usedLength(.ok) == UInt32(chain.writable.count))
        #expect(request.usedLength(.ioError) == 1)
        request.setStatus(.unsupported)
        #expect(chain.memory.load(try #require(chain.writable.last), as: UInt8.self) == 2)
    }

    @Test("a read with readable bytes behind the header: they are not its data") func readWithReadableData() throws {
        let chain = try TestChain(readable: [16, 512], writable: [512, 1])
        chain.setHeader(type: 0, sector: 0)
        let (outcome, request) = chain.parse()
        #expect(outcome == .request)
        #expect(chain.dataBytes(request) == Array(chain.writable.dropLast()))
    }

    @Test(
        "no header, no status",
        arguments: [
            ([], [], BlockRequest.Outcome.noStatus), ([16], [], .noStatus), ([16, 512], [], .noStatus), ([], [1], .noHeader),
            ([15], [1], .noHeader),
            ([1, 14], [512, 1], .noHeader),
        ] as [([Int], [Int], BlockRequest.Outcome)])
    func incomplete(readable: [Int], writable: [Int], expected: BlockRequest.Outcome) throws {
        let chain = try TestChain(readable: readable, writable: writable)
        let (outcome, request) = chain.parse()
        #expect(outcome == expected)
        if expected == .noHeader {
            #expect(unsafe chain.memory.offset(of: request.status) == chain.writable.last)
        }
    }

    @Test("requests without data", arguments: [BlockRequestType.flush, BlockRequestType.read, BlockRequestType.write, 99])
    func withoutData(type: UInt32) throws {
        let chain = try TestChain(readable: [16], writable: [1])
        chain.setHeader(type: type, sector: 5)
        let (outcome, request) = chain.parse()
        #expect(outcome == .request)
        #expect(request.type == type)
        #expect(request.dataLength == 0)
        #expect(request.dataCount == 0)
    }

    @Test("a header changed after the parse changes nothing") func copiedOnce() throws {
        let chain = try TestChain(readable: [16, 512], writable: [1])
        chain.setHeader(type: 1, sector: 3)
        let (_, request) = chain.parse()
        chain.setHeader(type: 0, sector: UInt64.max)
        #expect(request.type == 1)
        #expect(request.sector == 3)
    }

    @Test(
        "GET_ID: the serial as far as the buffer reaches",
        arguments: [
            ("disk", [20, 1], 21), ("a serial of twenty ch", [20, 1], 21), ("disk", [7, 1], 8), ("disk-0123456789", [3, 9, 9], 21),
            ("disk", [64, 1], 21), ("disk", [1], 1), ("", [20, 1], 21), ("naïve", [6, 1], 7),
        ] as [(String, [Int], UInt32)])
    func getID(serial: String, writable: [Int], used: UInt32) throws {
        let chain = try TestChain(readable: [16], writable: writable)
        for offset in chain.writable { chain.memory.store(0xee as UInt8, offset) }
        chain.setHeader(type: 8, sector: 0)
        let (outcome, request) = chain.parse()
        #expect(outcome == .request)
        request.writeID(BlockSerial(serial))
        request.setStatus(.ok)
        #expect(request.usedLength(.ok) == used)
        let size = chain.writable.count - 1
        let text = Array(serial.utf8.prefix(20))
        let expected =
            (text + [UInt8](repeating: 0, count: 20 - text.count)).prefix(size) + [UInt8](repeating: 0xee, count: max(size - 20, 0))
        #expect(chain.writable.map { chain.memory.load($0, as: UInt8.self) } == Array(expected) + [0])
    }

    @Test("serials") func serials() {
        #expect(BlockSerial("a") == BlockSerial("a"))
        #expect(BlockSerial("a") != BlockSerial("b"))
        #expect((0..<20).map { BlockSerial("abcdefghijklmnopqrstuvwxyz")[$0] } == Array("abcdefghijklmnopqrst".utf8))
    }
}
