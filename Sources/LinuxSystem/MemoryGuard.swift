import CLinux
import Glibc

/// Keeps the process alive when a peer shortens a file that is mapped here.
///
/// A mapping of a peer's file can lose its pages at any time: whoever touches them next gets SIGBUS, which ends a process. For guarded
/// mappings (`MemoryMapping.init(descriptor:offset:size:writable:guardedFor:)`) a handler puts private zero pages in the place of the whole
/// mapping, on whatever thread the access was, and the access goes on with zeroes. Its owner is told through ``lossEvent`` and ends what used
/// the mapping. The same happens when the machine reports a broken page of the mapping (BUS_MCEERR_AR) or its huge pages run out. SIGBUS
/// anywhere else ends the process as before. The kernel's own accesses raise no signal: a transfer to such memory ends with EFAULT.
public enum MemoryGuard {
    private static let installed: Result<EventFD, SystemError> = {
        do throws(SystemError) {
            let event = try EventFD()
            // The event lives as long as the process: a static property's value is never let go of.
            try SystemError.check(clinux_guard_install(event.descriptor.rawValue), "handle SIGBUS")
            return .success(event)
        } catch {
            return .failure(error)
        }
    }()

    /// Readable when a mapping was lost; `takeLost` tells whose. The first use, or the first guarded mapping, takes SIGBUS over.
    public static func lossEvent() throws(SystemError) -> EventFD { try installed.get() }

    /// The owners of mappings that were lost since the last call, an owner once for each mapping. Any thread may ask.
    public static func takeLost() -> [UInt64] {
        let capacity = 64
        var lost: [UInt64] = []
        while true {
            let some = unsafe withUnsafeTemporaryAllocation(of: UInt64.self, capacity: capacity) { owners in
                let count = unsafe clinux_guard_take_lost(owners.baseAddress, capacity)
                return unsafe Array(owners[..<count])
            }
            lost += some
            if some.count < capacity { return lost }
        }
    }

    static func add(_ base: UnsafeMutableRawPointer, _ size: Int, owner: UInt64) throws(SystemError) -> Int32 {
        _ = try lossEvent()
        return try SystemError.check(unsafe clinux_guard_add(base, size, owner), "guard a mapping")
    }

    /// Takes the pages out of a guarded mapping of `file`, as ``AwaitedMemory/withdraw()`` says.
    static func withdraw(_ number: Int32, _ file: FileDescriptor, _ offset: Int64, empty: FileDescriptor) throws(SystemError) {
        try SystemError.check(
            clinux_guard_withdraw(number, file.rawValue, offset, empty.rawValue), "replace memory that never came")
    }

    static func remove(_ number: Int32) { clinux_guard_remove(number) }
}
