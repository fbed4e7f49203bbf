import LinuxSystem
import Virtio

/// What a session knows of the dirty log.
struct SessionLog {
    /// The log of SET_LOG_BASE.
    var log: DirtyLog?
    /// The eventfd of SET_LOG_FD.
    var notifier: FileDescriptor?
    /// A ring ran with VHOST_F_LOG_ALL before there was a log: what it wrote is not known.
    var hasUnknownWrites = false
}

/// The dirty log of a live migration (specification, "Migration").
extension Session {
    /// Answered when all rings log there: from then on the front-end collects the old log for the last time.
    func setLogBase(_ description: LogDescription, _ descriptor: FileDescriptor) throws(Refusal) {
        guard description.size > 0 else { throw Refusal(.invalidValue, "a dirty log of size 0") }
        guard !description.offset.addingReportingOverflow(description.size).overflow else {
            throw Refusal(.invalidValue, "a dirty log of \(description.size) bytes at \(description.offset) ends past 2^64")
        }
        guard description.size <= limits.logByteCountMax else {
            throw Refusal(.limit, "a dirty log of \(description.size) bytes; \(limits.logByteCountMax) are the limit")
        }
        let mapping = try host.map(descriptor, offset: description.offset, size: description.size)
        let log = unsafe DirtyLog(base: mapping.base, byteCount: description.size, owner: mapping.owner)
        // "large enough to cover all known guest addresses": pages without a bit would be missing after the migration.
        if let end = memoryTable.memory?.end, end > log.end {
            throw Refusal(
                .invalidValue, "a dirty log of \(description.size) bytes, which end at guest address \(log.end); memory ends at \(end)")
        }
        logging.log = log
        changeLog(ofRings: rings.indices) { [self] in
            if logging.hasUnknownWrites, features.contains(.logAll) { markAllMemory(in: log) }
            logging.hasUnknownWrites = false
            answer(.u64(0))
        }
    }

    /// The pages of the regions only: what else the log has bits for is no memory, and may be all of 2^47 addresses.
    private func markAllMemory(in log: DirtyLog) {
        for region in memoryTable.memory?.regions ?? [] { log.markAll(from: region.guestAddress, byteCount: region.size) }
    }

    /// "it may be used to inform the front-end that the log has been modified".
    func setLogDescriptor(_ descriptor: FileDescriptor) throws(Refusal) {
        try host.checkNotifier(descriptor)
        logging.notifier = descriptor
        changeLog(ofRings: rings.indices) { [self] in acknowledge() }
    }

    #if DEBUG
        /// The control of the migration tests, in debug builds only: a daemon that promises to log, and does not.
        private static let isLoggingOff = ProcessSelf.environment("VHUBLK_TEST_NO_DIRTY_LOG") != nil
    #endif

    /// How a ring logs whose areas are in `memory`; nil when it does not.
    func ringLog(_ index: Int, in memory: GuestMemory?) -> RingLog? {
        #if DEBUG
            if Self.isLoggingOff { return nil }
        #endif
        guard let log = logging.log else { return nil }
        let logsBuffers = features.contains(.logAll)
        let areas = ringAreas(index)
        // QEMU gives the used ring's I/O virtual address with an IOMMU, and looks for the bits where its pages are in guest memory.
        let used = rings[index].address.flatMap(Ring.usedLogAddress).flatMap { address in
            areas.last.map { logged((address, $0.length), in: memory) }
        }
        guard logsBuffers || used != nil else { return nil }
        let descriptors = used != nil && features.contains(.ringPacked) ? loggedDescriptors(areas.first, in: memory) : nil
        return RingLog(log: log, logsBuffers: logsBuffers, used: used, descriptors: descriptors, notifier: logging.notifier)
    }

    /// Where a packed ring's descriptors are in guest-physical memory.
    private func loggedDescriptors(_ area: Area?, in memory: GuestMemory?) -> LoggedArea? {
        guard let area, let memory else { return nil }
        if memory.isTranslated || protocolFeatures.contains(.guestPhysicalAddresses) { return logged(area, in: memory) }
        let place = unsafe memory.view.translateFrontend(area.address, length: area.length)
        return unsafe place.flatMap { unsafe memory.guestAddress(of: $0) }.map { LoggedArea($0) }
    }

    /// Tells the device how rings log now; the completion comes when the data path of all of them does.
    func changeLog(ofRings indices: some Sequence<Int>, completion: @escaping () -> Void) {
        var remaining = 1
        let one: () -> Void = {
            remaining -= 1
            if remaining == 0 { completion() }
        }
        let memory = ringMemory
        for index in indices where rings[index].activity != .idle {
            remaining += 1
            device.changeRing(index, .log(ringLog(index, in: memory)), completion: one)
        }
        one()
    }

    /// QEMU, when it connects again during a migration, starts the rings with VHOST_F_LOG_ALL set and gives the log afterwards. What is
    /// written until then is not known page by page: all memory is marked when the log comes.
    func noteUnloggedRing() {
        guard features.contains(.logAll), logging.log == nil else {
            if !features.contains(.logAll) { logging.hasUnknownWrites = false }
            return
        }
        if rings.contains(where: { $0.activity != .idle }) { logging.hasUnknownWrites = true }
    }

    /// Memory that was added past the log's end: QEMU gives the longer log first, so that this is worth a line.
    func warnOfShortLog() {
        guard features.contains(.logAll), let log = logging.log, let end = memoryTable.memory?.end, end > log.end else { return }
        // A key of its own: a log that was refused before was told as such.
        warnOnce(
            FrontendRequest.setLogBase.rawValue | 1 << 30,
            "the dirty log ends at guest address \(log.end), memory at \(end): writes past the log are lost to a migration")
    }
}
