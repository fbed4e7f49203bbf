import CLinux
import LinuxSystem

/// Transfers by calls that return when they are done.
extension IOOperation {
    /// Does what is left of a read or write, as far as one call does it: bytes transferred, or a negated errno.
    @inline(__always)
    func transferInPlace() -> Int64 {
        let descriptor = unsafe state.pointee.descriptor
        let position = Int64(truncatingIfNeeded: offset &+ done)
        if let bounce = unsafe bounce {
            return unsafe withUnsafePointer(to: IOVector(base: bounce, length: bouncePiece)) {
                unsafe transfer($0, 1, descriptor, position)
            }
        }
        let segments = unsafe restOfSegments
        let count = segmentCountOfCall
        guard count == 1, transferFlags == 0 else { return unsafe transfer(segments, count, descriptor, position) }
        let (base, length) = unsafe (segments.pointee.base, segments.pointee.length)
        return unsafe kind == .read ? clinux_pread(descriptor, base, length, position) : clinux_pwrite(descriptor, base, length, position)
    }

    private func transfer(_ vector: UnsafePointer<IOVector>, _ count: Int32, _ descriptor: Int32, _ position: Int64) -> Int64 {
        let flags = Int32(transferFlags)
        return unsafe kind == .read
            ? clinux_preadv(descriptor, vector, count, position, flags) : clinux_pwritev(descriptor, vector, count, position, flags)
    }
}
