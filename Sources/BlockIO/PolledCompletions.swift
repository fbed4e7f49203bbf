import CLibURing
import Glibc
import LinuxSystem

/// Polled completions (IORING_SETUP_IOPOLL): the poller asks the device whether it is done, and no interrupt is taken. Of devices that have
/// queues for it, past the page cache, with io_uring.
enum PolledCompletions {
    /// What they depend on.
    struct Traits: Equatable, Sendable {
        var engine: EngineChoice.Engine
        /// Why the page cache is in between, or nil.
        var bufferedReason: String?
        /// The device below, as the kernel names it; nil when there is none.
        var device: String?
        /// It has queues to be polled.
        var hasPollQueues: Bool
    }

    /// Refuses a backing that has none. `probe` reads a block that way, which the file system may not know; its errno is told.
    static func check(name: String, traits: Traits, probe: () -> SystemError?) throws(BackingError) {
        func refusal(_ reason: String, _ hint: String) -> BackingError {
            BackingError(
                .pollingUnavailable, path: name, "completions of \(name) cannot be polled: \(reason)", hint: hint)
        }
        guard traits.engine == .ioURing else {
            throw refusal("the engine is \(traits.engine.rawValue)", "take io_uring with --engine io_uring, or leave --io-poll out")
        }
        if let reason = traits.bufferedReason {
            throw refusal("the page cache is in between (\(reason))", "polling needs direct I/O; leave --io-poll out where there is none")
        }
        guard let device = traits.device else {
            throw refusal("it lies on no block device", "leave --io-poll out")
        }
        guard traits.hasPollQueues else {
            let hint = "make some where the driver can (nvme: the module parameter poll_queues), or leave --io-poll out"
            throw refusal("\(device) has no queues for that (/sys/block/\(device)/queue/io_poll)", hint)
        }
        if let error = probe() { throw refusal("the kernel refuses a read (\(error.reason))", "leave --io-poll out") }
    }

    /// As ``check(name:traits:probe:)``, of an open backing. Waits for the disk.
    static func check(_ backing: Backing, engine: EngineChoice.Engine) throws(BackingError) {
        let traits = Traits(
            engine: engine, bufferedReason: backing.isDirect ? nil : backing.bufferedReason, device: backing.deviceName,
            hasPollQueues: backing.hasPollQueues)
        try check(name: backing.spec.description, traits: traits) { readOnce(backing) }
    }

    /// Reads the first block by a ring of its own; why not, or nil.
    private static func readOnce(_ backing: Backing) -> SystemError? {
        guard let descriptor = backing.descriptor else { return SystemError("read", errno: EBADF) }
        do throws(SystemError) {
            let length = Int(max(backing.blockSize, backing.offsetAlignment))
            let memory = try MemoryMapping(anonymous: length)
            var ring = try URingRing(depth: 2, isPolled: true)
            defer { ring.destroy() }
            try ring.enable()
            guard let entry = unsafe io_uring_get_sqe(ring.ring) else { throw SystemError("read", errno: EAGAIN) }
            unsafe io_uring_prep_rw(Int32(IORING_OP_READ.rawValue), entry, descriptor.rawValue, memory.base, UInt32(length), 0)
            try SystemError.check(unsafe io_uring_submit_and_wait(ring.ring, 1), "read \(backing.spec.description)")
            var completion: UnsafeMutablePointer<io_uring_cqe>?
            guard unsafe io_uring_peek_batch_cqe(ring.ring, &completion, 1) == 1, let completion = unsafe completion else {
                throw SystemError("read", errno: EIO)
            }
            let result = unsafe completion.pointee.res
            unsafe io_uring_cq_advance(ring.ring, 1)
            return result < 0 ? SystemError("read", errno: result) : nil
        } catch {
            return error
        }
    }
}
