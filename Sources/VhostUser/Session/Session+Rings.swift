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
        guard let size = ring.size, let address = ring.address, let memory = ringMemory else { return }
        guard VirtqueueLayout.isValid(queueSize: size, features: features) else {
            throw Refusal(.invalidValue, "ring \(index) cannot have \(size) descriptors")
        }
        // With an IOMMU it starts when its areas are translated.
        guard let addresses = try locate(index, size, address, in: memory) else { return }
        let configuration = RingConfiguration(
            size: size, addresses: addresses, memory: memory, base: ring.base ?? defaultBase, features: features, kick: ring.kick,
            isPolled: ring.isPolled, call: try callDescriptor(index), error: ring.error, log: ringLog(index),
            inflight: try inflightPart(index, size))
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

    /// Finds a ring's areas in guest memory; each has to lie in one region, aligned as the format demands, and no two may share a byte. nil
    /// when a translation is missing, which is asked for.
    func locate(_ index: Int, _ size: Int, _ address: VringAddress, in memory: GuestMemory) throws(Refusal) -> RingAddresses? {
        let layout = VirtqueueLayout(queueSize: size, features: features)
        let areas = [
            (address.descriptor, UInt64(layout.descriptorBytes)), (address.available, UInt64(layout.driverBytes)),
            (address.used, UInt64(layout.deviceBytes)),
        ]
        if memory.isTranslated, !areTranslated(areas, in: memory) { return nil }
        for (first, second) in [(0, 1), (0, 2), (1, 2)] {
            let (lower, upper) = areas[first].0 <= areas[second].0 ? (areas[first], areas[second]) : (areas[second], areas[first])
            if upper.0 - lower.0 < lower.1 { throw Refusal(.memory, "areas of ring \(index) overlap") }
        }
        guard
            let descriptors = unsafe place(of: areas[0], in: memory), let driver = unsafe place(of: areas[1], in: memory),
            let device = unsafe place(of: areas[2], in: memory)
        else { throw Refusal(.memory, "an area of ring \(index) is outside guest memory, or crosses the end of a region") }
        // A region may be mapped from any offset, so that what is aligned for the front-end need not be so here.
        let isAligned =
            UInt(bitPattern: descriptors) % UInt(layout.descriptorAlignment) == 0
            && UInt(bitPattern: driver) % UInt(layout.driverAlignment) == 0 && UInt(bitPattern: device) % UInt(layout.deviceAlignment) == 0
        guard isAligned else {
            throw Refusal(.memory, "an area of ring \(index) is misaligned where its memory region is mapped")
        }
        return unsafe RingAddresses(descriptors: descriptors, driver: driver, device: device)
    }

    /// Whether the IOTLB has all of the areas; asks for what is missing. The device area and a packed ring's descriptors are written, and a
    /// driver has no reason to map the others otherwise than the whole ring.
    private func areTranslated(_ areas: [(UInt64, UInt64)], in memory: GuestMemory) -> Bool {
        var view = memory.view
        var isComplete = true
        for (number, area) in areas.enumerated() {
            let access: MemoryAccess = number == 2 || number == 0 && features.contains(.ringPacked) ? .readWrite : .read
            var (address, rest) = area
            while rest > 0 {
                let count = UInt64(unsafe view.prefix(address, rest, for: access).count)
                if count == 0 {
                    ask(MemoryMiss(address: address, access: access))
                    isComplete = false
                    break
                }
                // No overflow: what is translated ends at 2^64 at the latest, and then nothing is left.
                address &+= count
                rest -= count
            }
        }
        return isComplete
    }

    /// Where an area is mapped, if it lies in one region. Its address is the front-end's own, or the guest's with GPA_ADDRESSES, or with an
    /// IOMMU an I/O virtual one.
    private func place(of area: (address: UInt64, length: UInt64), in memory: GuestMemory) -> UnsafeMutableRawPointer? {
        var view = memory.view
        guard memory.isTranslated || protocolFeatures.contains(.guestPhysicalAddresses) else {
            return unsafe view.translateFrontend(area.address, length: area.length)
        }
        return unsafe view.translate(area.address, area.length)
    }

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
