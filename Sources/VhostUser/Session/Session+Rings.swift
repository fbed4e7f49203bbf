import LinuxSystem
import Virtio

/// Starting and stopping.
extension Session {
    /// Starts every ring that can run and does not.
    func startReadyRings() throws(Refusal) {
        for index in rings.indices { try startIfReady(index) }
    }

    /// Starts a ring if it is started and enabled in the specification's sense, complete, and idle.
    func startIfReady(_ index: Int) throws(Refusal) {
        let ring = rings[index]
        // A session that ends may still get the completion of a change of memory, but nothing starts any more.
        guard !isClosed, !isAsleep, ring.isStarted, ring.isEnabled, ring.activity == .idle, ring.breakage == nil else { return }
        guard let size = ring.size, let memory = ringMemory else { return }
        guard VirtqueueLayout.isValid(queueSize: size, features: features) else {
            throw Refusal(.invalidValue, "ring \(index) cannot have \(size) descriptors")
        }
        // With an IOMMU it starts when its areas are translated.
        guard let place = try locate(index, in: memory, of: memoryTable) else { return }
        let configuration = RingConfiguration(
            size: size, addresses: place.addresses, memory: memory, base: ring.base ?? defaultBase, features: features, kick: ring.kick,
            isPolled: ring.isPolled, call: try callDescriptor(index), error: ring.error, log: place.log,
            inflight: try inflightPart(index, size), joined: place.joined)
        do throws(RingStartError) {
            try device.startRing(index, configuration)
        } catch {
            throw Refusal(.device, "ring \(index) does not start: \(error)")
        }
        rings[index].activity = .running
        rings[index].miss = nil
        rings[index].isSuspended = false
        noteUnloggedRing()
        flushConfigChange()
    }

    /// Where a ring begins that nobody gave a base.
    var defaultBase: RingBase { features.contains(.ringPacked) ? .packedStart : RingBase(split: 0) }

    /// Stops a ring if it runs; the completion gets the base at which it would go on. Other rings go on.
    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void) {
        switch rings[index].activity {
        case .idle:
            completion(rings[index].base ?? defaultBase)
        case .stopping:
            rings[index].stopWaiters.append(completion)
        case .running:
            rings[index].activity = .stopping
            rings[index].stopWaiters = [completion]
            device.stopRing(index, mode) { [self] base in
                // What was used last is told before whatever waits for the stop is.
                callWasSignalled(index)
                rings[index].activity = .idle
                rings[index].joined = [:]
                rings[index].base = base
                let waiters = rings[index].stopWaiters
                rings[index].stopWaiters = []
                for waiter in waiters { waiter(base) }
            }
        }
    }

    /// Stops every ring that runs; the completion comes when the last one has.
    func stopRings(_ mode: RingStop, completion: @escaping () -> Void) {
        var remaining = 1
        let one: () -> Void = {
            remaining -= 1
            if remaining == 0 { completion() }
        }
        for index in rings.indices where rings[index].activity != .idle {
            remaining += 1
            stopRing(index, mode) { _ in one() }
        }
        one()
    }

    /// The device found the ring's contents impossible and does not process it any more. It is stopped; GET_VRING_BASE or a reset frees it.
    public func ringDidBreak(_ index: Int, reason: String) {
        guard !isClosed, rings[index].activity != .idle else { return }
        rings[index].breakage = reason
        // DEVICE_NEEDS_RESET means something only after DRIVER_OK (virtio 1.3, 2.1.2).
        if deviceStatus & DeviceStatus.driverOK != 0 { deviceStatus |= DeviceStatus.needsReset }
        warnOnce(UInt32(index) | 1 << 31, "ring \(index) is broken: \(reason)")
        tellErrorInband(index)
        stopRing(index, .drain) { _ in }
    }
}

/// Bits of the virtio device status (virtio 1.3, 2.1).
enum DeviceStatus {
    static let driverOK: UInt8 = 4
    static let needsReset: UInt8 = 64
}
