public import LinuxSystem
public import VhostUser
import Virtio

/// Where a ring lies and how it is announced: what a back-end has to be told of it.
public struct RingEndpoint: Sendable {
    /// The ring's memory.
    public var area: DriverRingArea
    /// Signalled by the driver; nil makes the back-end poll.
    public var kick: FileDescriptor?
    /// Signalled by the device; nil when the driver polls.
    public var call: FileDescriptor?
    /// Signalled when the ring is broken.
    public var error: FileDescriptor?
    /// Kicks and calls go as messages (INBAND_NOTIFICATIONS): neither descriptor is told. `FrontendConnection.kickRing` starts the ring.
    public var isInband = false

    /// A ring and its three descriptors.
    public init(area: DriverRingArea, kick: FileDescriptor?, call: FileDescriptor?, error: FileDescriptor? = nil) {
        self.area = area
        self.kick = kick
        self.call = call
        self.error = error
    }
}

/// Memory tables and rings.
extension FrontendConnection {
    /// Tells the back-end of all regions of `memory`: one by one (ADD_MEM_REG) when that is negotiated and wanted, else with SET_MEM_TABLE.
    public func setMemory(_ memory: DriverMemory, oneByOne: Bool = false) throws(FrontendError) {
        if oneByOne, protocolFeatures.contains(.configureMemorySlots) {
            for index in memory.regions.indices { try addRegion(index, of: memory) }
        } else {
            let regions = memory.regions.indices.map { Self.describe($0, of: memory) }
            try tell(.setMemoryTable, .memoryTable(regions), descriptors: memory.files)
        }
    }

    /// ADD_MEM_REG.
    public func addRegion(_ index: Int, of memory: DriverMemory) throws(FrontendError) {
        try tell(.addMemoryRegion, .memoryRegion(Self.describe(index, of: memory)), descriptors: [memory.files[index]])
    }

    /// REM_MEM_REG.
    public func removeRegion(_ index: Int, of memory: DriverMemory) throws(FrontendError) {
        try tell(.removeMemoryRegion, .memoryRegion(Self.describe(index, of: memory)))
    }

    /// A region as memory tables describe it.
    public static func describe(_ index: Int, of memory: DriverMemory) -> MemoryRegionDescription {
        let region = memory.regions[index]
        return MemoryRegionDescription(
            guestAddress: region.guestAddress &+ memory.tableOffset, size: region.size, frontendAddress: region.frontendAddress,
            mapOffset: memory.fileOffsets[index])
    }

    /// Tells everything of a ring but whether it is enabled, in QEMU's order: size, base, addresses, kick, call, error.
    public func setRing(_ index: Int, _ ring: RingEndpoint, base: UInt32) throws(FrontendError) {
        try setRingSize(index, ring.area.size)
        try setRingBase(index, base)
        try setRingAddress(index, ring.area)
        if !ring.isInband {
            try setKick(index, ring.kick)
            try setCall(index, ring.call)
        }
        if ring.error != nil { try setError(index, ring.error) }
    }

    /// SET_VRING_NUM.
    public func setRingSize(_ index: Int, _ size: Int) throws(FrontendError) {
        try tell(.setVringSize, .vringState(VringState(index: UInt32(index), number: UInt32(size))))
    }

    /// SET_VRING_BASE.
    public func setRingBase(_ index: Int, _ base: UInt32) throws(FrontendError) {
        try tell(.setVringBase, .vringState(VringState(index: UInt32(index), number: base)))
    }

    /// SET_VRING_ADDR with the ring's front-end addresses, or with GPA_ADDRESSES its guest-physical ones, or with ACCESS_PLATFORM I/O virtual ones.
    ///
    /// - Parameter isLogged: VHOST_VRING_F_LOG: writes to the ring are to be in the dirty log, at the guest address of its device area.
    public func setRingAddress(_ index: Int, _ area: DriverRingArea, isLogged: Bool = false) throws(FrontendError) {
        let isGuestPhysical = protocolFeatures.contains(.guestPhysicalAddresses) || features.contains(.accessPlatform)
        let place = { (part: SharedBuffer) in isGuestPhysical ? part.guestAddress : part.frontendAddress }
        let address = VringAddress(
            index: UInt32(index), flags: isLogged ? VringAddress.logFlag : 0, descriptor: place(area.descriptors),
            used: place(area.device), available: place(area.driver), log: isLogged ? area.device.guestAddress : 0)
        try tell(.setVringAddress, .vringAddress(address))
    }

    /// SET_VRING_KICK; without a descriptor the back-end polls.
    public func setKick(_ index: Int, _ descriptor: FileDescriptor?) throws(FrontendError) {
        try setDescriptor(.setVringKick, index, descriptor)
    }

    /// VRING_KICK: the message instead of a signal on the kick descriptor; starts a ring that is stopped.
    public func kickRing(_ index: Int) throws(FrontendError) {
        try tell(.vringKick, .vringState(VringState(index: UInt32(index), number: 0)))
    }

    /// SET_VRING_CALL; without a descriptor the driver polls.
    public func setCall(_ index: Int, _ descriptor: FileDescriptor?) throws(FrontendError) {
        try setDescriptor(.setVringCall, index, descriptor)
    }

    /// SET_VRING_ERR.
    public func setError(_ index: Int, _ descriptor: FileDescriptor?) throws(FrontendError) {
        try setDescriptor(.setVringError, index, descriptor)
    }

    private func setDescriptor(_ request: FrontendRequest, _ index: Int, _ descriptor: FileDescriptor?) throws(FrontendError) {
        let reference = VringDescriptorReference(index: UInt8(index), hasDescriptor: descriptor != nil)
        try tell(request, .vringDescriptor(reference), descriptors: descriptor.map { [$0] } ?? [])
    }

    /// SET_VRING_ENABLE.
    public func setEnabled(_ index: Int, _ isEnabled: Bool) throws(FrontendError) {
        try tell(.setVringEnable, .vringState(VringState(index: UInt32(index), number: isEnabled ? 1 : 0)))
    }

    /// GET_VRING_BASE, which stops the ring; the place where it would go on.
    public func stopRing(_ index: Int) throws(FrontendError) -> UInt32 {
        let answer = try ask(.getVringBase, .vringState(VringState(index: UInt32(index), number: 0))).payload
        guard case .vringState(let state) = answer, state.index == index else {
            throw FrontendError(.protocolViolation, "the back-end answered GET_VRING_BASE of ring \(index) for another ring")
        }
        return state.number
    }

    /// GET_INFLIGHT_FD: a fresh region for `queueCount` queues of `queueSize` entries.
    public func inflightRegion(queueCount: Int, queueSize: Int) throws(FrontendError) -> InflightHandover {
        let wish = InflightDescription(size: 0, offset: 0, queueCount: UInt16(queueCount), queueSize: UInt16(queueSize))
        let answer = try ask(.getInflightDescriptor, .inflight(wish))
        guard case .inflight(let description) = answer.payload, description.size > 0, let file = answer.descriptors.first else {
            throw FrontendError(.refused, "the back-end gave no inflight region")
        }
        return InflightHandover(description: description, file: file)
    }

    /// SET_INFLIGHT_FD.
    public func setInflightRegion(_ region: InflightHandover) throws(FrontendError) {
        try tell(.setInflightDescriptor, .inflight(region.description), descriptors: [region.file])
    }
}

/// The inflight region as it goes from one back-end process to the next.
public struct InflightHandover: Sendable {
    /// Size, offset, queues.
    public var description: InflightDescription
    /// The memory file.
    public var file: FileDescriptor

    /// A region in a file.
    public init(description: InflightDescription, file: FileDescriptor) {
        self.description = description
        self.file = file
    }
}
