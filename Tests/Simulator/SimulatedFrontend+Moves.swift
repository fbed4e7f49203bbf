import LinuxSystem
import VhostUser
import VhostUserFrontend
import Virtio

/// What a front-end does for a migration: the dirty log, and the device's state.
extension SimulatedFrontend {
    /// What SET_FEATURES says now.
    var features: VirtioFeatures {
        let features = scenario.features.union(.protocolFeatures)
        return log == nil ? features : features.union(.logAll)
    }

    // MARK: The dirty log

    /// Has the device log its writes, in QEMU's order; `end` comes when it does.
    func startLogging(_ guest: SimulatedGuest, then end: @escaping () -> Void) {
        guard let log = try? DirtyBitmap(byteCount: guest.logBytes) else { preconditionFailure("this machine has no memory for a log") }
        ask(.setLogBase, .log(LogDescription(size: log.byteCount, offset: log.offset)), descriptors: [log.file]) { [unowned self] in
            isZero($0, "SET_LOG_BASE")
        }
        tell(.setFeatures) { [unowned self] in .u64(features.union(.logAll).rawValue) }
        // Until all is told a front-end that connects again begins without a log.
        for index in guest.queues.indices { tellAddress(index, guest, log: log) }
        onEnd = { [unowned self] in
            self.log = log
            end()
        }
    }

    /// Has it log no more. At `end` it has set its last bit.
    func stopLogging(_ guest: SimulatedGuest, then end: @escaping () -> Void) {
        log = nil
        onEnd = end
        tell(.setFeatures) { [unowned self] in .u64(features.rawValue) }
        for index in guest.queues.indices { tellAddress(index, guest) }
    }

    /// The log to a device that begins in the middle of a migration.
    func tellLog() {
        hasToldLog = log == nil
        guard let log else { return }
        let before = broken == .world(.unknownWritesAreMarked)
        ask(.setLogBase, .log(LogDescription(size: log.byteCount, offset: log.offset)), descriptors: [log.file]) { [unowned self] in
            isZero($0, "SET_LOG_BASE")
            hasToldLog = true
            if before { _ = log.takePages() }
        }
    }

    private func isZero(_ answer: Message, _ name: String) {
        if case .u64(0)? = try? answer.decode(.u64) { return }
        problem = "\(name) was refused"
    }

    func tellAddress(_ index: Int, _ guest: SimulatedGuest, log explicit: DirtyBitmap? = nil) {
        let area = guest.queues[index].ring.area
        let isTranslated = scenario.hasIOMMU
        tell(.setVringAddress) { [unowned self] in
            let place = { (part: SharedBuffer) in isTranslated ? part.guestAddress : part.frontendAddress }
            let isLogged = (explicit ?? log) != nil
            return .vringAddress(
                VringAddress(
                    index: UInt32(index), flags: isLogged ? VringAddress.logFlag : 0, descriptor: place(area.descriptors),
                    used: place(area.device), available: place(area.driver), log: isLogged ? area.device.guestAddress : 0))
        }
    }

    // MARK: The device's state

    /// Takes the state of a device whose rings have stopped.
    func saveState() {
        guard let (own, other) = try? UnixSocket.pair() else { preconditionFailure("this machine has no sockets") }
        moveState(0, other) { [unowned self] in
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = (try? unsafe bytes.withUnsafeMutableBytes { try unsafe own.read(into: $0) }) ?? 0
            state = Array(bytes.prefix(count))
        }
    }

    /// What a device has to know before its rings start: the state of the one before, or else what the guest chose.
    func bringState() {
        if let state {
            guard let (own, other) = try? UnixSocket.pair() else { preconditionFailure("this machine has no sockets") }
            _ = try? unsafe state.withUnsafeBytes { try unsafe own.write($0) }
            UnixSocket.shutdown(own)
            moveState(1, other) { [unowned self] in
                _ = own
                self.state = nil
            }
        } else if scenario.hasCacheMode, wantsWriteThrough {
            chooseCacheMode(isWriteThrough: true) {}
        }
    }

    private func moveState(_ direction: UInt32, _ channel: FileDescriptor, then end: @escaping () -> Void) {
        ask(.setDeviceStateDescriptor, .deviceState(DeviceStateTransfer(direction: direction, phase: 0)), descriptors: [channel])
        ask(.checkDeviceState) { [unowned self] in
            isZero($0, "CHECK_DEVICE_STATE")
            end()
        }
    }

    /// The guest's choice of cache mode (SET_CONFIG); `end` comes when the device has it.
    func chooseCacheMode(isWriteThrough: Bool, then end: @escaping () -> Void) {
        let access = ConfigAccess(
            offset: UInt32(BlockConfigSpace.writebackOffset), size: 1, bytes: [isWriteThrough ? 0 : 1])
        tell(.setConfig) { .config(access) }
        ask(.getFeatures) { _ in end() }
    }
}
