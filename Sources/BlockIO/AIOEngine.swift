public import LinuxSystem

/// Linux's native asynchronous I/O. What could not be asynchronous is not: transfers of media that are memory are done by pread and pwrite
/// when they are added, and those through the page cache inside `submit`.
///
/// Safety: `state` is allocated in init and freed in deinit; channels that know it retain the engine.
@safe
public final class AIOEngine: IOEngine {
    let state: UnsafeMutablePointer<AIOState>

    /// Makes an engine for `depth` operations with the kernel at once, 1 to 65536; more wait. `node` is where its memory is to be. Fails
    /// with EAGAIN when the sysctl fs.aio-max-nr is used up.
    public init(depth: Int = 512, node: Int? = nil) throws(SystemError) {
        precondition((1...65536).contains(depth), "the depth of an engine is 1 to 65536")
        let initial = try AIOState(depth: depth, node: node)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: initial)
    }

    deinit {
        unsafe precondition(state.pointee.core.inFlight == 0, "an engine ends after its operations")
        unsafe state.pointee.destroy()
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    /// One io_submit for all that was added.
    public override func submit() { unsafe state.pointee.submit() }

    /// Reads the completion ring, without a system call.
    public override func reap() -> Int { unsafe state.pointee.reap() }

    /// Operations that this engine has.
    public override var inFlight: Int { unsafe state.pointee.core.inFlight }

    /// One eventfd.
    public override var waitDescriptors: [Int32] { [unsafe state.pointee.mailbox.event.descriptor.rawValue] }

    /// False too while operations are in flight that were added while `wakesPoller` was false.
    public override func prepareToSleep() -> Bool { unsafe state.pointee.prepareToSleep() }

    /// While false, operations do not signal the eventfd when they end, which saves some time in each.
    public override var wakesPoller: Bool {
        get { unsafe state.pointee.wakesPoller }
        set { unsafe state.pointee.wakesPoller = newValue }
    }
}
