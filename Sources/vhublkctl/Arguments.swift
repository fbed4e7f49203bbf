public import ArgumentParser
public import ControlAPI
public import LinuxSystem

extension ByteSize: ExpressibleByArgument {
    /// A size on the command line, as `10G`.
    public init?(argument: String) { self.init(parsing: argument) }
}

extension AttachFormat: ExpressibleByArgument {}
