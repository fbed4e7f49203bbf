import LinuxSystem

/// What a session knows of a transfer of the device's state.
struct SessionStateTransfer {
    /// How it stands.
    enum Progress: Equatable {
        case none
        case running
        /// Over; the reason if it failed.
        case ended(failure: String?)
    }

    var progress = Progress.none
    /// Tells a transfer from those before it, whose completions are of no interest any more.
    var number = 0
    /// CHECK_DEVICE_STATE waits for the end.
    var isChecked = false
}

/// SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE (specification, "Migrating back-end state").
extension Session {
    /// Bit 8 of the answer: no channel of the back-end's own comes along, the front-end's is used.
    static let noChannelFlag: UInt64 = 1 << 8

    /// The answer comes at once, and the transfer goes on by itself; the channel is closed at its end.
    func setDeviceState(_ transfer: DeviceStateTransfer, _ channel: FileDescriptor) throws(Refusal) {
        guard transfer.direction <= 1 else {
            throw Refusal(.invalidValue, "direction \(transfer.direction) is neither 0, save, nor 1, load")
        }
        guard transfer.phase == 0 else { throw Refusal(.invalidValue, "phase \(transfer.phase); only 0, stopped, exists") }
        if let index = rings.firstIndex(where: { $0.activity != .idle }) {
            throw Refusal(.ringRuns, "ring \(index) runs; the device's state is moved while it is stopped")
        }
        try host.checkChannel(channel)
        stateTransfer.number += 1
        stateTransfer.progress = .running
        let number = stateTransfer.number
        device.transferState(saves: transfer.direction == 0, channel) { [self] failure in
            guard number == stateTransfer.number else { return }
            stateTransfer.progress = .ended(failure: failure)
            if stateTransfer.isChecked {
                stateTransfer.isChecked = false
                answerCheck(failure)
            }
        }
        answer(.u64(Self.noChannelFlag))
    }

    /// Answered when the transfer is over: the front-end sends it when it has closed, or read to the end, its side.
    func checkDeviceState() throws(Refusal) {
        switch stateTransfer.progress {
        case .none: throw Refusal(.invalidValue, "no device state was transferred")
        case .running: stateTransfer.isChecked = true
        case .ended(let failure): answerCheck(failure)
        }
    }

    private func answerCheck(_ failure: String?) {
        if let failure {
            refuse(Refusal(.device, "the device state cannot be used: \(failure)"))
        } else {
            answer(.u64(0))
        }
    }
}
