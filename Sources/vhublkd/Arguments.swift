public import ArgumentParser
public import Daemon

extension LogLevel: ExpressibleByArgument {}
extension SandboxMode: ExpressibleByArgument {}
