import Foundation

/// A disk to serve: an image and the settings of its export.
struct ServedDisk: Sendable {
    var name: String
    var image: String
    var socket: String
    var queues = 1
    var queueSize: Int?
    var blockSize: Int?
    var isReadOnly = false
    var serial: String?
    var engine: String?
    var poll: String?
    var onError: String?
    /// Whether guests may come by post-copy.
    var isPostCopy = false
}

/// What serves the disks: our daemon, or, to tell a fault of a test from a fault of ours, QEMU's storage daemon (VHUBLK_TEST_SERVER=qsd7 or qsd10).
enum DiskServer: String, Sendable {
    case vhublkd
    case storageDaemon7 = "qsd7"
    case storageDaemon10 = "qsd10"

    static let underTest: DiskServer = {
        guard let name = ProcessInfo.processInfo.environment["VHUBLK_TEST_SERVER"] else { return .vhublkd }
        guard let server = DiskServer(rawValue: name) else {
            preconditionFailure("VHUBLK_TEST_SERVER: \(name) is none of vhublkd, qsd7, qsd10")
        }
        return server
    }()

    /// Serves the disks while `body` runs. `folder` takes the daemon's sockets and state.
    func serve<Result: Sendable>(
        _ disks: [ServedDisk], in folder: String, _ body: @Sendable (DaemonControl) async throws -> Result
    ) async throws -> Result {
        let control = DaemonControl(socket: folder + "/control.sock")
        let (program, arguments) = command(disks, in: folder)
        return try await Program.with(program, arguments) { server in
            if self == .vhublkd {
                try await waitForSocket(control.socket, server)
                for disk in disks { try await control.create(disk) }
            } else {
                for disk in disks { try await waitForSocket(disk.socket, server) }
            }
            return try await body(control)
        }
    }

    /// The server's program and its arguments. vhublkd learns of the disks through its control socket, and keeps them in `folder`.
    func command(_ disks: [ServedDisk], in folder: String) -> (program: String, arguments: [String]) {
        switch self {
        case .vhublkd: (Places.product("vhublkd"), ["--control", folder + "/control.sock", "--state-dir", folder + "/state"])
        case .storageDaemon7: ("/usr/bin/qemu-storage-daemon", storageDaemonArguments(disks))
        case .storageDaemon10: (Places.debian13("qemu-storage-daemon"), storageDaemonArguments(disks))
        }
    }

    private func storageDaemonArguments(_ disks: [ServedDisk]) -> [String] {
        disks.flatMap { disk in
            [
                "--blockdev",
                "driver=file,node-name=\(disk.name)-file,filename=\(disk.image),discard=unmap,read-only=\(disk.isReadOnly ? "on" : "off")",
                "--blockdev",
                "driver=raw,node-name=\(disk.name),file=\(disk.name)-file,discard=unmap,read-only=\(disk.isReadOnly ? "on" : "off")",
                "--export",
                "type=vhost-user-blk,id=\(disk.name)-export,node-name=\(disk.name),addr.type=unix,addr.path=\(disk.socket),num-queues=\(disk.queues),"
                    + "writable=\(disk.isReadOnly ? "off" : "on"),logical-block-size=\(disk.blockSize ?? 512)",
            ]
        }
    }
}

/// Waits until a daemon has made a socket.
func waitForSocket(_ path: String, _ server: RunningProgram) async throws {
    try await eventually(.seconds(20), "\(server.name): no socket at \(path)") {
        guard server.isRunning else { throw TestbedError("\(server.name) has ended before it made \(path)") }
        return FileManager.default.fileExists(atPath: path)
    }
}

/// A running vhublkd, through vhublkctl.
struct DaemonControl: Sendable {
    let socket: String

    @discardableResult
    func callAsFunction(_ arguments: String...) async throws -> String {
        try await Program.succeed(Places.product("vhublkctl"), ["--control", socket] + arguments)
    }

    func create(_ disk: ServedDisk) async throws {
        var arguments = [
            "--control", socket, "export", "create", disk.name, "--backing", disk.image, "--socket", disk.socket, "--queues",
            "\(disk.queues)",
        ]
        if let size = disk.blockSize { arguments += ["--block-size", "\(size)"] }
        if let size = disk.queueSize { arguments += ["--queue-size", "\(size)"] }
        if disk.isReadOnly { arguments.append("--read-only") }
        if let serial = disk.serial { arguments += ["--serial", serial] }
        if let engine = disk.engine { arguments += ["--engine", engine] }
        if let poll = disk.poll { arguments += ["--poll", poll] }
        if let onError = disk.onError { arguments += ["--on-error", onError] }
        if disk.isPostCopy { arguments.append("--post-copy") }
        try await Program.succeed(Places.product("vhublkctl"), arguments)
    }
}
