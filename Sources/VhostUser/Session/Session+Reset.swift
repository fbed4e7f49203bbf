import Virtio

/// RESET_OWNER, RESET_DEVICE and the device status.
extension Session {
    /// "It is recommended that back-ends either ignore this message, or use it to disable all rings."
    func resetOwner() {
        for index in rings.indices { rings[index].isEnabled = false }
        stopRings(.drain) { [self] in acknowledge() }
    }

    func resetDevice() {
        returnToInitialState(forgettingInflight: true) { [self] in acknowledge() }
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
        // The inflight region and the rings' positions are left as they are: QEMU sets status 0 on a device whose requests in flight migrate in
        // the region, and before it asks with GET_VRING_BASE where the rings stopped (7.2, when the machine stops or moves). A driver that
        // begins anew begins with SET_VRING_BASE.
        returnToInitialState(forgettingInflight: false) { [self] in acknowledge() }
    }

    /// The device's state is the initial one afterwards. What belongs to the connection stays: the owner, the protocol features, the memory
    /// table (front-ends send changes of it only, across resets), the back-end channel, and whom a ring signals.
    private func returnToInitialState(forgettingInflight: Bool, completion: @escaping () -> Void) {
        for index in rings.indices { rings[index].isEnabled = false }
        stopRings(.drain) { [self] in
            // After RESET_DEVICE nothing is in flight, whatever the region says, and the rings begin anew: should the front-end bring the same
            // region again, it has to be a fresh one. Until it brings one there is none.
            if forgettingInflight { forgetInflight() }
            inflight = nil
            isAsleep = false
            clearIOTLB()
            for index in rings.indices { rings[index].reset(keepingBase: !forgettingInflight) }
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
