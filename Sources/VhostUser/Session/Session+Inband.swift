import LinuxSystem
import Virtio

/// INBAND_NOTIFICATIONS (specification, "In-band notifications"): kicks, calls and errors as messages, for front-ends that cannot share
/// descriptors of events.
///
/// The data path knows descriptors only. A ring that is started by a message waits on one of our own, and one whose front-end never sent
/// SET_VRING_CALL signals one of our own, which the owner of the session watches. A descriptor that the front-end gives is preferred.
extension Session {
    /// VRING_KICK: starts a ring that is stopped, and has one that runs looked at.
    func vringKick(_ state: VringState) throws(Refusal) {
        let index = try ringIndex(state.index)
        guard state.number == 0 else { throw Refusal(.invalidValue, "VRING_KICK with the number \(state.number); it has to be 0") }
        if rings[index].activity == .running {
            device.changeRing(index, .kicked) { [self] in acknowledge() }
            return
        }
        if !rings[index].isStarted {
            rings[index].kick = try host.makeNotifier()
            rings[index].isPolled = false
            rings[index].isStarted = true
        }
        try startIfReady(index)
        acknowledge()
    }

    /// What a ring that starts signals: the front-end's descriptor, or where none was ever given, in-band, ours.
    func callDescriptor(_ index: Int) throws(Refusal) -> FileDescriptor? {
        guard protocolFeatures.contains(.inbandNotifications), !rings[index].callWasSet else { return rings[index].call }
        if let own = rings[index].inbandCall { return own }
        let own = try host.makeNotifier()
        rings[index].inbandCall = own
        emit(.inbandCall(ring: index, own))
        return own
    }

    /// The data path signalled the descriptor of an ``SessionOutput/inbandCall(ring:_:)``: the front-end is told.
    public func callWasSignalled(_ index: Int) {
        guard rings.indices.contains(index), let own = rings[index].inbandCall, host.takeSignals(own) else { return }
        rings[index].callIsDue = true
        flushCalls()
    }

    /// One call that is told and not yet answered stands for those that follow, up to the limit; the last one is told in any case.
    func flushCalls() {
        guard channel.isOpen else { return }
        for index in rings.indices where rings[index].callIsDue {
            guard sendBackendRequest(.vringCall, .vringState(VringState(index: UInt32(index), number: 0))) else { return }
            rings[index].callIsDue = false
        }
    }

    /// A ring broke whose front-end gave no descriptor to tell it by. Goes out before the ring stops: a device whose rings are all stopped
    /// sends nothing.
    func tellErrorInband(_ index: Int) {
        guard protocolFeatures.contains(.inbandNotifications), rings[index].error == nil, channel.isOpen else { return }
        _ = sendBackendRequest(.vringError, .vringState(VringState(index: UInt32(index), number: 0)))
    }
}
