import CLinux
import Glibc
import LinuxSystem

/// What direct I/O on one open file needs, in bytes, powers of two.
struct DirectAlignment: Equatable, Sendable {
    /// Alignment of memory addresses.
    var memory: UInt32
    /// Alignment of offsets in the file and of each piece's length.
    var offset: UInt32

    /// Asks the kernel (statx, since 6.1) and tries where it does not say; nil when direct I/O is not possible. The file is open with
    /// O_DIRECT; `geometry` is that of a block device.
    static func probe(_ descriptor: FileDescriptor, size: UInt64, geometry: clinux_geometry?) -> DirectAlignment? {
        var memory: UInt32 = 0
        var offset: UInt32 = 0
        if unsafe clinux_direct_alignment(descriptor.rawValue, &memory, &offset) == 1 {
            guard memory > 0, offset > 0 else { return nil }
            return DirectAlignment(memory: memory, offset: offset)
        }
        if let geometry { return DirectAlignment(memory: max(512, geometry.logical_block), offset: geometry.logical_block) }
        return byTrial(descriptor, size: size)
    }

    /// The smallest alignment with which a read works. A file of one block cannot show it: some file systems return 0 at the end of a file
    /// before they look at alignment.
    private static func byTrial(_ descriptor: FileDescriptor, size: UInt64) -> DirectAlignment? {
        let largest: UInt32 = 4096
        guard let buffer = try? MemoryMapping(anonymous: 4 * Int(largest)) else { return nil }
        for unit in [512, 1024, 2048, largest] where unit == largest || size >= 2 * UInt64(unit) {
            // Address and offset are odd multiples of the unit, so that a coarser requirement shows.
            let answer = unsafe clinux_pread(descriptor.rawValue, buffer.base + Int(unit), Int(unit), Int64(unit))
            if answer >= 0 { return DirectAlignment(memory: unit, offset: unit) }
            if answer != -Int64(EINVAL) { return nil }
        }
        return nil
    }
}
