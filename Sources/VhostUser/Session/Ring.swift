import LinuxSystem
import Virtio

/// What a session knows of a ring. Started and enabled are independent of each other (specification, "Ring states"); a ring runs, that is,
/// the device processes it, when it is both and everything it needs has been set.
struct Ring {
    /// What the device does with the ring.
    enum Activity: Equatable {
        case idle, running, stopping
    }

    var size: Int?
    var address: VringAddress?
    /// nil: where a fresh ring begins.
    var base: RingBase?
    var kick: FileDescriptor?
    var isPolled = false
    var call: FileDescriptor?
    /// SET_VRING_CALL came, with a descriptor or to say that the driver polls.
    var callWasSet = false
    /// What the data path signals in place of `call` when calls go in-band.
    var inbandCall: FileDescriptor?
    /// A call that the front-end has not been told of.
    var callIsDue = false
    var error: FileDescriptor?
    /// From SET_VRING_KICK to GET_VRING_BASE. The specification lets a ring start with the first kick; this one starts with the descriptor
    /// that kicks come on, as every other back-end has it: buffers that are there already must not wait for a kick that may never come.
    var isStarted = false
    var isEnabled = false
    /// Why the device gave the ring up; it does not run again before it was stopped or reset.
    var breakage: String?
    var activity = Activity.idle
    /// The access that a running ring waits with for a translation.
    var miss: MemoryMiss?
    /// Areas whose pages lie apart, by number, mapped once more in one piece; they go when the ring has stopped.
    var joined: [Int: JoinedArea] = [:]
    /// A running ring's own areas have no translation: it is neither looked at nor written to.
    var isSuspended = false
    var stopWaiters: [(RingBase) -> Void] = []

    /// Back to the initial state, except for what belongs to the connection: whom to signal; and where the ring stopped, if it is to be
    /// kept for who asks for it afterwards.
    mutating func reset(keepingBase: Bool) {
        var fresh = Ring()
        if keepingBase { fresh.base = base }
        fresh.call = call
        fresh.callWasSet = callWasSet
        fresh.inbandCall = inbandCall
        fresh.error = error
        self = fresh
    }

    /// The log address of SET_VRING_ADDR, if its flag is set.
    static func usedLogAddress(_ address: VringAddress) -> UInt64? {
        address.flags & VringAddress.logFlag != 0 ? address.log : nil
    }
}
