public import LinuxSystem

/// io_uring: one ring for a poller.
///
/// Safety: `state` is allocated in init and freed in deinit; channels that know it retain the engine.
@safe
public final class URingEngine: IOEngine {
    let state: UnsafeMutablePointer<URingState>

    /// Makes an engine of a ring. Threads that the kernel makes for it stay off `pollerCPU`. With a polled ring completions are asked for at
    /// the device: for channels of backings that polled completions were chosen for, and the thread does not sleep while any is awaited. To
    /// be called on the thread that will use it, once for each ring.
    public init(_ setup: URingSetup, pollerCPU: Int? = nil) throws(SystemError) {
        let initial = try URingState(setup, pollerCPU: pollerCPU)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: initial)
    }

    deinit {
        unsafe precondition(state.pointee.core.inFlight == 0, "an engine ends after its operations")
        unsafe state.pointee.destroy()
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    /// At most one io_uring_enter for all that was added.
    public override func submit() { unsafe state.pointee.submit() }

    /// Reads the completion queue; enters the kernel only when it says that there is something to work off.
    public override func reap() -> Int { unsafe state.pointee.reap() }

    /// Operations that this engine has.
    public override var inFlight: Int { unsafe state.pointee.core.inFlight }

    /// One eventfd.
    public override var waitDescriptors: [Int32] { [unsafe state.pointee.mailbox.event.descriptor.rawValue] }

    /// Submits what is left, switches the eventfd on, and looks.
    public override func prepareToSleep() -> Bool { unsafe state.pointee.prepareToSleep() }

    /// What of io_uring is in use, for people: "SINGLE_ISSUER, DEFER_TASKRUN, restricted".
    public var mode: String {
        let ring = unsafe state.pointee.ring
        return ring.mode.rawValue + (ring.isPolled ? ", IOPOLL" : "") + (ring.isRestricted ? ", restricted" : "")
    }
}
