import LinuxSystem
import Virtio

extension Session {
    /// Checks what every message has in common: it is legal now, its descriptors are as many as they should be, its payload reads.
    func check(_ message: Message, as request: FrontendRequest) throws(Refusal) -> Payload {
        let shape = request.shape
        switch shape.gate {
        case .always: break
        case .offered(let bit):
            guard offeredProtocolFeatures.contains(bit) else { throw Refusal(.notNegotiated, "\(bit) is not offered") }
        case .negotiated(let bit):
            guard protocolFeatures.contains(bit) else { throw Refusal(.notNegotiated, "\(bit) is not negotiated") }
        case .feature(let bit):
            guard features.contains(bit) else { throw Refusal(.notNegotiated, "\(bit) is not negotiated") }
        }
        let count = message.descriptors.count
        guard !message.lostDescriptors, shape.descriptorCount.contains(count) else {
            let wanted = shape.descriptorCount
            let range = wanted.lowerBound == wanted.upperBound ? "\(wanted.lowerBound)" : "\(wanted.lowerBound) to \(wanted.upperBound)"
            throw Refusal(.descriptors, "\(message.lostDescriptors ? "too many" : "\(count)") descriptors came, \(range) are needed")
        }
        do throws(PayloadError) {
            return try message.decode(shape.payload)
        } catch {
            throw Refusal(.malformed, error.description)
        }
    }

    /// Does what a message asks. Each handler ends the message, or throws.
    func perform(_ request: FrontendRequest, _ payload: Payload, _ descriptors: [FileDescriptor]) throws(Refusal) {
        switch (request, payload) {
        case (.getFeatures, _): answer(.u64(device.offeredFeatures.union(.protocolFeatures).rawValue))
        case (.setFeatures, .u64(let bits)): try setFeatures(VirtioFeatures(rawValue: bits))
        case (.getProtocolFeatures, _): answer(.u64(offeredProtocolFeatures.rawValue))
        case (.setProtocolFeatures, .u64(let bits)): try setProtocolFeatures(ProtocolFeatures(rawValue: bits))
        case (.getQueueCount, _): answer(.u64(UInt64(rings.count)))
        case (.setOwner, _):
            // Sent again by front-ends that reset a device; there is nobody else who could own the session.
            isOwned = true
            acknowledge()
        case (.resetOwner, _): resetOwner()
        case (.setMemoryTable, .memoryTable(let regions)): try setMemoryTable(regions, descriptors)
        case (.addMemoryRegion, .memoryRegion(let region)): try addMemoryRegion(region, descriptors[0])
        case (.removeMemoryRegion, .memoryRegion(let region)): try removeMemoryRegion(region)
        case (.iotlbMessage, .iotlb(let message)): try iotlbMessage(message)
        case (.getMemorySlotCount, _): answer(.u64(UInt64(limits.memoryRegionCountMax)))
        case (.setBackendChannel, _): try setBackendChannel(descriptors[0])
        case (.getConfig, .config(let access)): getConfig(access)
        case (.setConfig, .config(let access)): try setConfig(access)
        case (.resetDevice, _): resetDevice()
        case (.setStatus, .u64(let value)): try setStatus(value)
        case (.getStatus, _): answer(.u64(UInt64(deviceStatus)))
        case (.getInflightDescriptor, .inflight(let wanted)): getInflightDescriptor(wanted)
        case (.setInflightDescriptor, .inflight(let given)): try setInflightDescriptor(given, descriptors[0])
        // A disk has no shared memory regions.
        case (.getSharedMemoryConfig, _): answer(.sharedMemoryConfig(SharedMemoryConfig(sizes: [])))
        // Their number as a u64, and none follows.
        case (.crosvmGetSharedMemoryRegions, _): answer(.u64(0))
        case (.crosvmSnapshot, _): snapshot()
        case (.crosvmRestore, .opaque(let bytes)): restore(bytes, descriptors)
        case (.crosvmSleep, _): sleep()
        case (.crosvmWake, _): wake()
        case (.setLogBase, .log(let description)): try setLogBase(description, descriptors[0])
        case (.setDeviceStateDescriptor, .deviceState(let transfer)): try setDeviceState(transfer, descriptors[0])
        case (.checkDeviceState, _): try checkDeviceState()
        case (.setLogDescriptor, _): try setLogDescriptor(descriptors[0])
        case (.postcopyAdvise, _): try postcopyAdvise()
        case (.postcopyListen, _): try postcopyListen()
        case (.postcopyEnd, _): try postcopyEnd()
        default: try performOnRing(request, payload, descriptors)
        }
    }

    private func performOnRing(_ request: FrontendRequest, _ payload: Payload, _ descriptors: [FileDescriptor]) throws(Refusal) {
        switch (request, payload) {
        case (.setVringSize, .vringState(let state)): try setVringSize(state)
        case (.setVringAddress, .vringAddress(let address)): try setVringAddress(address)
        case (.setVringBase, .vringState(let state)): try setVringBase(state)
        case (.getVringBase, .vringState(let state)): try getVringBase(state)
        case (.setVringEnable, .vringState(let state)): try setVringEnable(state)
        case (.vringKick, .vringState(let state)): try vringKick(state)
        case (.setVringKick, .vringDescriptor(let reference)):
            let (index, kick) = try notifier(reference, descriptors)
            try setVringKick(index, kick)
        case (.setVringCall, .vringDescriptor(let reference)):
            let (index, call) = try notifier(reference, descriptors)
            setVringCall(index, call)
        case (.setVringError, .vringDescriptor(let reference)):
            let (index, error) = try notifier(reference, descriptors)
            setVringError(index, error)
        default: throw Refusal(.unsupported, "this back-end does not serve it")
        }
    }

    // MARK: Negotiation

    /// What GET_PROTOCOL_FEATURES answers.
    public var offeredProtocolFeatures: ProtocolFeatures {
        device.offeredProtocolFeatures.intersection(Self.servedProtocolFeatures)
    }

    private func setFeatures(_ bits: VirtioFeatures) throws(Refusal) {
        let unknown = bits.subtracting(device.offeredFeatures.union(.protocolFeatures))
        guard unknown.isEmpty else { throw Refusal(.invalidValue, "not offered: \(unknown)") }
        let wanted = bits.subtracting(.protocolFeatures)
        let changed = wanted.symmetricDifference(features)
        // Only logging may be switched under a running ring (specification, "Migration"); everything else changes the ring's own format.
        if !changed.subtracting(.logAll).isEmpty, let index = rings.firstIndex(where: { $0.activity != .idle }) {
            throw Refusal(.ringRuns, "ring \(index) runs; what would change: \(changed)")
        }
        if changed.contains(.ringPacked) {
            // A base says something about one format only.
            for index in rings.indices { rings[index].base = nil }
        }
        // The front-end says nothing of what its IOMMU takes back while the device stands still.
        if rings.allSatisfy({ $0.activity == .idle }) { clearIOTLB() }
        let isFirst = !featuresAreSet
        features = wanted
        featuresAreSet = true
        if isFirst || !changed.isEmpty { device.featuresDidChange(wanted) }
        // "the back-end must enable all rings immediately" (specification, "Ring states").
        if !bits.contains(.protocolFeatures) {
            for index in rings.indices { rings[index].isEnabled = true }
            try startReadyRings()
        }
        guard changed.contains(.logAll) else { return acknowledge() }
        // Acknowledged when every ring logs, or none does any more: from then on the front-end relies on it.
        noteUnloggedRing()
        changeLog(ofRings: rings.indices) { [self] in acknowledge() }
    }

    private func setProtocolFeatures(_ bits: ProtocolFeatures) throws(Refusal) {
        let unknown = bits.subtracting(offeredProtocolFeatures)
        guard unknown.isEmpty else { throw Refusal(.invalidValue, "not offered: \(unknown)") }
        if bits.contains(.inbandNotifications), !bits.isSuperset(of: [.backendChannel, .replyAck]) {
            // There is no other way to tell this error (specification, "In-band notifications").
            fail(.illegalProtocolFeatures(bits))
            return
        }
        protocolFeatures = bits
        acknowledge()
    }
}
