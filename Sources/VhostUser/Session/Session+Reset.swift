import Virtio

/// RESET_OWNER, RESET_DEVICE and the device status.
extension Session {
    /// "It is recommended that back-ends either ignore this message, or use it to disable all rings."
    func resetOwner() {
        for index in rings.indices { rings[index].isEnabled = false }
        stopRings(.drain) { [self] in acknowledge() }
    }

    func resetDevice() {
        returnToInitialState { [self] in acknowledge() }
    }

    func setStatus(_ value: UInt64) throws(Refusal) {
        guard let status = UInt8(exactly: value) else { throw Refusal(.invalidValue, "status \(value); it has 8 bits") }
        guard status == 0 else {
            // Only a reset takes bits back (virtio 1.3, 2.1.1), which is the driver's business, but NEEDS_RESET is ours.
            deviceStatus = status | deviceStatus & DeviceStatus.needsReset
            device.statusDidChange(deviceStatus)
            acknowledge()
            return
        }
        returnToInitialState { [self] in acknowledge() }
    }

    /// The device's state is the initial one afterwards. What belongs to the connection stays: the owner, the protocol features, the memory
    /// table (front-ends send changes of it only, across resets), the back-end channel, and whom a ring signals.
    private func returnToInitialState(completion: @escaping () -> Void) {
        for index in rings.indices { rings[index].isEnabled = false }
        stopRings(.drain) { [self] in
            for index in rings.indices { rings[index].reset() }
            features = []
            featuresAreSet = false
            deviceStatus = 0
            device.resetDevice()
            device.featuresDidChange([])
            device.statusDidChange(0)
            completion()
        }
    }
}
