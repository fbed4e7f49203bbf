/// One kernel interface for I/O, used by one thread: that thread makes it, calls all its methods and lets go of it. Several channels share it.
///
/// The methods are called once per turn of the poller's loop, not per operation.
open class IOEngine {
    /// For subclasses.
    public init() {}

    /// Hands what was added since the last call to the kernel, in one system call where possible.
    open func submit() {}

    /// Takes what is finished and moves it to the completion lists. Returns how many operations finished. Never waits.
    open func reap() -> Int { 0 }

    /// Operations that this engine has: waiting in it, with the kernel, or with the worker for slow operations.
    open var inFlight: Int { 0 }

    /// Descriptors for the poller's epoll instance, level-triggered, that become readable when something is to be reaped. They stay the
    /// same for the engine's life and are the engine's.
    open var waitDescriptors: [Int32] { [] }

    /// To be called before each sleep on `waitDescriptors`: false when something is to be reaped already and the poller must not sleep;
    /// true when whatever finishes from now on makes a descriptor readable.
    open func prepareToSleep() -> Bool { true }

    /// Whether the poller ever sleeps. While this is false (busy polling), an engine may save what waking costs, and `prepareToSleep`
    /// must not be called while operations are in flight.
    open var wakesPoller: Bool {
        get { true }
        set {}
    }
}
