public import LinuxSystem

/// A virtio-blk request as it lies in a popped chain (virtio 1.3, 5.2.6):
///
/// ```
///        0      4          8          16
///  0     | type | reserved | sector   | data ... | status |
/// ```
/// Header and data to write are readable, data to read and the status byte are writable, and descriptors may cut them anywhere.
///
/// Safety: data and status point into the guest memory the chain was translated to; they are good as long as that mapping is.
@frozen
@safe
public struct BlockRequest {
    /// The type as the guest wrote it, see BlockRequestType.
    public var type: UInt32
    /// Number of segments of `data`.
    public var dataCount: Int32
    /// The first sector (of 512 bytes), as the guest wrote it.
    public var sector: UInt64
    /// Bytes of `data`.
    public var dataLength: UInt64
    /// The data's segments, within the array the chain was popped into.
    public var data: UnsafeMutablePointer<IOVector>
    /// Where the status byte goes.
    public var status: UnsafeMutableRawPointer

    /// What parsing found.
    @frozen
    public enum Outcome: Sendable {
        /// The request is complete.
        case request
        /// There is no whole header, but a status byte: the request fails with an I/O error.
        case noHeader
        /// There is no status byte: nothing can be told but a used length of 0.
        case noStatus
    }

    /// A request without meaning, to parse into; `segments` is any valid array.
    @inlinable
    @inline(__always)
    public init(placeholder segments: UnsafeMutablePointer<IOVector>) {
        type = 0
        dataCount = 0
        sector = 0
        dataLength = 0
        unsafe data = segments
        unsafe status = UnsafeMutableRawPointer(segments)
    }

    /// Reads the header of a popped chain and finds data and status. The header is copied once. The segments at both ends of the data may be
    /// shortened in place.
    @inlinable
    @inline(__always)
    public mutating func parse(_ chain: DescriptorChain, _ segments: UnsafeMutablePointer<IOVector>) -> Outcome {
        // What every driver in use does: the header in a descriptor of its own, and the status byte too.
        if chain.readableCount >= 1, chain.writableCount >= 1 {
            let last = unsafe segments[Int(truncatingIfNeeded: chain.readableCount &+ chain.writableCount &- 1)]
            if unsafe segments[0].length == 16 && last.length == 1 && UInt(bitPattern: segments[0].base) & 7 == 0 {
                unsafe parseSeparate(chain, segments, status: last.base)
                return .request
            }
        }
        let parsed = unsafe Self.parseAnyLayout(chain, segments)
        self = parsed.request
        return parsed.outcome
    }

    /// Parses a chain whose first segment is the header, aligned, and whose last is the status byte.
    @inlinable
    @inline(__always)
    mutating func parseSeparate(
        _ chain: DescriptorChain, _ segments: UnsafeMutablePointer<IOVector>, status place: UnsafeMutableRawPointer
    ) {
        let header = unsafe segments[0].base
        type = UInt32(truncatingIfNeeded: unsafe header.shared64())
        sector = unsafe header.shared64(at: 8)
        unsafe status = place
        if hasWritableData {
            unsafe data = segments + Int(truncatingIfNeeded: chain.readableCount)
            dataCount = chain.writableCount &- 1
            dataLength = chain.writableLength &- 1
        } else {
            unsafe data = segments + 1
            dataCount = chain.readableCount &- 1
            dataLength = chain.readableLength &- 16
        }
    }

    /// Whether the device writes this type's data.
    @inlinable
    @inline(__always)
    var hasWritableData: Bool {
        // IN is 0 and GET_ID 8: one test.
        type & ~BlockRequestType.getID == BlockRequestType.read
    }

    @inlinable
    @inline(never)
    static func parseAnyLayout(
        _ chain: DescriptorChain, _ segments: UnsafeMutablePointer<IOVector>
    ) -> (request: BlockRequest, outcome: Outcome) {
        var request = unsafe BlockRequest(placeholder: segments)
        let outcome = unsafe request.gather(chain, segments)
        return (request, outcome)
    }

    @inlinable
    mutating func gather(_ chain: DescriptorChain, _ segments: UnsafeMutablePointer<IOVector>) -> Outcome {
        guard chain.writableCount > 0 else { return .noStatus }
        // The status is the last writable byte, whatever shares its descriptor (CVE-2022-2132 is about taking a whole one for granted).
        // Empty descriptors make no segments, so the last one has a byte.
        let writable = unsafe segments + Int(chain.readableCount)
        let last = unsafe writable + Int(chain.writableCount - 1)
        unsafe last.pointee.length -= 1
        unsafe status = unsafe last.pointee.base + last.pointee.length
        let writableCount = unsafe last.pointee.length == 0 ? chain.writableCount - 1 : chain.writableCount
        guard chain.readableLength >= 16 else { return .noHeader }

        // The header is gathered byte by byte, each read once, and cut off the front.
        var word: (UInt64, UInt64) = (0, 0)
        var readable = unsafe segments
        var readableCount = chain.readableCount
        for index in 0..<16 {
            let byte = unsafe UInt64(readable.pointee.base.shared8())
            if index < 8 { word.0 |= byte << UInt64(8 * index) } else { word.1 |= byte << UInt64(8 * (index - 8)) }
            unsafe readable.pointee.base += 1
            unsafe readable.pointee.length -= 1
            if unsafe readable.pointee.length == 0 {
                unsafe readable += 1
                readableCount -= 1
            }
        }
        type = UInt32(truncatingIfNeeded: word.0)
        sector = word.1
        if hasWritableData {
            unsafe data = writable
            dataCount = writableCount
            dataLength = chain.writableLength - 1
        } else {
            unsafe data = readable
            dataCount = readableCount
            dataLength = chain.readableLength - 16
        }
        return .request
    }

    /// Writes the status byte.
    @inlinable
    @inline(__always)
    public func setStatus(_ value: BlockStatus) { unsafe Self.setStatus(value, at: status) }

    /// Writes a status byte for a request of which only the place of it was kept.
    @inlinable
    @inline(__always)
    public static func setStatus(_ value: BlockStatus, at status: UnsafeMutableRawPointer) {
        // Relaxed: the release store that publishes the used element orders it.
        var observer = Unobserved()
        unsafe observer.store8(value.rawValue, status)
    }

    /// Bytes written to the guest, for the used element: the data of a read that went well and the status byte.
    @inlinable
    @inline(__always)
    public func usedLength(_ status: BlockStatus) -> UInt32 {
        // A chain has at most 2^32 bytes, 16 of them the header. After an error it is not known which data was written: only the status counts.
        guard status == .ok else { return 1 }
        if type == BlockRequestType.read { return UInt32(truncatingIfNeeded: dataLength &+ 1) }
        return type == BlockRequestType.getID ? UInt32(truncatingIfNeeded: min(dataLength, UInt64(BlockSerial.size)) &+ 1) : 1
    }

    /// Copies the serial, padded with zeroes to 20 bytes, as far as the data reaches (GET_ID).
    @inlinable
    public func writeID(_ serial: BlockSerial) {
        var observer = Unobserved()
        var segment = 0
        var offset = 0
        for index in 0..<Int(min(dataLength, UInt64(BlockSerial.size))) {
            while unsafe offset >= data[segment].length {
                segment += 1
                offset = 0
            }
            unsafe observer.store8(serial[index], data[segment].base + offset)
            offset += 1
        }
    }
}
