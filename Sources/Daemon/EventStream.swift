import ControlAPI
import LinuxSystem

/// What happens, to whoever subscribed on the control socket. Nothing here waits for a reader.
@ControlActor
final class EventStream {
    /// The most connections that are sent events.
    nonisolated static let subscriberCountMax = 64

    private struct Subscriber {
        var connection: ControlConnection
        /// Whose events it wants; nil: all.
        var export: String?
    }

    private var subscribers: [ObjectIdentifier: Subscriber] = [:]
    /// The number of the last event.
    private(set) var sequence: UInt64 = 0

    /// Sends the events of an export, or all, over a connection from now on; why not where it is one too many.
    func add(_ connection: ControlConnection, export: String?) -> ControlError? {
        let key = ObjectIdentifier(connection)
        // One that has them already takes no room.
        if subscribers[key] == nil, subscribers.count >= Self.subscriberCountMax {
            let message = "\(Self.subscriberCountMax) connections are sent events already"
            return ControlError(.limit, message, hint: "close one of them")
        }
        subscribers[key] = Subscriber(connection: connection, export: export)
        return nil
    }

    /// The connection has ended.
    func remove(_ connection: ObjectIdentifier) { subscribers[connection] = nil }

    /// Tells an event.
    func publish(_ event: EventInfo) {
        sequence += 1
        guard !subscribers.isEmpty else { return }
        var event = event
        event.sequence = sequence
        guard let line = Self.line(event) else { return }
        for subscriber in subscribers.values where subscriber.export == nil || subscriber.export == event.export {
            subscriber.connection.deliver(line, sequence: sequence)
        }
    }

    /// Tells an event without particulars.
    func publish(_ kind: EventKind, export: String, size: UInt64? = nil, reason: String? = nil) {
        var event = EventInfo(timeNS: WallClock.now(), event: kind, export: export)
        (event.size, event.reason) = (size, reason)
        publish(event)
    }

    /// The line that stands for `count` events which a reader missed, the last of them number `sequence`.
    nonisolated static func lost(_ count: UInt64, sequence: UInt64) -> [UInt8] {
        var event = EventInfo(sequence: sequence, timeNS: WallClock.now(), event: .lost, export: nil)
        event.lost = count
        return line(event) ?? []
    }

    private nonisolated static func line(_ event: EventInfo) -> [UInt8]? {
        guard let members = try? JSONText.value(of: event).object else { return nil }
        return try? RPCRequest(id: nil, method: EventsSubscribe.notificationName, parameters: members).line()
    }
}
