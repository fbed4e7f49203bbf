import CLinux
import Synchronization

/// Mappings of shared memory whose pages come from elsewhere while it is in use: the destination of a post-copy migration.
///
/// Who touches a page that is missing waits for it. It ends in one of two ways: ``arrived()``, when all pages are there, or ``withdraw()``, when
/// none comes any more.
///
/// A page that never came must not pass for one of zeroes: a write in flight would put them on the disk. So data is handed to the kernel only
/// after ``touch(_:_:)`` has waited for its pages, and said that they are there; what the kernel cannot find all the same ends with EFAULT.
///
/// Any thread may use it, but ``arrived()`` and ``withdraw()`` are one thread's.
public final class AwaitedMemory: Sendable {
    private struct Part: Sendable {
        weak var mapping: MemoryMapping?
    }

    let faults: Userfault
    private let parts = Locked<[Part]>([])
    /// What takes the pages' place when they are withdrawn; made now, so that nothing can fail then.
    private let empty: FileDescriptor
    private let withdrawn = Atomic<Bool>(false)

    /// Without mappings: see `MemoryMapping.init`.
    public init() throws(SystemError) {
        faults = try Userfault()
        empty = try MemoryFile.create(name: "vhublk-nothing", size: 0)
    }

    /// Why this process cannot wait for pages, as a person reads it; nil when it can. The first answer is kept: ask when the process has
    /// entered its sandbox, on a thread that may make mappings of its own.
    public static let unavailability: String? = reasonUnavailable()

    /// What ``unavailability`` would be for the calling thread now.
    static func reasonUnavailable() -> String? {
        do throws(SystemError) {
            _ = try AwaitedMemory()
            return nil
        } catch {
            let way = error.errno == SystemError.invalid ? "; it needs Linux 5.11" : ""
            return "userfaultfd cannot be used here: \(error.reason) (\(error.name))\(way)"
        }
    }

    /// For who brings the pages.
    public var descriptor: FileDescriptor { faults.descriptor }

    func note(_ mapping: MemoryMapping) {
        parts.withLock { parts in
            parts.removeAll { $0.mapping == nil }
            parts.append(Part(mapping: mapping))
        }
    }

    private var mappings: [MemoryMapping] { parts.withLock { $0.compactMap(\.mapping) } }

    /// Who waits looks again whether its page is there.
    public func wake() {
        // A range of this process's memory is always a good one.
        for mapping in mappings { try? mapping.wakeWaiting(faults) }
    }

    /// All pages are there: nobody waits any more, and what is missing is a page of zeroes.
    public func arrived() throws(SystemError) {
        for mapping in mappings { try mapping.endWaiting(faults) }
        parts.withLock { $0 = [] }
    }

    /// No page comes any more, and what uses the memory comes to its end. Pages that are there can still be read and written by threads, as
    /// copies of their own. Those that are missing read as zeroes, which ``touch(_:_:)`` and ``isWithdrawn`` tell apart: the flag is set before
    /// the first such page can be seen. The kernel's accesses end with EFAULT. The peer's memory is not changed.
    ///
    /// Safe to be called again.
    public func withdraw() {
        // Release: whoever sees a page of zeroes sees the flag.
        withdrawn.store(true, ordering: .releasing)
        for mapping in mappings {
            do throws(SystemError) { try mapping.withdraw(faults, empty: empty) } catch {
                // Going on would put zeroes on a disk.
                fatalError("memory whose pages never came cannot be replaced: \(error)")
            }
        }
    }

    /// Whether the memory was withdrawn: what was read of it since may be zeroes that nobody wrote.
    public var isWithdrawn: Bool { withdrawn.load(ordering: .acquiring) }

    /// Waits for the pages that a range of this memory touches. False when they never come, or may be what nobody wrote.
    public func touch(_ base: UnsafeRawPointer, _ count: Int) -> Bool {
        var offset = 0
        // Page by page: each one that is touched after the withdrawal would be copied, and may be one more mapping of the process.
        while offset < count {
            if isWithdrawn { return false }
            let page = unsafe base + offset
            unsafe clinux_touch(page)
            offset += PageSize.bytes - Int(bitPattern: page) % PageSize.bytes
        }
        return !isWithdrawn
    }
}
