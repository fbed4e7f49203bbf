import ArgumentParser
import ControlAPI

/// `vhublkctl poller ...`
struct PollerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "poller", abstract: "Shows the pollers and moves queues between them.",
        subcommands: [List.self, Move.self, Rebalance.self])

    func run() throws { throw CommandMissing(help: Vhublkctl.helpMessage(for: Self.self)) }

    struct List: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the pollers, the queues they run and what crosses NUMA nodes.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions

        func run() throws { try ask(PollerList.self, NoParameters()) { PollerCommand.text($0.pollers) } }
    }

    struct Move: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Moves a queue to the poller of another CPU, without losing a request.",
            discussion: "A queue that does not run starts there. The choice lasts until 'poller rebalance' or the end of the daemon.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions
        @Argument(help: "The export's name.", completion: ExportCommand.nameCompletion)
        var name: String
        @Argument(help: "The queue's index.")
        var queue: Int
        @Argument(help: "The CPU.")
        var cpu: Int

        func run() throws {
            try ask(PollerMove.self, .init(export: name, queue: queue, cpu: cpu)) { PollerCommand.text($0.pollers) }
        }
    }

    struct Rebalance: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Spreads the queues that run over the pollers anew, without losing a request.",
            discussion: "It looks at what each queue does, for a quarter of a second, and gives each CPU about as much to do.")

        @ParentCommand var root: Vhublkctl
        @OptionGroup var connection: ConnectionOptions

        func run() throws {
            try ask(PollerRebalance.self, NoParameters()) { result in
                let lines = result.moved.map { "\($0.export)/\($0.queue) runs on CPU \($0.cpu) now" }
                return lines.isEmpty ? "every queue is where it is best already" : lines.joined(separator: "\n")
            }
        }
    }

    private static func text(_ pollers: [PollerInfo]) -> String {
        var table = TextTable(
            ["CPU", "NODE", "CPU TIME", "BUSY LOOPS", "IDLE LOOPS", "SLEEPS", "QUEUE", "PLACED BY", "CROSSES NODES"],
            rightAligned: [0, 1, 2, 3, 4, 5])
        for poller in pollers {
            let own = [
                "\(poller.cpu)", "\(poller.node)", Quantity.time(poller.cpuTimeNS), "\(poller.busyLoops)", "\(poller.idleLoops)",
                "\(poller.sleeps)",
            ]
            if poller.queues.isEmpty { table.add(own + ["-", "-", "-"]) }
            for (index, queue) in poller.queues.enumerated() {
                let crosses = queue.crossesNodes.isEmpty ? "-" : queue.crossesNodes.joined(separator: ",")
                table.add((index == 0 ? own : own.map { _ in "" }) + ["\(queue.export)/\(queue.queue)", queue.reason, crosses])
            }
        }
        return table.text
    }
}
