import LinuxSystem

/// Reads bytes out of segments in order, each once.
///
/// Safety: the caller knows that the segments hold as many bytes as it reads.
@safe
struct SegmentReader {
    private var segments: UnsafeMutablePointer<IOVector>
    private var offset = 0

    init(segments: UnsafeMutablePointer<IOVector>) { unsafe self.segments = unsafe segments }

    /// Eight bytes, little-endian, wherever the segments' borders are.
    mutating func readWord() -> UInt64 {
        var word: UInt64 = 0
        for index in 0..<UInt64(8) {
            while unsafe offset >= segments.pointee.length {
                unsafe segments += 1
                offset = 0
            }
            word |= UInt64(unsafe (segments.pointee.base + offset).shared8()) << (8 * index)
            offset += 1
        }
        return word
    }
}
