import LinuxSystem
import VhostUser
import VhostUserFrontend

/// Migrations, and what else happens to a machine that was not thought of at first.
extension SimulatedWorld {
    // MARK: Migrations

    /// Does something as the guest, seen by the host where its memory is on its way.
    func asGuest<Result>(_ body: () -> Result) -> Result {
        if let transfer { transfer.asGuest(body) } else { body() }
    }

    /// The machine's memory is copied while it runs, and the device logs what it writes.
    func startTransfer() {
        checkEndedLog()
        frontend.startLogging(guest) { [unowned self] in
            guard let log = frontend.log else { return }
            trace.note("the machine begins to move")
            transfer = MemoryTransfer(guest, log)
            report.transfers += 1
        }
    }

    /// It stays where it is.
    func cancelTransfer() {
        let log = frontend.log
        transfer = nil
        frontend.stopLogging(guest) { [unowned self] in
            _ = log?.takePages()
            endedLog = log
        }
    }

    /// A device that was told to log no more sets no bit.
    func checkEndedLog() {
        if let endedLog, !endedLog.takePages().isEmpty { ownProblem = "the device logs after it was told not to" }
        endedLog = nil
    }

    /// The machine moves to another host, where another daemon begins: at the rings' bases, with a region that has seen nothing or, with what
    /// is in flight, with this one; and with the device's state.
    func migrate() {
        // What a dead daemon wrote and did not come to log is logged when its ring starts again, and by nobody before.
        if transfer != nil, let device = daemon?.device, device.begun.count < scenario.queueCount { return }
        plan = .migrate
        // Nobody does again what a stop leaves, unless the region goes along.
        daemon?.device.mayAbandon = scenario.keepsRegion
        frontend.stop(guest) { [unowned self] in
            if let wrong = transfer?.finish() { ownProblem = wrong }
            guard scenario.hasCacheMode else { return arrive() }
            frontend.saveState()
            frontend.onEnd = { [unowned self] in arrive() }
        }
    }

    private func arrive() {
        report.pages += transfer?.pageCount ?? 0
        transfer = nil
        frontend.log = nil
        killDaemon()
        frontend.disconnect()
        if !scenario.keepsRegion { frontend.dropRegion() }
        plan = .run
        report.migrations += 1
    }

    /// Another guest has none of it.
    func forgetMoves() {
        checkEndedLog()
        transfer = nil
        frontend.log = nil
        frontend.state = nil
        frontend.wantsWriteThrough = false
        if scenario.hasFlush { model.setWriteThrough(false) }
    }

    // MARK: The backing

    /// The disk fails everything for a while, and with held requests nobody but the disk notices.
    func beAway() {
        guard scenario.holds else { return }
        trace.note("the disk is away")
        disk.goAway(until: now + UInt64(dice.number(50...900)))
        report.outages += 1
    }

    /// The guest chooses whether completed writes may be lost until a FLUSH.
    func chooseCacheMode() {
        guard scenario.hasCacheMode else { return }
        let isWriteThrough = dice.once(in: 2)
        trace.note("the guest chooses write-\(isWriteThrough ? "through" : "back")")
        frontend.wantsWriteThrough = isWriteThrough
        if !isWriteThrough { model.setWriteThrough(false) }
        frontend.chooseCacheMode(isWriteThrough: isWriteThrough) { [unowned self] in
            if isWriteThrough { model.setWriteThrough(true) }
        }
    }

    // MARK: The IOMMU

    /// A buffer that no request uses gets other memory, and the device hears that its translation is void.
    func moveBuffer() {
        if isLeaving { return }
        let isMoved = guest.move { address, size in
            guard let daemon else { return true }
            daemon.device.keepsTranslations = broken == .world(.invalidationBeforeAnswer)
            defer { daemon.device.keepsTranslations = false }
            return frontend.invalidate(address, size, daemon.session)
        }
        if isMoved { report.remaps += 1 }
    }

    /// All translations are void, those of the rings too. They are the same as before.
    func invalidate(_ daemon: (session: Session, device: SimulatedDevice)) {
        guard scenario.hasIOMMU else { return }
        if frontend.invalidate(0, 0, daemon.session) { report.invalidations += 1 }
    }
}
