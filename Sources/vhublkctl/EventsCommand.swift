import ArgumentParser
import ControlAPI
import LinuxSystem

/// `vhublkctl events`
struct EventsCommand: DaemonCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Prints what happens to exports as it happens, one JSON object a line.",
        discussion: """
            Ends with the daemon, or after --count events or --timeout seconds. An event 'lost' stands for those that were missed because \
            what reads the output does not keep up. docs/control-api.md lists events and their members.
            """)

    @ParentCommand var root: Vhublkctl
    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The export's name. (default: all)", completion: ExportCommand.nameCompletion)
    var name: String?
    @Option(help: ArgumentHelp("How many events to print; without end when it is not given.", valueName: "n"))
    var count: Int?
    @Option(help: ArgumentHelp("For how long to wait for events, 0 to 86400; without end when it is not given.", valueName: "seconds"))
    var timeout: Double?

    func validate() throws {
        guard count.map({ $0 > 0 }) ?? true else { throw ValidationError("--count takes at least 1") }
        guard timeout.map({ (0...86400).contains($0) }) ?? true else { throw ValidationError("--timeout takes 0 to 86400 seconds") }
    }

    func run() throws {
        let client = try connect()
        let deadline = timeout.map { MonotonicClock.now() &+ UInt64($0 * 1e9) }
        try CommandFailure.wrapping { () throws(ControlClient.Failure) in _ = try client.call(EventsSubscribe.self, .init(name: name)) }
        var printed = 0
        while count.map({ printed < $0 }) ?? true {
            let limit = deadline ?? MonotonicClock.now() &+ 3600 * 1_000_000_000
            let event = try CommandFailure.wrapping { () throws(ControlClient.Failure) in try client.nextEvent(deadline: limit) }
            if let event {
                Terminal.print(String(decoding: try JSONText.line(event), as: UTF8.self))
                printed += 1
            } else if let deadline, MonotonicClock.now() >= deadline {
                break
            }
        }
    }
}
