import BlockIO
import Glibc

/// What a disk must hold. After a discard a sector is what it was or zero (virtio 1.2, 5.2.6).
struct DiskModel {
    static let sector = 512
    private var bytes: [UInt8]
    private var isDiscarded: [Bool]
    private static let zeroes = [UInt8](repeating: 0, count: sector)

    init(size: Int) {
        bytes = [UInt8](repeating: 0, count: size)
        isDiscarded = [Bool](repeating: false, count: size / Self.sector)
    }

    mutating func write(_ data: [UInt8], at offset: Int) {
        bytes.replaceSubrange(offset..<(offset + data.count), with: data)
        mark(offset..<(offset + data.count), discarded: false)
    }

    mutating func zero(_ range: Range<Int>) { write([UInt8](repeating: 0, count: range.count), at: range.lowerBound) }

    mutating func discard(_ range: Range<Int>) { mark(range, discarded: true) }

    private mutating func mark(_ range: Range<Int>, discarded: Bool) {
        for sector in range.lowerBound / Self.sector..<range.upperBound / Self.sector { isDiscarded[sector] = discarded }
    }

    /// The first sector in which `data`, read at `offset`, is not what it must be; nil when all is well.
    func firstMistake(_ data: [UInt8], at offset: Int) -> Int? {
        stride(from: 0, to: data.count, by: Self.sector).first { start in
            if Self.isEqual(data, start, bytes, offset + start) { return false }
            return !(isDiscarded[(offset + start) / Self.sector] && Self.isEqual(data, start, Self.zeroes, 0))
        }.map { ($0 + offset) / Self.sector }
    }

    private static func isEqual(_ left: [UInt8], _ leftStart: Int, _ right: [UInt8], _ rightStart: Int) -> Bool {
        unsafe left.withUnsafeBytes { left in
            unsafe right.withUnsafeBytes { right in
                unsafe memcmp(left.baseAddress! + leftStart, right.baseAddress! + rightStart, sector) == 0
            }
        }
    }
}
