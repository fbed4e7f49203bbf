import LinuxSystem
import Virtio

/// crosvm's own messages, from before DEVICE_STATE. Each is answered with a byte, 1 for success and 0 for failure.
extension Session {
    /// SLEEP: no ring is processed until WAKE. Whether rings are started and enabled is not touched.
    func sleep() {
        isAsleep = true
        stopRings(.drain) { [self] in answer(.opaque([1])) }
    }

    /// WAKE: rings that are started and enabled go on where they were.
    func wake() {
        isAsleep = false
        do throws(Refusal) {
            try startReadyRings()
            answer(.opaque([1]))
        } catch {
            warnOnce(FrontendRequest.crosvmWake.rawValue, "WAKE failed: \(error)")
            answer(.opaque([0]))
        }
    }

    /// SNAPSHOT: a byte, 1, and everything that RESTORE needs; 0 and nothing more while a ring runs, whose place is not known then.
    func snapshot() {
        do throws(Refusal) {
            answer(.opaque([1] + (try makeSnapshot())))
        } catch {
            warnOnce(FrontendRequest.crosvmSnapshot.rawValue, "SNAPSHOT failed: \(error)")
            answer(.opaque([0]))
        }
    }

    private func makeSnapshot() throws(Refusal) -> [UInt8] {
        if let index = rings.firstIndex(where: { $0.activity != .idle }) {
            throw Refusal(.ringRuns, "ring \(index) runs; send SLEEP first")
        }
        let isGuestPhysical = protocolFeatures.contains(.guestPhysicalAddresses)
        var snapshot = SessionSnapshot(
            features: featuresAreSet ? features : nil, deviceStatus: deviceStatus, ringCount: rings.count, device: device.state)
        for (index, ring) in rings.enumerated() where ring.size != nil || ring.address != nil || ring.base != nil || ring.isStarted {
            var saved = SessionSnapshot.Ring(index: index, ring)
            // The front-end that restores has its memory elsewhere.
            if let address = ring.address, !isGuestPhysical {
                saved.address = address.mapped { memoryTable.guestAddress(ofFrontend: $0) }
                guard saved.address != nil else { throw Refusal(.memory, "an area of ring \(index) is outside guest memory") }
            }
            snapshot.rings.append(saved)
        }
        let bytes = snapshot.encoded
        guard bytes.count < MessageLimits.payloadByteCountMax else {
            throw Refusal(.limit, "\(snapshot.rings.count) rings make \(bytes.count) bytes, more than a message holds")
        }
        return bytes
    }

    /// RESTORE: the bytes of a SNAPSHOT, and the kick descriptors, the first for ring 0 and so on, or none for a device that no driver had
    /// set up. Memory and call descriptors come before, WAKE after.
    func restore(_ bytes: [UInt8], _ kicks: [FileDescriptor]) {
        do throws(Refusal) {
            try restoreSnapshot(bytes, kicks)
            answer(.opaque([1]))
        } catch {
            warnOnce(FrontendRequest.crosvmRestore.rawValue, "RESTORE failed: \(error)")
            answer(.opaque([0]))
        }
    }

    /// Changes nothing unless all of it can be had.
    private func restoreSnapshot(_ bytes: [UInt8], _ kicks: [FileDescriptor]) throws(Refusal) {
        if let index = rings.firstIndex(where: { $0.activity != .idle }) {
            throw Refusal(.ringRuns, "ring \(index) runs; send SLEEP first")
        }
        let snapshot: SessionSnapshot
        do throws(PayloadError) { snapshot = try SessionSnapshot(decoding: bytes) } catch { throw Refusal(.malformed, error.description) }
        guard snapshot.ringCount == rings.count else {
            throw Refusal(.invalidValue, "the snapshot is of a device with \(snapshot.ringCount) rings, this one has \(rings.count)")
        }
        let unknown = (snapshot.features ?? []).subtracting(device.offeredFeatures)
        guard unknown.isEmpty else { throw Refusal(.invalidValue, "not offered: \(unknown)") }
        guard kicks.count <= rings.count else {
            throw Refusal(.descriptors, "\(kicks.count) descriptors came, more than the \(rings.count) rings there are")
        }
        for kick in kicks { try host.checkNotifier(kick) }
        var restored = rings
        for index in restored.indices { restored[index].reset(keepingBase: false) }
        for saved in snapshot.rings { restored[saved.index] = try ring(restored[saved.index], from: saved, snapshot, kicks) }
        if let reason = device.restore(snapshot.device) { throw Refusal(.device, "the device's state cannot be used: \(reason)") }
        rings = restored
        features = snapshot.features ?? []
        featuresAreSet = snapshot.features != nil
        deviceStatus = snapshot.deviceStatus
        device.featuresDidChange(features)
        device.statusDidChange(deviceStatus)
        try startReadyRings()
    }

    /// A ring as it was saved, with the descriptors that this session has.
    private func ring(
        _ fresh: Ring, from saved: SessionSnapshot.Ring, _ snapshot: SessionSnapshot, _ kicks: [FileDescriptor]
    ) throws(Refusal) -> Ring {
        var ring = fresh
        if let size = saved.size {
            let isValid = VirtqueueLayout.isValid(queueSize: size, features: snapshot.features ?? [])
            guard size <= device.queueSizeMax, isValid else { throw Refusal(.invalidValue, "ring \(saved.index) of \(size) descriptors") }
            ring.size = size
        }
        if let address = saved.address {
            let isGuestPhysical = protocolFeatures.contains(.guestPhysicalAddresses)
            ring.address = isGuestPhysical ? address : address.mapped { memoryTable.frontendAddress(ofGuest: $0) }
            guard ring.address != nil else { throw Refusal(.memory, "an area of ring \(saved.index) is outside guest memory") }
        }
        ring.base = saved.base
        ring.isEnabled = saved.isEnabled
        ring.isStarted = saved.isStarted
        ring.isPolled = saved.isPolled
        guard ring.isStarted, !ring.isPolled else { return ring }
        guard kicks.indices.contains(saved.index) else {
            throw Refusal(.descriptors, "ring \(saved.index) was started, and no kick descriptor came for it")
        }
        ring.kick = kicks[saved.index]
        return ring
    }
}

extension VringAddress {
    /// The same areas in another address space, without a log; nil when one is not there.
    fileprivate func mapped(_ place: (UInt64) -> UInt64?) -> VringAddress? {
        guard let descriptor = place(descriptor), let used = place(used), let available = place(available) else { return nil }
        return VringAddress(index: index, descriptor: descriptor, used: used, available: available)
    }
}
