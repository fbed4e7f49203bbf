import TestSupport

/// A sparse file of 16 MiB for tests that need a backing and nothing special of it.
final class TemporaryDisk {
    let folder = TemporaryFolder(under: "/dev/shm")
    let path: String

    init(size: UInt64 = 16 << 20) {
        do {
            path = try folder.sparseFile("disk", size: size)
        } catch {
            preconditionFailure("cannot make a file in /dev/shm: \(error)")
        }
    }
}
