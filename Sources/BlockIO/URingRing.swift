import CLibURing
import CLinux
import Glibc
import LinuxSystem

/// One io_uring, made by the best means the kernel has. It belongs to the thread that enables it; until then nobody can submit to it.
///
/// Safety: `ring` is allocated in init and freed by `destroy`; liburing keeps pointers into it, so it does not move.
@safe
struct URingRing {
    /// Ways to have completions delivered, best first.
    enum Mode: String {
        /// Completions are worked off when this thread asks for them, and by nobody else (Linux 6.1).
        case deferred = "SINGLE_ISSUER, DEFER_TASKRUN"
        /// Completions wait for this thread's next system call (Linux 5.19).
        case cooperative = "COOP_TASKRUN"
        /// Completions interrupt this thread.
        case interrupting = "no task-run mode"

        var flags: UInt32 {
            let common = UInt32(IORING_SETUP_CQSIZE) | UInt32(IORING_SETUP_CLAMP)
            let flagged = common | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_TASKRUN_FLAG)
            switch self {
            case .deferred: return flagged | UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
            case .cooperative: return flagged | UInt32(IORING_SETUP_COOP_TASKRUN)
            case .interrupting: return common
            }
        }
    }

    let ring: UnsafeMutablePointer<io_uring>
    let mode: Mode
    /// Whether completions are asked for at the device (IORING_SETUP_IOPOLL).
    let isPolled: Bool
    /// Whether the ring waits to be enabled (IORING_SETUP_R_DISABLED, Linux 5.10).
    private var isDisabled: Bool
    /// Whether the kernel holds the ring to what the engine does (``URingRestriction``).
    private(set) var isRestricted = false

    private static let submissionsMax: UInt32 = 256

    /// Sets up a ring for `depth` operations at once. With `isPolled` only direct reads and writes of devices with poll queues can be done,
    /// and no completion shows itself unasked.
    init(depth: Int, isPolled: Bool = false) throws(SystemError) {
        self.isPolled = isPolled
        unsafe ring = .allocate(capacity: 1)
        unsafe ring.initialize(to: io_uring())
        var status: Int32 = -EINVAL
        var made = Mode.interrupting
        var isDisabled = true
        for (mode, disabled) in [(Mode.deferred, true), (.cooperative, true), (.interrupting, true), (.interrupting, false)]
        where status == -EINVAL {
            var parameters = io_uring_params()
            parameters.flags = mode.flags | (isPolled ? UInt32(IORING_SETUP_IOPOLL) : 0)
            if disabled { parameters.flags |= UInt32(IORING_SETUP_R_DISABLED) }
            parameters.cq_entries = UInt32(2 * depth)
            status = unsafe io_uring_queue_init_params(min(UInt32(depth), Self.submissionsMax), ring, &parameters)
            (made, isDisabled) = (mode, disabled)
        }
        guard status >= 0 else {
            unsafe ring.deallocate()
            throw SystemError("set up io_uring for \(depth) operations", errno: status)
        }
        mode = made
        self.isDisabled = isDisabled
    }

    /// Binds the ring to the calling thread, which will enable it. Threads that the kernel makes for it stay off `pollerCPU`.
    func bind(pollerCPU: Int?) {
        // Saves a look-up of the descriptor in each system call, where the kernel can.
        _ = unsafe io_uring_register_ring_fd(ring)
        unsafe Self.limitWorkers(ring, pollerCPU)
    }

    /// Holds the ring to what the engine does, if the kernel can, and enables it, for the calling thread alone in `deferred` mode. What was
    /// registered so far stays.
    mutating func enable() throws(SystemError) {
        guard isDisabled else { return }
        isRestricted = unsafe URingRestriction.apply(to: ring)
        try SystemError.check(
            unsafe curing_register(ring.pointee.ring_fd, UInt32(IORING_REGISTER_ENABLE_RINGS), nil, 0), "enable io_uring")
        isDisabled = false
    }

    /// What the kernel answers to a registration without any argument; for tests.
    func answer(toRegistration number: UInt32) -> Int32 { unsafe curing_register(ring.pointee.ring_fd, number, nil, 0) }

    /// What the kernel answers to an operation without any argument; for tests and probes of the restriction, on a ring where nothing else is
    /// in flight.
    func answer(to operation: UInt8, flags: UInt8 = 0) -> Int32 {
        guard let entry = unsafe io_uring_get_sqe(ring) else { return -EBUSY }
        unsafe io_uring_prep_rw(Int32(operation), entry, -1, nil, 0, 0)
        unsafe entry.pointee.flags = flags
        // An entry that the ring may not carry out ends the submission with the same errno in its completion.
        let status = unsafe io_uring_submit_and_wait(ring, 1)
        guard status >= 0 else { return status }
        var completion: UnsafeMutablePointer<io_uring_cqe>?
        let waited = unsafe io_uring_wait_cqe(ring, &completion)
        guard waited >= 0, let completion = unsafe completion else { return waited }
        defer { unsafe io_uring_cqe_seen(ring, completion) }
        return unsafe completion.pointee.res
    }

    /// Makes completions signal an event, for now switched off. The ring's own descriptor will not do for epoll: in `deferred` mode it
    /// becomes ready only when this thread has worked off what completed, and it does not while it sleeps.
    func signal(_ event: EventFD) throws(SystemError) {
        try SystemError.check(unsafe io_uring_register_eventfd(ring, event.descriptor.rawValue), "register an eventfd with io_uring")
        unsafe io_uring_cq_eventfd_toggle(ring, false)
    }

    func destroy() {
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
    }

    /// io-wq threads take what cannot be started without waiting. A few do for one poller, and on the poller's own CPU they would fight it
    /// for every cycle. Kernels that cannot be told so (before 5.14, 5.15) do without.
    private static func limitWorkers(_ ring: UnsafeMutablePointer<io_uring>, _ pollerCPU: Int?) {
        var workersMax: [UInt32] = [32, 4]
        _ = unsafe io_uring_register_iowq_max_workers(ring, &workersMax)
        guard let pollerCPU, let allowed = CPUSet.ofProcess() else { return }
        let others = allowed.subtracting(CPUSet([pollerCPU]))
        guard !others.isEmpty else { return }
        let words = others.words
        unsafe words.withUnsafeBytes { bytes in
            // cpu_set_t is the same array of bits.
            let mask = unsafe bytes.baseAddress!.assumingMemoryBound(to: cpu_set_t.self)
            _ = unsafe io_uring_register_iowq_aff(ring, bytes.count, mask)
        }
    }
}
