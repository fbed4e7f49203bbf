import BlockIO
import Glibc
import LinuxSystem

/// Operations with memory of their own, and the loop that a poller would run: what the tests drive engines with.
///
/// Safety: everything it allocates lives as long as it does, and each test waits for what it starts.
@safe
final class Rig {
    /// One operation's memory.
    @safe
    final class Slot {
        let operation: UnsafeMutablePointer<IOOperation>
        let segments: UnsafeMutablePointer<IOVector>
        let memory: MemoryMapping
        static let segmentsMax = 2048

        init(_ completions: UnsafeMutablePointer<IOCompletionList>, size: Int) throws {
            unsafe segments = .allocate(capacity: Self.segmentsMax)
            unsafe operation = .allocate(capacity: 1)
            unsafe operation.initialize(to: IOOperation(completions: completions, segments: segments))
            memory = try MemoryMapping(anonymous: size)
        }

        deinit {
            unsafe segments.deallocate()
            unsafe operation.deallocate()
        }

        /// Describes the operation; `pieces` are (offset in the slot's memory, length).
        func set(_ kind: IOKind, at offset: UInt64, pieces: [(Int, Int)], flags: IOFlags = []) {
            for (index, piece) in pieces.enumerated() {
                unsafe (segments + index).initialize(to: IOVector(base: memory.base + piece.0, length: piece.1))
            }
            unsafe operation.pointee.segmentCount = Int32(pieces.count)
            unsafe operation.pointee.length = UInt64(pieces.reduce(0) { $0 + $1.1 })
            unsafe operation.pointee.kind = kind
            unsafe operation.pointee.flags = flags
            unsafe operation.pointee.offset = offset
            unsafe operation.pointee.result = Int64.min
        }

        /// Describes an operation without data.
        func set(_ kind: IOKind, at offset: UInt64, length: UInt64, flags: IOFlags = []) {
            set(kind, at: offset, pieces: [], flags: flags)
            unsafe operation.pointee.length = length
        }

        var result: Int64 { unsafe operation.pointee.result }

        /// The segments' bytes in order.
        var bytes: [UInt8] {
            get {
                var all: [UInt8] = []
                for index in 0..<(unsafe Int(operation.pointee.segmentCount)) {
                    let segment = unsafe segments[index]
                    unsafe all.append(contentsOf: UnsafeRawBufferPointer(start: segment.base, count: segment.length))
                }
                return all
            }
            set {
                var from = 0
                for index in 0..<(unsafe Int(operation.pointee.segmentCount)) {
                    let segment = unsafe segments[index]
                    unsafe newValue.withUnsafeBytes {
                        unsafe segment.base.copyMemory(from: $0.baseAddress! + from, byteCount: segment.length)
                    }
                    from += segment.length
                }
            }
        }
    }

    let engine: IOEngine
    let channel: any IOChannel
    let completions: UnsafeMutablePointer<IOCompletionList>
    private let epoll: Epoll
    /// Whether to sleep when nothing is finished, or to spin.
    var sleeps = true
    private(set) var sleepCount = 0

    init(_ backing: Backing, _ choice: EngineChoice.Engine, depth: Int = 64) throws {
        switch choice {
        case .null:
            engine = NullEngine()
            channel = NullChannel()
        case .ioURing:
            let ring = try URingEngine(URingSetup(depth: depth), pollerCPU: 0)
            engine = ring
            channel = URingChannel(engine: ring, backing: backing)
        case .libaio:
            let aio = try AIOEngine(depth: depth)
            engine = aio
            channel = AIOChannel(engine: aio, backing: backing)
        }
        unsafe completions = .allocate(capacity: 1)
        unsafe completions.initialize(to: IOCompletionList())
        epoll = try Epoll()
        for descriptor in engine.waitDescriptors { try epoll.add(descriptor, .readable, token: 1) }
    }

    deinit {
        channel.close()
        unsafe completions.deallocate()
    }

    func slot(size: Int = 1 << 20) throws -> Slot { try unsafe Slot(completions, size: size) }

    /// Waits for operations until at least one is finished; nil when nothing finishes within ten seconds.
    func next() -> UnsafeMutablePointer<IOOperation>? {
        var ready = [Epoll.Ready](repeating: Epoll.Ready(), count: 4)
        let deadline = MonotonicClock.now() + 10_000_000_000
        while MonotonicClock.now() < deadline {
            if let operation = unsafe completions.pointee.pop() { return unsafe operation }
            engine.submit()
            if engine.reap() > 0 { continue }
            if sleeps, unsafe completions.pointee.isEmpty, engine.prepareToSleep() {
                sleepCount += 1
                _ = unsafe ready.withUnsafeMutableBufferPointer { unsafe epoll.wait(into: $0, timeoutNanoseconds: 10_000_000_000) }
            }
        }
        return nil
    }

    /// Runs one operation to its end and returns its result; Int64.min when it does not end.
    func run(_ slot: Slot) -> Int64 {
        unsafe channel.add(slot.operation)
        guard let finished = unsafe next() else { return Int64.min }
        precondition(unsafe finished == slot.operation, "another operation finished")
        return slot.result
    }
}
