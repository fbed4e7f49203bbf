import BlockExport
import ControlAPI
import LinuxSystem
import Logging

extension ExportEvent {
    /// One line in the log, at a level that the event deserves.
    func write(to log: Logger) {
        switch self {
        case .connected(let process, let user):
            log.info("a front-end connected", metadata: ["pid": "\(process ?? 0)", "uid": "\(user.map(String.init) ?? "unknown")"])
        case .refusedSecondFrontend(let process):
            log.warning("a second front-end was turned away: the export has one", metadata: ["pid": "\(process ?? 0)"])
        case .negotiated(let features, _): log.info("features negotiated: 0x\(String(features, radix: 16))")
        case .ringStarted(let queue, let cpu): log.info("queue \(queue) started on CPU \(cpu)")
        case .ringStopped(let queue): log.debug("queue \(queue) stopped")
        case .ringFailed(let queue, let reason): log.warning("queue \(queue) failed: \(reason)")
        case .recovered(let queue, let requests): log.notice("queue \(queue): \(requests) requests that were left in flight are done again")
        case .migrating(true): log.notice("a migration began: writes to guest memory are logged")
        case .migrating(false): log.notice("the migration is over: nothing is logged any more")
        case .stateMoved(let isLoaded): log.info("the device's state was \(isLoaded ? "loaded" : "saved")")
        case .held(let error): log.warning("the backing fails requests, which are held: \(error)")
        case .holdEnded(let requests, let timeouts, let nanoseconds):
            let failed = timeouts > 0 ? ", \(timeouts) of them until their time was over, which got their error" : ""
            log.notice("no request is held any more: \(requests) were, for \(nanoseconds / 1_000_000) ms in all\(failed)")
        case .resized(let bytes): log.info("resized to \(bytes) bytes")
        case .disconnected(let reason): log.info("the front-end disconnected\(reason.map { ": \($0)" } ?? "")")
        case .notice(let text): log.notice("\(text)")
        }
    }

    /// The event as the control socket tells it.
    func info(of export: String) -> EventInfo {
        var info = EventInfo(timeNS: WallClock.now(), event: kind, export: export)
        switch self {
        case .connected(let process, let user):
            info.pid = process.map(Int.init)
            info.uid = user.map(Int.init)
        case .refusedSecondFrontend(let process): info.pid = process.map(Int.init)
        case .negotiated(_, let names): info.features = names
        case .ringStarted(let queue, let cpu): (info.queue, info.cpu) = (queue, cpu)
        case .ringStopped(let queue): info.queue = queue
        case .ringFailed(let queue, let reason): (info.queue, info.reason) = (queue, reason)
        case .recovered(let queue, let requests): (info.queue, info.requests) = (queue, UInt64(requests))
        case .migrating, .stateMoved: break
        case .held(let error): info.reason = error
        case .holdEnded(let requests, let timeouts, let nanoseconds):
            (info.requests, info.timeouts, info.durationNS) = (requests, timeouts, nanoseconds)
        case .resized(let bytes): info.size = bytes
        case .disconnected(let reason): info.reason = reason
        case .notice(let text): info.reason = text
        }
        return info
    }

    private var kind: EventKind {
        switch self {
        case .connected: .connected
        case .refusedSecondFrontend: .refused
        case .negotiated: .negotiated
        case .ringStarted: .ringStarted
        case .ringStopped: .ringStopped
        case .ringFailed: .ringFailed
        case .recovered: .recovered
        case .migrating(let isOn): isOn ? .migrationStarted : .migrationEnded
        case .stateMoved(let isLoaded): isLoaded ? .stateLoaded : .stateSaved
        case .held: .held
        case .holdEnded: .holdEnded
        case .resized: .resized
        case .disconnected: .disconnected
        case .notice: .notice
        }
    }
}
