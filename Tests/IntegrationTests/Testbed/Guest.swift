import Foundation
import Testing

/// The QEMU that runs a guest.
enum QEMU: String, CaseIterable, CustomTestStringConvertible {
    case debian12 = "QEMU 7.2"
    case debian13 = "QEMU 10"

    var testDescription: String { rawValue }

    var program: String {
        switch self {
        case .debian12: "/usr/bin/qemu-system-x86_64"
        case .debian13: Places.debian13("qemu-system-x86_64")
        }
    }

    /// How this QEMU emulates several processors. With a thread for each, QEMU races with its own changes of the memory map when a guest has
    /// many devices: 10.0 dies of `iotlb_to_section: Assertion ... failed`, or a processor loses its timer for ever, and 7.2 has died too.
    /// After a reset on a busy machine 7.2's guests have had processors that were stuck in their kernel.
    func accelerator(disks: Int, isReset: Bool) -> String {
        switch self {
        case .debian12 where disks < 10 && !isReset: "tcg,thread=multi"
        case .debian12, .debian13: "tcg,thread=single"
        }
    }

    /// How this QEMU spells that a socket is connected to again when it breaks.
    var reconnect: String {
        switch self {
        case .debian12: "reconnect=1"
        case .debian13: "reconnect-ms=100"
        }
    }
}

/// A vhost-user-blk device of a guest.
struct GuestDisk {
    var socket: String
    /// Its slot on the guest's bus, by which the guest finds it; 2 and up.
    var slot: Int
    var queues = 1
    /// Further properties of the device, as QEMU spells them.
    var properties: [String] = []
    /// Behind a PCIe root port of its own, so that it can be unplugged and plugged.
    var isHotPluggable = false

    var device: String { "disk\(slot)" }

    func arguments(_ qemu: QEMU) -> [String] {
        let port = isHotPluggable ? ["-device", "pcie-root-port,id=port\(slot),addr=\(hexadecimal),chassis=\(slot)"] : []
        let place = isHotPluggable ? "bus=port\(slot)" : "addr=\(hexadecimal)"
        let device = ["vhost-user-blk-pci,id=\(device),chardev=char\(slot),num-queues=\(queues)", place] + properties
        return port + ["-chardev", "socket,id=char\(slot),path=\(socket),\(qemu.reconnect)", "-device", device.joined(separator: ",")]
    }

    /// The path of the disk's PCI device in the guest's sysfs.
    var sysfs: String {
        isHotPluggable ? "/sys/bus/pci/devices/0000:00:\(twoDigits).0/*:00.0" : "/sys/bus/pci/devices/0000:00:\(twoDigits).0"
    }

    /// Shell words that set `d` to the disk's name in the guest (vda...).
    var findName: String { "d=$(basename \(sysfs)/virtio*/block/*); " }

    private var hexadecimal: String { "0x" + String(slot, radix: 16) }
    private var twoDigits: String { (slot < 16 ? "0" : "") + String(slot, radix: 16) }
}

/// A guest that runs: Linux with a shell on a serial port, and QEMU's monitor.
struct Guest: Sendable {
    let qemu: QEMU
    let monitor: Monitor
    let folder: String
    private let shell: LineSocket

    struct Configuration {
        var qemu: QEMU
        var processors = 4
        /// In MiB.
        var memory = 512
        /// On top of that, in KiB.
        var moreMemory = 0
        var memorySize: String { "\(memory << 10 + moreMemory)K" }
        var disks: [GuestDisk] = []
        var extraArguments: [String] = []
        var extraKernelArguments = ""
        /// Whether it will be reset.
        var isReset = false
        /// Both QEMUs of a guest that moves have the same.
        var machine = "q35"
        var processor = "max,la57=off"
        /// Where a guest that moves here comes from (a migration URI); it does not boot.
        var incoming: String?
        /// Further initial RAM disks, unpacked over the first one.
        var extraRamdisks: [String] = []
        /// Whether the guest's memory is one shared file; a guest with NUMA nodes brings its own.
        var memoryArguments: [String] {
            ["-object", "memory-backend-memfd,id=mem,size=\(memorySize),share=on", "-machine", "memory-backend=mem"]
        }
        var ownMemoryArguments: [String]?
    }

    /// Boots a guest, runs `body`, and ends it. When `body` fails the guest's console is shown with the error.
    static func with<Result: Sendable>(_ configuration: Configuration, _ body: @Sendable (Guest) async throws -> Result) async throws
        -> Result
    {
        try await Places.withFolder { folder in
            let arguments = try await arguments(configuration, folder)
            return try await Program.with(configuration.qemu.program, arguments) { _ in
                do {
                    let guest = Guest(
                        qemu: configuration.qemu, monitor: try await Monitor(path: folder + "/monitor"), folder: folder,
                        shell: try await LineSocket(path: folder + "/shell"))
                    if configuration.incoming == nil { try await guest.waitForBoot() }
                    return try await body(guest)
                } catch {
                    let console = try await Program.run("tail", ["-n", "60", folder + "/console"])
                    throw TestbedError(error, "the guest's console said last", console.output)
                }
            }
        }
    }

    private static func arguments(_ configuration: Configuration, _ folder: String) async throws -> [String] {
        let ramdisk = folder + "/ramdisk"
        try await Program.succeed("sh", ["-c", "cat \"$@\" >\(ramdisk)", "sh", Places.ramdisk] + configuration.extraRamdisks)
        let fixed = [
            "-machine", configuration.machine, "-accel",
            configuration.qemu.accelerator(disks: configuration.disks.count, isReset: configuration.isReset), "-cpu",
            configuration.processor,
            "-smp", "\(configuration.processors)",
            "-m", "\(configuration.memorySize),slots=4,maxmem=4G", "-nodefaults", "-no-user-config", "-display", "none",
            "-serial", "file:\(folder)/console", "-chardev", "socket,id=shell,path=\(folder)/shell,server=on,wait=off", "-serial",
            "chardev:shell",
            "-qmp", "unix:\(folder)/monitor,server=on,wait=off", "-kernel", Places.kernel, "-initrd", ramdisk,
            "-append", "console=ttyS0 quiet panic=-1 \(configuration.extraKernelArguments)",
        ]
        return fixed + (configuration.ownMemoryArguments ?? configuration.memoryArguments)
            + configuration.disks.flatMap { $0.arguments(configuration.qemu) }
            + (configuration.incoming.map { ["-incoming", $0] } ?? []) + configuration.extraArguments
    }

    /// Waits until the guest takes commands; also after a reset.
    func waitForBoot(limit: Duration = .seconds(90)) async throws {
        while try await shell.line(limit: limit) != "@ready" {}
    }

    /// Runs a shell script in the guest.
    func run(_ script: String, limit: Duration = .seconds(120)) async throws -> Outcome {
        let word = Data(script.utf8).base64EncodedString()
        let command = "\(word) \(word)"
        try shell.send(command)
        var lines: [String] = []
        while true {
            let line: String
            do {
                line = try await nextLine(limit)
            } catch {
                let said = TestbedError("in the guest: \(script): \(error); so far:\n\(lines.joined(separator: "\n"))")
                throw TestbedError(said, "its processors and its disks' rings", await picture())
            }
            if line == "@again" {
                try shell.send(command)
                continue
            }
            if line.hasPrefix("@done "), let status = Int32(line.dropFirst(6)) {
                return Outcome(status: status, output: lines.joined(separator: "\n").trimmingCharacters(in: .whitespacesAndNewlines))
            }
            lines.append(line)
        }
    }

    /// What the guest says next. While it says nothing it gets an empty line now and then: the end of the last command may have been lost,
    /// or the interrupt that told of it.
    private func nextLine(_ limit: Duration) async throws -> String {
        let deadline = ContinuousClock.now + limit
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            do { return try await shell.line(limit: min(.seconds(10), left)) } catch {
                guard shell.isOpen else { throw error }
                guard left > .seconds(10) else { throw TestbedError("no answer within \(limit)") }
                try shell.send("")
            }
        }
    }

    /// Runs a shell script that must succeed, and answers what it printed, without white space around it.
    @discardableResult
    func succeed(_ script: String, limit: Duration = .seconds(120)) async throws -> String {
        let outcome = try await run(script, limit: limit)
        guard outcome.status == 0 else { throw TestbedError("in the guest: \(script): exit status \(outcome.status)\n\(outcome.output)") }
        return outcome.output
    }

    /// What the guest's kernel has said on its console since boot, errors of its disks among it.
    func console() throws -> String { try String(contentsOfFile: folder + "/console", encoding: .utf8) }

    /// Expects that the guest's kernel has seen no error of a disk.
    func expectNoDiskErrors(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let log = try await succeed("dmesg")
        let signs = [
            "I/O error", "is not a head", "Buffer I/O", "virtio_blk: probe", "hung_task", "blocked for more than", "id out of range",
        ]
        let found = log.split(separator: "\n").filter { line in signs.contains { line.contains($0) } }
        #expect(found.isEmpty, "the guest's kernel complains", sourceLocation: sourceLocation)
    }
}
