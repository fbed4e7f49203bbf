public import LinuxSystem
import Synchronization

/// The source of a post-copy migration, in the process of its destination: it keeps what guest memory held, takes it out of the memory files,
/// and brings each page when somebody, the driver here or the back-end there, touches it. On a thread of its own.
///
/// Any thread may use it.
public final class PageSource: @unchecked Sendable {
    // Sendable: what changes is atomic, or under the lock.

    /// The unit in which memory moves.
    public static let pageSize = 4096

    /// What is known of the back-end.
    private struct Backend {
        var faults: Userfault
        /// Where it has each region.
        var addresses: [UInt64]
        /// Where it had them before its memory was told anew: a thread of its may wait there still.
        var earlier: [[UInt64]] = []
    }

    private struct State {
        var backend: Backend?
        /// By region: the pages that are there.
        var isPresent: [[Bool]]
        /// Pages that the back-end waits for, in order.
        var wanted: [(region: Int, page: Int)] = []
        /// The first thing that went wrong.
        var failure: SystemError?
    }

    private let memory: DriverMemory
    private let contents: [[UInt8]]
    private let own: Userfault
    private let poller: Epoll
    private let state: Locked<State>
    private let isEnding = Atomic<Bool>(false)
    private let supplies = Atomic<Bool>(true)
    private let delay = Atomic<UInt64>(0)
    private let faults = Atomic<Int>(0)
    private var thread: PinnedThread?

    /// Takes the contents out of `memory`, of which no device may use anything at this moment, and whose pages are not scattered.
    public init(takingFrom memory: DriverMemory) throws(FrontendError) {
        precondition(!memory.isScattered, "scattered pages are mapped twice, and would be asked for by two addresses")
        self.memory = memory
        contents = memory.mappings.map { mapping in
            // The mapping is as long as its size says, and nobody writes to it now.
            unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: mapping.size))
        }
        state = Locked(State(isPresent: contents.map { Array(repeating: false, count: $0.count / Self.pageSize) }))
        do throws(SystemError) {
            own = try Userfault()
            poller = try Epoll()
            try poller.add(own.descriptor.rawValue, .readable, token: 0)
            for (index, mapping) in memory.mappings.enumerated() {
                try own.register(mapping)
                try MemoryFile.discard(memory.files[index], offset: memory.fileOffsets[index], size: UInt64(mapping.size))
            }
            thread = try PinnedThread(name: "page-source") { [self] in run() }
        } catch {
            throw FrontendError(.system, "guest memory cannot be taken away: \(error)")
        }
    }

    /// Serves a back-end's faults, which has the regions at these addresses, in place of one before.
    public func serve(_ faults: Userfault, addresses: [UInt64]) throws(FrontendError) {
        do throws(SystemError) {
            try state.withLock { (state) throws(SystemError) in
                if state.backend?.faults.descriptor !== faults.descriptor {
                    if let old = state.backend { poller.remove(old.faults.descriptor.rawValue) }
                    try poller.add(faults.descriptor.rawValue, .readable, token: 1)
                    state.backend = Backend(faults: faults, addresses: addresses)
                } else if let old = state.backend?.addresses, old != addresses {
                    state.backend?.earlier.append(old)
                    state.backend?.addresses = addresses
                }
            }
        } catch {
            throw FrontendError(.system, "the back-end's faults cannot be waited for: \(error)")
        }
    }

    /// The back-end's userfaultfd, once there is one.
    public var backendFaults: Userfault? { state.withLock { $0.backend?.faults } }

    /// Times that the back-end waited for a page.
    public var faultCount: Int { faults.load(ordering: .relaxed) }

    /// How many pages the back-end waits for. While it is kept from them (``suppliesBackend``) it is not one of those that it had asked for
    /// before, and got.
    public var waitingCount: Int { state.withLock { $0.wanted.count } }

    /// Whether the back-end gets the pages that it waits for; what it is kept from it gets when this is true again. The driver gets its own.
    public var suppliesBackend: Bool {
        get { supplies.load(ordering: .relaxed) }
        set { supplies.store(newValue, ordering: .relaxed) }
    }

    /// How long each page takes on its way to the back-end, in nanoseconds.
    public var delayNanoseconds: UInt64 {
        get { delay.load(ordering: .relaxed) }
        set { delay.store(newValue, ordering: .relaxed) }
    }

    /// Whether the page at `offset` of a region is there.
    public func isPresent(region: Int, offset: Int) -> Bool { state.withLock { $0.isPresent[region][offset / Self.pageSize] } }

    /// Brings everything that is missing.
    public func supplyAll() throws(FrontendError) {
        do throws(SystemError) {
            for region in contents.indices {
                for page in 0..<contents[region].count / Self.pageSize { try supply(region, page) }
            }
        } catch {
            throw FrontendError(.system, "a page cannot be brought: \(error)")
        }
    }

    /// What went wrong on the thread, if anything did.
    public var failure: SystemError? { state.withLock { $0.failure } }

    /// Ends the thread; what is missing is zeroes for the driver from now on. Not from the thread itself, and once.
    public func end() {
        isEnding.store(true, ordering: .relaxed)
        thread?.join()
        for mapping in memory.mappings { try? own.unregister(mapping) }
    }

    private func run() {
        while !isEnding.load(ordering: .relaxed) {
            _ = unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 2) { ready in
                unsafe poller.wait(into: ready, timeoutNanoseconds: 1_000_000)
            }
            do throws(SystemError) {
                try serveDriver()
                try serveBackend()
            } catch {
                state.withLock { if $0.failure == nil { $0.failure = error } }
            }
        }
    }

    private func serveDriver() throws(SystemError) {
        while let address = try own.next() {
            let bases = memory.mappings.map { unsafe UInt64(UInt(bitPattern: $0.base)) }
            if let place = Self.place(of: address, bases, contents.map(\.count)) { try supply(place.region, place.page) }
        }
    }

    private func serveBackend() throws(SystemError) {
        guard let backend = state.withLock({ $0.backend }) else { return }
        while let address = try backend.faults.next() {
            faults.wrappingAdd(1, ordering: .relaxed)
            state.withLock { state in
                // Looked up now: memory may have been told anew since the loop began, and the fault be there.
                guard let backend = state.backend else { return }
                let sizes = contents.map(\.count)
                let places = ([backend.addresses] + backend.earlier.reversed()).lazy.compactMap { Self.place(of: address, $0, sizes) }
                if let place = places.first { state.wanted.append(place) }
            }
        }
        // Asked under the lock: who has turned it off and then sees a page in the list knows that it stays there.
        let wanted = state.withLock { state in
            guard suppliesBackend else { return [(region: Int, page: Int)]() }
            defer { state.wanted = [] }
            return state.wanted
        }
        for place in wanted {
            if delayNanoseconds > 0 { ProcessSelf.sleep(nanoseconds: delayNanoseconds) }
            try supply(place.region, place.page)
        }
    }

    private static func place(of address: UInt64, _ bases: [UInt64], _ sizes: [Int]) -> (region: Int, page: Int)? {
        let region = bases.indices.first { address >= bases[$0] && address - bases[$0] < UInt64(sizes[$0]) }
        return region.map { ($0, Int(address - bases[$0]) / pageSize) }
    }

    /// Puts a page into the memory file, for everybody at once, and wakes who waits for it.
    private func supply(_ region: Int, _ page: Int) throws(SystemError) {
        try state.withLock { (state) throws(SystemError) in
            let offset = page * Self.pageSize
            state.wanted.removeAll { $0 == (region, page) }
            if !state.isPresent[region][page] {
                state.isPresent[region][page] = true
                let target = unsafe UInt64(UInt(bitPattern: memory.mappings[region].base)) + UInt64(offset)
                let bytes = Array(contents[region][offset..<offset + Self.pageSize])
                try unsafe bytes.span.withUnsafeBytes { bytes throws(SystemError) in
                    // Read during the call; the kernel writes into a mapping that this object keeps.
                    try unsafe own.copy(bytes, to: target)
                }
            }
            guard let backend = state.backend, region < backend.addresses.count else { return }
            try backend.faults.wake(address: backend.addresses[region] + UInt64(offset), count: Self.pageSize)
            // What is mapped there no more has nobody who waits.
            for earlier in backend.earlier where region < earlier.count {
                try? backend.faults.wake(address: earlier[region] + UInt64(offset), count: Self.pageSize)
            }
        }
    }
}
