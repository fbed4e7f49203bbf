import CLinux

/// A file that lives in memory only (memfd_create) and can be shared by passing its descriptor.
public enum MemoryFile {
    /// Creates a memory file of `size` bytes, all zero. `name` appears in /proc only.
    public static func create(name: String, size: UInt64) throws(SystemError) -> FileDescriptor {
        let raw = try SystemError.check(unsafe clinux_memfd(name), "create memory file \(name)")
        let descriptor = FileDescriptor(owning: raw)
        try descriptor.truncate(to: size)
        return descriptor
    }

    /// Gives whole pages back to the system: they are holes of the file then, missing until somebody writes or touches them.
    public static func discard(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(SystemError) {
        try SystemError.check(
            clinux_punch_hole(descriptor.rawValue, Int64(offset), Int64(size)), "discard pages of a memory file")
    }

    /// Forbids anybody, ourselves included, to change the file's size from now on.
    public static func sealSize(_ descriptor: FileDescriptor) throws(SystemError) {
        try SystemError.check(clinux_seal_size(descriptor.rawValue), "seal a memory file")
    }
}
