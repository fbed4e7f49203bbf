public import ArgumentParser
public import ControlAPI

/// A size on the command line.
struct ByteSizeArgument: ExpressibleByArgument {
    var size: ByteSize

    init?(argument: String) {
        guard let size = ByteSize(parsing: argument) else { return nil }
        self.size = size
    }
}

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
extension DirectIOChoice: ExpressibleByArgument {}
extension AttachFormat: ExpressibleByArgument {}
