import LinuxSystem

/// What sysfs tells of a block device, found by its device number.
struct BlockDeviceAttributes: Equatable, Sendable {
    /// The kernel's name of the whole device: "nvme0n1", "zram0".
    var name: String
    /// Largest discard that the device takes in one command; 0 when it cannot discard.
    var discardBytesMax: UInt64
    /// Unit of discards; 0 when unknown.
    var discardGranularity: UInt64
    /// Largest command that writes zeroes; 0 when the device has none.
    var writeZeroesBytesMax: UInt64
    /// Whether it has queues whose completions can be polled.
    var hasPollQueues: Bool
    /// The NUMA node the device is attached to.
    var node: Int?

    /// Whether it is a zram device that moves pages to another device.
    var writesBack: Bool

    /// Whether the device is memory that completes requests at once, without interrupts.
    var isMemory: Bool { name.hasPrefix("zram") && !writesBack || name.hasPrefix("ram") || name.hasPrefix("pmem") }

    /// Reads what is below `sysfsRoot`; nil when the device is not there.
    init?(major: UInt32, minor: UInt32, sysfsRoot: String = "/sys") {
        guard let own = SystemFile.resolve("\(sysfsRoot)/dev/block/\(major):\(minor)") else { return nil }
        // A partition has no queue of its own; the whole device is the folder above it.
        let isPartition = SystemFile.text(own + "/partition") != nil
        let device = isPartition ? Self.parent(of: own) : own
        name = device.split(separator: "/").last.map(String.init) ?? ""
        func limit(_ attribute: String) -> UInt64 { SystemFile.number("\(device)/queue/\(attribute)").map { UInt64(max($0, 0)) } ?? 0 }
        discardBytesMax = limit("discard_max_bytes")
        discardGranularity = limit("discard_granularity")
        writeZeroesBytesMax = limit("write_zeroes_max_bytes")
        hasPollQueues = limit("io_poll") == 1
        writesBack = SystemFile.text(device + "/backing_dev").map { $0 != "none" } ?? false
        node = Self.node(of: device, sysfsRoot: sysfsRoot, depth: 0)
    }

    /// The node of the nearest folder above that has one; of the first device below for stacked ones (dm, md).
    private static func node(of device: String, sysfsRoot: String, depth: Int) -> Int? {
        let stackDepthMax = 8
        var folder = device
        while folder.count > sysfsRoot.count {
            if let node = SystemFile.number(folder + "/numa_node"), node >= 0 { return Int(node) }
            if let node = SystemFile.number(folder + "/device/numa_node"), node >= 0 { return Int(node) }
            folder = parent(of: folder)
        }
        guard depth < stackDepthMax, let below = SystemFile.names(inFolder: device + "/slaves")?.sorted().first,
            let resolved = SystemFile.resolve("\(device)/slaves/\(below)")
        else { return nil }
        return node(of: resolved, sysfsRoot: sysfsRoot, depth: depth + 1)
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return "" }
        return String(path[..<slash])
    }
}
