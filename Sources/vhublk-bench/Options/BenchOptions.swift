import ArgumentParser

/// What a run is told: fio's names and meanings where fio has them.
struct BenchOptions: ParsableArguments {
    @Option(help: "Socket of the back-end.")
    var socket: String

    @Option(name: .customLong("name"), help: "Name of the jobs in the result.")
    var name = "job"

    @Option(name: [.customLong("rw"), .customLong("readwrite")], help: ArgumentHelp("What to do.", valueName: "workload"))
    var workload = Workload.read

    @Option(name: [.customLong("bs"), .customLong("blocksize")], help: ArgumentHelp("Bytes of each request.", valueName: "size"))
    var blockSize = ByteCount(4096)

    @Option(name: .customLong("iodepth"), help: ArgumentHelp("Requests that each job keeps in flight.", valueName: "number"))
    var depth = 1

    @Option(name: .customLong("numjobs"), help: ArgumentHelp("Jobs: threads, each with a queue of its own.", valueName: "number"))
    var jobCount = 1

    @Option(help: ArgumentHelp("Bytes to go over; the rest of the device by default.", valueName: "size"))
    var size: ByteCount?

    @Option(help: ArgumentHelp("Where to begin on the device.", valueName: "size"))
    var offset = ByteCount(0)

    @Option(name: .customLong("offset_increment"), help: ArgumentHelp("Each job begins this much after the one before.", valueName: "size"))
    var offsetIncrement = ByteCount(0)

    @Option(help: ArgumentHelp("End after this time, in seconds or with a unit.", valueName: "time"))
    var runtime: TimeSpan?

    @Flag(name: .customLong("time_based"), help: "Begin again at the end of the size, until the runtime is over.")
    var isTimeBased = false

    @Option(help: ArgumentHelp("Go over the size this many times.", valueName: "number"))
    var loops = 1

    @Option(name: .customLong("number_ios"), help: ArgumentHelp("End each job after this many requests.", valueName: "number"))
    var requestLimit: UInt64?

    @Option(name: .customLong("rate_iops"), help: ArgumentHelp("Requests a second that each job makes at most.", valueName: "number"))
    var rate: UInt64?

    @Option(name: .customLong("rwmixread"), help: ArgumentHelp("Share of reads in a mixture.", valueName: "percent"))
    var readPercentage = 50

    @Option(name: .customLong("fsync"), help: ArgumentHelp("Flush after this many writes; 0 for never.", valueName: "number"))
    var flushInterval: UInt64 = 0

    @Option(help: "Write blocks that can be recognised, and check what is read: none or crc32c.")
    var verify = VerifyMode.none

    @Option(name: .customLong("do_verify"), help: "Read back and check everything that was written, after writing.")
    var verifiesAfterwards = Switch.on

    @Option(name: .customLong("randseed"), help: ArgumentHelp("Seed of random places and of verified data.", valueName: "number"))
    var seed: UInt64 = 1

    @Flag(help: "Write zeroes with the unmap flag.")
    var unmap = false

    @OptionGroup(title: "Device")
    var device: DeviceOptions

    @OptionGroup(title: "Output")
    var output: OutputOptions
}

/// How the device is driven.
struct DeviceOptions: ParsableArguments {
    @Flag(help: "Use packed rings.")
    var packed = false

    @Option(name: .customLong("event-idx"), help: "Negotiate the event index.")
    var eventIndex = Switch.on

    @Option(help: "Negotiate indirect descriptors and use them.")
    var indirect = Switch.on

    @Option(
        name: .customLong("queue-size"),
        help: ArgumentHelp("Entries of each ring; what the depth needs, at least 128, by default.", valueName: "number"))
    var queueSize: Int?

    @Flag(help: "Go through an IOMMU: rings and buffers have I/O virtual addresses, which the back-end has to ask for.")
    var iommu = false

    @Flag(help: "With --iommu: pages that follow each other there, of rings and of buffers, lie apart in guest memory.")
    var scattered = false

    @Option(
        name: .customLong("segment-bytes"),
        help: ArgumentHelp("Cut the data of a request into segments of this many bytes.", valueName: "size"))
    var segmentBytes: ByteCount?

    @Option(name: .customLong("wait"), help: "How a job waits for completions: it polls its ring, or sleeps until the device signals.")
    var wait = WaitMode.poll

    @Option(
        name: .customLong("cpus_allowed"),
        help: ArgumentHelp("CPUs to pin jobs to, one after the other; not pinned by default.", valueName: "list"))
    var cpus: CPUList?

    @Option(help: ArgumentHelp("How long a request or an answer may take.", valueName: "time"))
    var timeout = TimeSpan(nanoseconds: 30_000_000_000)

    @Flag(help: "When the back-end goes away, wait for it to come back (for the time-out) and go on.")
    var reconnect = false

    @Option(help: "Have the back-end note requests in flight in a region that outlives it; off shows what a reconnection loses without.")
    var inflight = Switch.on
}

/// How the result is shown.
struct OutputOptions: ParsableArguments {
    @Option(name: .customLong("output-format"), help: "Form of the result: normal, json or json+.")
    var format = OutputFormat.normal

    @Option(name: .customLong("output"), help: ArgumentHelp("Write the result to a file instead of standard output.", valueName: "file"))
    var file: String?

    @Option(name: .customLong("eta"), help: "Show progress on standard error: auto (on a terminal), always or never.")
    var eta = ETAMode.auto

    @Flag(name: .customLong("group_reporting"), help: "One result for all jobs.")
    var isGrouped = false

    @Option(name: .customLong("percentile_list"), help: ArgumentHelp("Percentiles to show, separated by colons.", valueName: "list"))
    var percentiles = PercentileList.standard

    @Flag(name: .customLong("gtod_reduce"), help: "Measure no latencies: two clock reads fewer for each batch.")
    var omitsLatency = false
}
