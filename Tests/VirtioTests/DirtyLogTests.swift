import Testing
import Virtio

/// The dirty log's bits, against a model, and its bounds.
@Suite struct DirtyLogTests {
    /// A log with guard bytes on both sides.
    ///
    /// Safety: freed in deinit; every offset below is inside the block.
    @safe
    final class Fixture {
        private let block: UnsafeMutableRawPointer
        private let total: Int
        let log: DirtyLog

        init(byteCount: Int) {
            total = byteCount + 128
            unsafe block = .allocate(byteCount: total, alignment: 64)
            unsafe block.initializeMemory(as: UInt8.self, repeating: 0, count: total)
            // One past an aligned address: an offset in the file need not be aligned.
            unsafe log = DirtyLog(base: block + 65, byteCount: UInt64(byteCount), owner: 0)
        }

        deinit { unsafe block.deallocate() }

        /// Numbers of the pages whose bit is set.
        var pages: [UInt64] {
            (0..<log.byteCount * 8).filter { byte(65 + Int($0 / 8)) >> ($0 % 8) & 1 != 0 }
        }

        private func byte(_ offset: Int) -> UInt8 { unsafe block.load(fromByteOffset: offset, as: UInt8.self) }

        var guardsAreUntouched: Bool {
            (0..<total).allSatisfy { (65..<65 + Int(log.byteCount)).contains($0) || byte($0) == 0 }
        }
    }

    @Test("\"page = addr / VHOST_LOG_PAGE; log[page / 8] |= 1 << page % 8\"")
    func random() {
        var random = SeededRandom(seed: 26)
        for _ in 0..<300 {
            let fixture = Fixture(byteCount: 16)
            var marks = DirtyMarks(fixture.log)
            var expected: Set<UInt64> = []
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let address = UInt64.random(in: 0..<128 * 4096, using: &random)
                let length = UInt64.random(in: 0...min(128 * 4096 - address, Bool.random(using: &random) ? 9000 : 1 << 20), using: &random)
                marks.add(address, length)
                if length > 0 { expected.formUnion(address / 4096...(address + length - 1) / 4096) }
            }
            marks.flush()
            #expect(fixture.pages == expected.sorted())
            #expect(fixture.log.missedCount == 0)
            #expect(fixture.guardsAreUntouched)
        }
    }

    @Test("A write past the log's end stores nothing and is counted (CVE-2019-14835)")
    func bounds() {
        for (address, length) in [
            (8 * 4096, 1), (8 * 4096 - 1, 2), (UInt64.max, 1), (UInt64.max, UInt64.max), (UInt64.max - 4095, 8192), (1 << 52, 1),
            (7 * 4096, .max),
        ] as [(UInt64, UInt64)] {
            let fixture = Fixture(byteCount: 1)
            var marks = DirtyMarks(fixture.log)
            marks.add(address, length)
            marks.flush()
            #expect(fixture.pages == (address < 8 * 4096 ? [7] : []))
            #expect(fixture.log.missedCount == 1, "\(address) \(length)")
            #expect(fixture.guardsAreUntouched)
        }
    }

    @Test("Marking all of a range marks its pages and no others, and stops at the log's end", arguments: [4, 40, 43])
    func all(byteCount: Int) {
        let pageCount = UInt64(byteCount) * 8
        let ranges =
            [
                (0, 0), (0, 9 * 4096), (4095, 2), (3 * 4096, 1), (5 * 4096, 64 * 4096), (64 * 4096, 128 * 4096), (1, 200 * 4096), (0, .max),
                (17 * 4096, .max), (.max, 1), (.max, .max), (pageCount * 4096 - 1, 4096),
            ] as [(UInt64, UInt64)]
        for (address, length) in ranges {
            let fixture = Fixture(byteCount: byteCount)
            fixture.log.markAll(from: address, byteCount: length)
            let last = address.addingReportingOverflow(length == 0 ? 0 : length - 1)
            let end = length == 0 ? 0 : min((last.overflow ? .max : last.partialValue) / 4096 + 1, pageCount)
            let first = address / 4096
            #expect(fixture.pages == (first < end ? Array(first..<end) : []), "\(length) bytes at \(address)")
            #expect(fixture.guardsAreUntouched)
            #expect(fixture.log.end == pageCount * 4096)
        }
    }

    @Test("Whether bits were set is told once")
    func change() {
        let fixture = Fixture(byteCount: 4)
        var marks = DirtyMarks(fixture.log)
        let before = marks.takeChange()
        marks.add(0, 1)
        marks.flush()
        let first = marks.takeChange()
        let second = marks.takeChange()
        marks.flush()
        let third = marks.takeChange()
        #expect([before, first, second, third] == [false, true, false, false])
    }

    @Test("Places in mapped memory are found by their guest address, others are not")
    func places() throws {
        let memory = try TestMemory(size: 0x4000, regions: [(0x8000, 0x1000, 0x1000), (0x2000, 0x3000, 0x1000)])
        func address(_ offset: Int) -> UInt64? { unsafe memory.guest.guestAddress(of: memory.base + offset) }
        #expect(address(0x1000) == 0x8000)
        #expect(address(0x1fff) == 0x8fff)
        #expect(address(0x2000) == nil)
        #expect(address(0xfff) == nil)
        #expect(address(0x3abc) == 0x2abc)
        #expect(address(0x4000) == nil)
        #expect(memory.guest.end == 0x9000)
    }
}
