/// What a person pastes to give a virtual machine the disk of an export.
public struct AttachText {
    private let name: String
    private let socket: String
    private let queues: Int
    private let queueSize: Int

    /// QEMU's largest virtqueue (VIRTQUEUE_MAX_SIZE).
    private static let qemuQueueSizeMax = 1024

    /// The text for `export`; nil when it has no socket that a front-end could be pointed at.
    public init?(_ export: ExportInfo) {
        guard let socket = export.socket else { return nil }
        name = export.name
        self.socket = socket
        queues = max(1, export.queues.count)
        queueSize = export.queueSize
    }

    /// The result of `export.attach`.
    public func result(_ format: AttachFormat, qemuVersion: QEMUVersion? = nil) -> ExportAttach.Result {
        switch format {
        case .qemu: qemu(qemuVersion)
        case .libvirt: libvirt
        case .cloudHypervisor: cloudHypervisor
        }
    }

    /// Names of QEMU objects start with a letter and are made of letters, digits and . _ - (id_wellformed in QEMU's util/id.c).
    private var qemuID: String { "vhublk-" + name }

    /// In QEMU's option syntax a comma in a value is doubled.
    private static func qemuValue(_ text: String) -> String {
        text.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }

    /// One word for a shell: as it is where no character is special, in single quotes otherwise.
    private static func shellWord(_ text: String) -> String {
        let isPlain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-=,:+@%".contains($0)) }
        return isPlain ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
    }

    /// Option and value side by side, a pair a line, joined by backslashes.
    private static func shellText(_ arguments: [String]) -> String {
        stride(from: 0, to: arguments.count, by: 2)
            .map { arguments[$0..<min($0 + 2, arguments.count)].map(shellWord).joined(separator: " ") }
            .joined(separator: " \\\n")
    }

    /// QEMU 9.2 brought `reconnect-ms` and deprecated `reconnect`, which later versions no longer take.
    private func qemuArguments(hasMilliseconds: Bool) -> [String] {
        let reconnect = hasMilliseconds ? "reconnect-ms=100" : "reconnect=1"
        return [
            "-object", "memory-backend-memfd,id=mem,size=4G,share=on",
            "-machine", "memory-backend=mem",
            "-m", "4G",
            "-chardev", "socket,id=\(qemuID),path=\(Self.qemuValue(socket)),\(reconnect)",
            "-device",
            "vhost-user-blk-pci,chardev=\(qemuID),num-queues=\(queues),queue-size=\(min(queueSize, Self.qemuQueueSizeMax))",
        ]
    }

    private func qemu(_ version: QEMUVersion?) -> ExportAttach.Result {
        let notes = [
            "set size= and -m to the guest's memory; it must be shared (share=on), also in each memory-backend of a NUMA guest",
            "reconnect-ms= (reconnect= before QEMU 9.2) lets the guest keep its disk when vhublkd restarts",
            "add packed=on to -device for packed rings; vhublk serves both formats",
            "num-queues suits best when it equals the guest's CPUs; this export has \(queues)",
            "bootindex=1 on -device makes it the boot disk",
        ]
        let arguments = qemuArguments(hasMilliseconds: version.map { $0 >= .withReconnectMilliseconds } ?? true)
        var text = Self.shellText(arguments)
        if version == nil {
            text = "# QEMU 9.2 and later\n\(text)\n\n# QEMU before 9.2\n" + Self.shellText(qemuArguments(hasMilliseconds: false))
        }
        return .init(name: name, format: .qemu, text: text, arguments: arguments, notes: notes)
    }

    private static func xmlValue(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case "'": result += "&apos;"
            default: result.append(character)
            }
        }
    }

    private var libvirt: ExportAttach.Result {
        let text = """
            <memoryBacking>
              <source type='memfd'/>
              <access mode='shared'/>
            </memoryBacking>
            <devices>
              <disk type='vhostuser' device='disk'>
                <driver name='qemu' type='raw' queues='\(queues)' queue_size='\(min(queueSize, Self.qemuQueueSizeMax))'/>
                <source type='unix' path='\(Self.xmlValue(socket))'>
                  <reconnect enabled='yes' timeout='1'/>
                </source>
                <target dev='vda' bus='virtio'/>
              </disk>
            </devices>
            """
        let notes = [
            "memoryBacking belongs beside devices in the domain: guest memory must be shared",
            "serial, readonly, iotune and discard are refused by libvirt on such a disk: they are settings of the export",
            "packed='on' on driver asks for packed rings",
        ]
        return .init(name: name, format: .libvirt, text: text, arguments: [], notes: notes)
    }

    private var cloudHypervisor: ExportAttach.Result {
        let arguments = [
            "--memory", "size=4G,shared=on",
            "--disk", "vhost_user=true,socket=\(socket),num_queues=\(queues),queue_size=\(queueSize)",
        ]
        let notes = [
            "set size= to the guest's memory; it must be shared",
            "num_queues must not exceed the guest's CPUs",
        ]
        return .init(name: name, format: .cloudHypervisor, text: Self.shellText(arguments), arguments: arguments, notes: notes)
    }
}
