import CLibURing
import CLinux
import Glibc
import LinuxSystem

/// One io_uring, made by the best means the kernel has. It belongs to the thread that makes it.
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
    /// Whether the ring's descriptor is registered with this thread, which saves a look-up in each system call.
    let isRegistered: Bool

    private static let submissionsMax: UInt32 = 256

    /// Sets up a ring for `depth` operations at once. Threads that the kernel makes for it stay off `pollerCPU`. With `isPolled` only direct
    /// reads and writes of devices with poll queues can be done, and no completion shows itself unasked.
    init(depth: Int, pollerCPU: Int?, isPolled: Bool = false) throws(SystemError) {
        self.isPolled = isPolled
        unsafe ring = .allocate(capacity: 1)
        unsafe ring.initialize(to: io_uring())
        var status: Int32 = -EINVAL
        var made = Mode.interrupting
        for mode in [Mode.deferred, .cooperative, .interrupting] where status == -EINVAL {
            var parameters = io_uring_params()
            parameters.flags = mode.flags | (isPolled ? UInt32(IORING_SETUP_IOPOLL) : 0)
            parameters.cq_entries = UInt32(2 * depth)
            status = unsafe io_uring_queue_init_params(min(UInt32(depth), Self.submissionsMax), ring, &parameters)
            made = mode
        }
        guard status >= 0 else {
            unsafe ring.deallocate()
            throw SystemError("set up io_uring for \(depth) operations", errno: status)
        }
        mode = made
        isRegistered = unsafe io_uring_register_ring_fd(ring) == 1
        unsafe Self.limitWorkers(ring, pollerCPU)
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
