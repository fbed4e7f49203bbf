// Owner "system": delete this whole file when URingEngine/URingChannel(engine:backing:) and AIOEngine/AIOChannel(engine:backing:) land;
// adapt the four call sites in BlockExport (PollerLoop.ioURing/libaio, QueueSetup.makeQueue) to your initialisers in the same commit.
public import LinuxSystem
public final class URingEngine: IOEngine { public init(cpu: Int) throws(SystemError) {} }
public final class AIOEngine: IOEngine { public init(x: Int = 0) throws(SystemError) {} }
public final class URingChannel: IOChannel { public init(engine: URingEngine, backing: Backing) {}
 public func add(_ operation: UnsafeMutablePointer<IOOperation>) {}
 public func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {}
 public func close() {}
 public var counters: IOChannelCounters { IOChannelCounters() } }
public final class AIOChannel: IOChannel { public init(engine: AIOEngine, backing: Backing) {}
 public func add(_ operation: UnsafeMutablePointer<IOOperation>) {}
 public func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {}
 public func close() {}
 public var counters: IOChannelCounters { IOChannelCounters() } }
