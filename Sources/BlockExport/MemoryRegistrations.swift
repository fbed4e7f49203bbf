internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// What of a queue's guest memory is registered with io_uring.
struct MemoryRegistration: Sendable, Equatable {
    /// Bytes that are pinned.
    var bytes: UInt64
    /// Why it is not all, in words; nil when it is, or will be.
    var reason: String?
}

/// The guest memory that is registered with one poller's io_urings, each region once for all the queues of a ring that use it.
///
/// Pinning and unpinning go piece by piece between the poller's turns (``step()``), so that other queues wait for one piece at most. A region's
/// mapping is kept until its last piece is unpinned: no address can mean other memory while it is registered. On the poller's thread.
final class MemoryRegistrations {
    private struct Entry {
        let memory: RegisteredMemory
        /// Keeps the mapping.
        var guest: GuestMemory
        /// Tokens of the queues that use it.
        var users: Set<UInt64>
        /// More pieces are to be pinned.
        var isGrowing = true
        var refusal: SystemError?
    }

    private var entries: [Entry] = []
    private var tell: [UInt64: (MemoryRegistration) -> Void] = [:]
    /// Whether ``step()`` has something to do.
    private(set) var isPending = false

    /// Makes a queue use the regions of `guest`, and no others, on an engine of this poller; those that are new will be pinned.
    ///
    /// - Parameter tell: called now, and whenever one more region is pinned, or cannot be.
    /// - Returns: what its channel is to use.
    func use(
        _ guest: GuestMemory, by token: UInt64, on engine: URingEngine, tell: @escaping (MemoryRegistration) -> Void
    ) -> [RegisteredMemory] {
        let before = entries.indices.filter { entries[$0].users.contains(token) }
        var used: [RegisteredMemory] = []
        var kept: Set<Int> = []
        for region in guest.regions {
            // A region that another table has too is the same mapping as long as an entry keeps it.
            let length = Int(clamping: region.size)
            let found = entries.firstIndex { entry in
                unsafe entry.memory.engine === engine && entry.memory.range.base == region.hostBase && entry.memory.range.length == length
            }
            let index = found ?? entries.endIndex
            if found == nil {
                let memory = unsafe RegisteredMemory(IOVector(base: region.hostBase, length: length), on: engine)
                entries.append(Entry(memory: memory, guest: guest, users: []))
            }
            // One that was being unpinned is pinned anew.
            if entries[index].users.isEmpty { (entries[index].isGrowing, entries[index].refusal) = (true, nil) }
            entries[index].users.insert(token)
            // The newest table that has the region: an older one would keep regions mapped that have gone.
            entries[index].guest = guest
            kept.insert(index)
            used.append(entries[index].memory)
        }
        for index in before where !kept.contains(index) { entries[index].users.remove(token) }
        self.tell[token] = tell
        isPending = true
        tell(registration(of: token))
        return used
    }

    /// Forgets a queue, whose channel uses nothing any more.
    func end(_ token: UInt64) {
        guard tell.removeValue(forKey: token) != nil else { return }
        for index in entries.indices { entries[index].users.remove(token) }
        isPending = true
    }

    /// Pins or unpins one piece.
    func step() {
        // What nobody uses first: it counts against the same limit.
        if let index = entries.firstIndex(where: \.users.isEmpty) {
            if !entries[index].memory.unpinNext() { entries.remove(at: index) }
        } else if let index = entries.firstIndex(where: \.isGrowing) {
            do throws(SystemError) {
                entries[index].isGrowing = try entries[index].memory.pinNext()
            } catch {
                (entries[index].isGrowing, entries[index].refusal) = (false, error)
            }
            if !entries[index].isGrowing { for token in entries[index].users { tell[token]?(registration(of: token)) } }
        } else {
            isPending = false
        }
    }

    /// Unpins everything, at the poller's end.
    func endAll() {
        for token in Array(tell.keys) { end(token) }
        while isPending { step() }
    }

    private func registration(of token: UInt64) -> MemoryRegistration {
        let used = entries.filter { $0.users.contains(token) }
        let bytes = used.reduce(0) { $0 + UInt64($1.memory.byteCount) }
        return MemoryRegistration(bytes: bytes, reason: used.lazy.compactMap(\.refusal).first.map(Self.reason))
    }

    private static func reason(_ refusal: SystemError) -> String {
        if refusal.isOutOfMemory {
            return "RLIMIT_MEMLOCK, memory or io_uring's table is used up: raise LimitMEMLOCK of the service, or register less memory"
        }
        if refusal.isMappingRefused {
            return "the kernel registers no such memory: it is older than 5.19, or the memory is a file on a disk"
        }
        return refusal.reason
    }
}
