public import ArgumentParser
public import ControlAPI

extension CPUList: ExpressibleByArgument {
    /// CPUs on the command line, as `0-3,8`.
    public init?(argument: String) { self.init(parsing: argument) }
}

extension EngineChoice: ExpressibleByArgument {}
extension PollChoice: ExpressibleByArgument {}
extension DirectIOChoice: ExpressibleByArgument {}

extension ErrorChoice: ExpressibleByArgument {
    /// Reads the word; the parser tells those there are.
    public init?(argument: String) { self.init(parsing: argument) }
}
