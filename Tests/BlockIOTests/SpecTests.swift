import LinuxSystem
import TestSupport
import Testing

@testable import BlockIO

@Suite("Specifications, sizes and choices")
struct SpecTests {
    @Test("A backing is a path or null:SIZE")
    func specifications() throws {
        #expect(try BackingSpec(parsing: "/a/b") == .file(path: "/a/b"))
        #expect(try BackingSpec(parsing: "./null:1G") == .file(path: "./null:1G"))
        #expect(try BackingSpec(parsing: "null:10G") == .null(size: 10 << 30))
        #expect(try BackingSpec(parsing: "null:1536M").description == "null:1536M")
        for bad in ["", "null:", "null:x", "null:511", "null:0"] {
            #expect(throws: BackingError.self) { _ = try BackingSpec(parsing: bad) }
        }
    }

    private static let refusal = SystemError("set up io_uring", errno: 1)
    private static func traits(null: Bool = false, direct: Bool = true, nowait: Bool = true, memory: Bool = false) -> EngineChoice.Traits {
        EngineChoice.Traits(isNull: null, isDirect: direct, supportsNowait: nowait, isMemory: memory)
    }

    @Test(
        "The engine follows from the backing and the kernel, and is said with its reason",
        arguments: [
            (EngineKind.automatic, traits(), nil, EngineChoice.Engine.ioURing, "the backing has a NOWAIT path"),
            (.automatic, traits(), refusal, .libaio, "io_uring is not available (Operation not permitted)"),
            (.automatic, traits(nowait: false, memory: true), nil, .libaio, "the backing is memory without a NOWAIT path"),
            (.automatic, traits(nowait: false), nil, .libaio, "the backing has no NOWAIT path"),
            (
                .automatic, traits(direct: false, nowait: false), nil, .ioURing,
                "buffered transfers must wait in io_uring's threads, not in the poller"
            ),
            (.automatic, traits(direct: false, nowait: false, memory: true), nil, .libaio, "the backing is memory without a NOWAIT path"),
            (.libaio, traits(), nil, .libaio, "asked for"), (.ioURing, traits(nowait: false), nil, .ioURing, "asked for"),
            (.libaio, traits(null: true), nil, .null, "a null disk needs none"),
        ] as [(EngineKind, EngineChoice.Traits, SystemError?, EngineChoice.Engine, String)])
    func choices(kind: EngineKind, traits: EngineChoice.Traits, refusal: SystemError?, engine: EngineChoice.Engine, reason: String) throws {
        let choice = try EngineChoice.choose(kind, name: "x", traits: traits, refusal: refusal)
        #expect(choice == EngineChoice(engine: engine, reason: reason))
    }

    @Test("io_uring that was asked for and is not allowed is refused")
    func refusedEngine() {
        #expect(throws: BackingError.self) {
            try EngineChoice.choose(.ioURing, name: "x", traits: Self.traits(), refusal: Self.refusal)
        }
    }

    @Test(
        "The choice for real disks",
        arguments: [(TestDisk.Kind.tmpfs, EngineChoice.Engine.libaio), (.zram, .libaio), (.rootFile, .ioURing), (.loop, .ioURing)])
    func realChoices(kind: TestDisk.Kind, engine: EngineChoice.Engine) throws {
        try TestDisk.use(kind) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            #expect(try EngineChoice.choose(.automatic, for: backing).engine == engine)
        }
    }

    @Test("A device's limits and node come from sysfs: of the whole device for a partition, of what is below for a stacked one")
    func attributes() throws {
        let folder = TemporaryFolder()
        let nvme = "devices/pci0000:00/0000:00:04.0"
        folder.write(nvme + "/numa_node", "1\n")
        folder.write(nvme + "/nvme/nvme0/nvme0n1/queue/discard_max_bytes", "2199023255040\n")
        folder.write(nvme + "/nvme/nvme0/nvme0n1/queue/discard_granularity", "4096\n")
        folder.write(nvme + "/nvme/nvme0/nvme0n1/queue/write_zeroes_max_bytes", "131072\n")
        folder.write(nvme + "/nvme/nvme0/nvme0n1/queue/io_poll", "1\n")
        folder.write(nvme + "/nvme/nvme0/nvme0n1/nvme0n1p1/partition", "1\n")
        folder.write("devices/virtual/block/dm-0/queue/discard_max_bytes", "0\n")
        folder.write("devices/virtual/block/dm-0/slaves/none", "")
        folder.write("dev/block/none", "")
        folder.link("dev/block/259:0", to: nvme + "/nvme/nvme0/nvme0n1")
        folder.link("dev/block/259:1", to: nvme + "/nvme/nvme0/nvme0n1/nvme0n1p1")
        folder.link("dev/block/253:0", to: "devices/virtual/block/dm-0")
        folder.remove("devices/virtual/block/dm-0/slaves/none")
        folder.link("devices/virtual/block/dm-0/slaves/nvme0n1p1", to: nvme + "/nvme/nvme0/nvme0n1/nvme0n1p1")
        for minor in [UInt32(0), 1] {
            let device = try #require(BlockDeviceAttributes(major: 259, minor: minor, sysfsRoot: folder.path))
            #expect(device.name == "nvme0n1" && device.discardBytesMax == 2_199_023_255_040)
            #expect(device.discardGranularity == 4096 && device.writeZeroesBytesMax == 131_072)
            #expect(device.node == 1 && !device.isMemory && device.hasPollQueues)
        }
        let stacked = try #require(BlockDeviceAttributes(major: 253, minor: 0, sysfsRoot: folder.path))
        #expect(stacked.name == "dm-0" && stacked.discardBytesMax == 0 && stacked.node == 1 && !stacked.hasPollQueues)
        #expect(BlockDeviceAttributes(major: 1, minor: 1, sysfsRoot: folder.path) == nil)
    }

    @Test("A zram device is memory unless it moves pages to another device", arguments: [nil, "none", "/dev/sda1"])
    func zramDevice(_ backing: String?) throws {
        let folder = TemporaryFolder()
        folder.write("devices/virtual/block/zram0/queue/discard_max_bytes", "0\n")
        if let backing { folder.write("devices/virtual/block/zram0/backing_dev", backing + "\n") }
        folder.write("dev/block/none", "")
        folder.link("dev/block/253:0", to: "devices/virtual/block/zram0")
        let device = try #require(BlockDeviceAttributes(major: 253, minor: 0, sysfsRoot: folder.path))
        #expect(device.isMemory == (backing != "/dev/sda1"))
    }
}
