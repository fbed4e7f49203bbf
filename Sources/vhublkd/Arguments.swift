public import ArgumentParser
public import ControlAPI
public import Daemon

/// CPUs on the command line.
struct CPUListArgument: ExpressibleByArgument {
    var list: CPUList

    init?(argument: String) {
        guard let list = CPUList(parsing: argument) else { return nil }
        self.list = list
    }
}

extension EngineChoice: ExpressibleByArgument {}
extension PollChoice: ExpressibleByArgument {}
extension LogLevel: ExpressibleByArgument {}
