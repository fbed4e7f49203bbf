import LinuxSystem
import Virtio

/// The messages about one ring.
extension Session {
    func ringIndex(_ index: UInt32) throws(Refusal) -> Int {
        guard index < UInt32(rings.count) else { throw Refusal(.queueIndex, "there is no ring \(index), only 0 to \(rings.count - 1)") }
        return Int(index)
    }

    /// Size, base and areas are the ring's identity for the device: they change only while it does not run.
    private func idleRingIndex(_ index: UInt32) throws(Refusal) -> Int {
        let index = try ringIndex(index)
        guard rings[index].activity == .idle else { throw Refusal(.ringRuns, "ring \(index) runs; stop it with GET_VRING_BASE first") }
        return index
    }

    func setVringSize(_ state: VringState) throws(Refusal) {
        let index = try idleRingIndex(state.index)
        guard let size = Int(exactly: state.number), size >= 1, size <= device.queueSizeMax else {
            throw Refusal(.invalidValue, "a ring of \(state.number) descriptors; 1 to \(device.queueSizeMax) are possible")
        }
        // Before SET_FEATURES the ring's format is not known; a size that does not fit it keeps the ring from starting.
        if featuresAreSet, !VirtqueueLayout.isValid(queueSize: size, features: features) {
            throw Refusal(.invalidValue, "a split ring of \(size) descriptors; the number has to be a power of 2")
        }
        rings[index].size = size
        try startIfReady(index)
        acknowledge()
    }

    func setVringAddress(_ address: VringAddress) throws(Refusal) {
        let index = try ringIndex(address.index)
        let layout = VirtqueueLayout(queueSize: 1, features: features)
        guard
            address.descriptor % UInt64(layout.descriptorAlignment) == 0, address.available % UInt64(layout.driverAlignment) == 0,
            address.used % UInt64(layout.deviceAlignment) == 0
        else { throw Refusal(.invalidValue, "an area of ring \(index) is misaligned") }
        if rings[index].activity == .idle {
            rings[index].address = address
            try startIfReady(index)
            acknowledge()
            return
        }
        // A running ring stays where it is, but its logging is switched with this message (specification, "Migration").
        guard
            let old = rings[index].address, old.descriptor == address.descriptor, old.available == address.available,
            old.used == address.used
        else { throw Refusal(.ringRuns, "ring \(index) runs; stop it with GET_VRING_BASE before it moves") }
        rings[index].address = address
        guard Ring.usedLogAddress(address) != Ring.usedLogAddress(old) else {
            acknowledge()
            return
        }
        changeLog(ofRings: [index]) { [self] in acknowledge() }
    }

    func setVringBase(_ state: VringState) throws(Refusal) {
        let index = try idleRingIndex(state.index)
        if !features.contains(.ringPacked), state.number > UInt32(UInt16.max) {
            throw Refusal(.invalidValue, "base \(state.number) of a split ring; it is an index of 16 bits")
        }
        rings[index].base = RingBase(rawValue: state.number)
        acknowledge()
    }

    /// Stops the ring and tells where it would go on. Only this ring is waited for.
    func getVringBase(_ state: VringState) throws(Refusal) {
        let index = try ringIndex(state.index)
        // The bit alone decides, not the message's number.
        let mode: RingStop = protocolFeatures.contains(.getVringBaseInflight) ? .leaveInflight : .drain
        stopRing(index, mode) { [self] base in
            rings[index].isStarted = false
            rings[index].kick = nil
            rings[index].isPolled = false
            rings[index].breakage = nil
            // From here on QEMU does not tell what its IOMMU takes back.
            if usesIOTLB, rings.allSatisfy({ !$0.isStarted && $0.activity == .idle }) { clearIOTLB() }
            answer(.vringState(VringState(index: state.index, number: base.rawValue)))
        }
    }

    func setVringEnable(_ state: VringState) throws(Refusal) {
        let index = try ringIndex(state.index)
        switch state.number {
        case 0:
            rings[index].isEnabled = false
            stopRing(index, .drain) { [self] _ in acknowledge() }
        case 1:
            rings[index].isEnabled = true
            if let breakage = rings[index].breakage { throw Refusal(.device, "ring \(index) is broken: \(breakage)") }
            try startIfReady(index)
            acknowledge()
        default: throw Refusal(.invalidValue, "\(state.number) is neither 0, disable, nor 1, enable")
        }
    }

    /// The ring and descriptor of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR; no descriptor if bit 8 says so.
    func notifier(
        _ reference: VringDescriptorReference, _ descriptors: [FileDescriptor]
    ) throws(Refusal) -> (index: Int, descriptor: FileDescriptor?) {
        // An index above 255 would reach into the bits that are to be zero: do not take it for another ring.
        guard reference.reserved == 0 else { throw Refusal(.queueIndex, "bits 9 to 63 are not zero") }
        let index = try ringIndex(UInt32(reference.index))
        guard descriptors.count == (reference.hasDescriptor ? 1 : 0) else {
            throw Refusal(.descriptors, "\(descriptors.count) descriptors came, bit 8 says \(reference.hasDescriptor ? "1" : "none")")
        }
        if let descriptor = descriptors.first { try host.checkNotifier(descriptor) }
        return (index, descriptors.first)
    }

    /// Starts the ring; one that runs goes on with the other descriptor, and whether it is enabled is not touched.
    func setVringKick(_ index: Int, _ kick: FileDescriptor?) throws(Refusal) {
        rings[index].kick = kick
        rings[index].isPolled = kick == nil
        rings[index].isStarted = true
        if rings[index].activity == .running {
            device.changeRing(index, .kick(kick, isPolled: kick == nil)) { [self] in acknowledge() }
        } else {
            try startIfReady(index)
            acknowledge()
        }
    }

    /// Acknowledged when the data path uses the new descriptor: what the front-end does next may rely on it.
    func setVringCall(_ index: Int, _ call: FileDescriptor?) {
        rings[index].call = call
        rings[index].callWasSet = true
        change(index, .call(call))
    }

    func setVringError(_ index: Int, _ error: FileDescriptor?) {
        rings[index].error = error
        change(index, .error(error))
    }

    private func change(_ index: Int, _ change: RingChange) {
        if rings[index].activity == .running {
            device.changeRing(index, change) { [self] in acknowledge() }
        } else {
            acknowledge()
        }
    }
}
