import Foundation

/// A guest that moves between two hosts: two daemons of one image, each in a folder of its own, and a QEMU after the other.
struct MovingGuest: Sendable {
    /// A side: its daemon serves the image on sockets of its own.
    struct Host: Sendable {
        var folder: String
        var disks: [ServedDisk]
    }

    static let mebibytes = 32

    /// The rings of a guest's two disks.
    static let rings = ["packed=off", "packed=on"]

    /// Serves two disks, each by two daemons. `images` are files that both daemons see.
    static func with<Result: Sendable>(
        images: [String], program: String = Places.product("vhublkd"), environment: [String: String] = [:],
        _ body: @Sendable ([Host]) async throws -> Result
    ) async throws -> Result {
        try await Places.withFolder { folder in
            let hosts = try ["a", "b"].map { side in
                let place = "\(folder)/\(side)"
                try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
                let disks = images.enumerated().map { index, image in
                    ServedDisk(
                        name: "disk\(index + 2)", image: image, socket: "\(place)/\(index + 2).sock", queues: 2, serial: "moves-\(index)",
                        isPostCopy: true)
                }
                return Host(folder: place, disks: disks)
            }
            return try await serve(hosts[0], program, environment) {
                try await serve(hosts[1], program, environment) { try await body(hosts) }
            }
        }
    }

    private static func serve<Result: Sendable>(
        _ host: Host, _ program: String, _ environment: [String: String], _ body: @Sendable () async throws -> Result
    ) async throws -> Result {
        let control = DaemonControl(socket: host.folder + "/control.sock")
        let arguments = environment.map { "\($0)=\($1)" } + [program, "--control", control.socket, "--state-dir", host.folder + "/state"]
        return try await Program.with("env", arguments) { daemon in
            try await waitForSocket(control.socket, daemon)
            for disk in host.disks { try await control.create(disk) }
            return try await body()
        }
    }

    /// A QEMU on a host's disks; with a URI it waits for a guest to come from there.
    static func configuration(_ qemu: QEMU, on host: Host, incoming: String? = nil) -> Guest.Configuration {
        var configuration = Guest.Configuration(qemu: qemu, memory: 448)
        // Under TCG, QEMU before 9.0 forgets what the guest writes to a page between two copies of it, if its memory is a multiple of 64
        // pages: cpu_physical_memory_sync_dirty_bitmap takes those at once then, and leaves the processors' TLBs as they are.
        configuration.moreMemory = 8
        configuration.disks = zip(host.disks, rings).enumerated().map { index, disk in
            GuestDisk(socket: disk.0.socket, slot: index + 2, queues: 2, properties: [disk.1])
        }
        // What both QEMUs know. Pages are not zeroed when they are allocated: see MigrationTests.
        configuration.machine = "pc-q35-7.2"
        configuration.processor = "qemu64"
        configuration.extraKernelArguments = "init_on_alloc=0"
        configuration.incoming = incoming
        return configuration
    }

    /// Moves a guest along `route`, the QEMU and the host of each leg, and runs `body` where it arrives in the end. Each QEMU ends when its
    /// guest has gone, so that the next leg may lead back. `prepare` is for each QEMU that a guest is to come to.
    static func travel(
        _ guest: Guest, _ route: ArraySlice<(qemu: QEMU, host: Host)>,
        prepare: @Sendable (Guest) async throws -> Void = { _ in },
        move: @Sendable (Guest, String) async throws -> Void = { try await $0.move(to: $1) },
        _ body: @Sendable (Guest) async throws -> Void
    ) async throws {
        guard let leg = route.first else { return try await body(guest) }
        let uri = "unix:\(leg.host.folder)/incoming-\(route.count)"
        try await Guest.with(configuration(leg.qemu, on: leg.host, incoming: uri)) { next in
            try await prepare(next)
            try await move(guest, uri)
            try await guest.monitor.execute("quit")
            try await next.awaitArrival()
            try await travel(next, route.dropFirst(), prepare: prepare, move: move, body)
        }
    }
}

extension Guest {
    /// Moves the guest, and waits until all of it has gone.
    func move(to uri: String) async throws {
        try await beginMove(to: uri)
        try await awaitDeparture()
    }

    func beginMove(to uri: String) async throws {
        try await monitor.execute("migrate", ["uri": uri])
    }

    /// Lets the guest go on at its destination before its memory is there; QEMU has to be told so on both sides.
    func allowPostCopy() async throws {
        try await monitor.execute(
            "migrate-set-capabilities", ["capabilities": [["capability": "postcopy-ram", "state": true] as [String: any Sendable]]])
    }

    /// Moves the guest by post-copy: when some of its memory has been copied it goes on at its destination, which asks for the rest as it
    /// needs it. Answers how many pages it asked for.
    func moveByPostCopy(to uri: String) async throws -> Int {
        try await allowPostCopy()
        try await monitor.execute(
            "migrate-set-parameters", ["max-bandwidth": 32 << 20, "downtime-limit": 1, "max-postcopy-bandwidth": 24 << 20])
        try await beginMove(to: uri)
        try await eventually(.seconds(30), "the migration does not begin") { try await moveState().status == "active" }
        try await Task.sleep(for: .milliseconds(500))
        try await monitor.execute("migrate-start-postcopy")
        try await eventually(.seconds(30), "the guest does not go on at its destination") {
            let status = try await moveState().status
            guard status != "completed" else { throw TestbedError("the guest moved before post-copy began") }
            return status == "postcopy-active"
        }
        try await awaitDeparture()
        return try await postCopyRequests()
    }

    private func postCopyRequests() async throws -> Int {
        let answer = try JSONSerialization.jsonObject(with: Data(try await monitor.execute("query-migrate").utf8)) as? [String: Any]
        return ((answer?["return"] as? [String: Any])?["ram"] as? [String: Any])?["postcopy-requests"] as? Int ?? 0
    }

    /// Sets how fast memory is copied, and how long the guest may stand still for the rest of it.
    func limitMove(bytesPerSecond: Int, downtimeMilliseconds: Int) async throws {
        try await monitor.execute("migrate-set-parameters", ["max-bandwidth": bytesPerSecond, "downtime-limit": downtimeMilliseconds])
    }

    /// Waits until all memory was copied that often.
    func awaitPasses(_ count: Int) async throws {
        try await eventually(.seconds(60), "memory was not copied \(count) times") {
            let (status, passes) = try await moveState()
            guard status == "active" || status == "setup" else { throw TestbedError("the migration is \(status)") }
            return passes > count
        }
    }

    func awaitDeparture() async throws {
        try await eventually(.seconds(90), "the guest has not gone") {
            let (status, _) = try await moveState()
            guard status != "failed", status != "cancelled" else { throw TestbedError("the migration has \(status)") }
            return status == "completed"
        }
    }

    private func moveState() async throws -> (status: String, passes: Int) {
        let answer = try JSONSerialization.jsonObject(with: Data(try await monitor.execute("query-migrate").utf8)) as? [String: Any]
        let info = answer?["return"] as? [String: Any]
        return (info?["status"] as? String ?? "none", (info?["ram"] as? [String: Any])?["dirty-sync-count"] as? Int ?? 0)
    }

    /// Waits until a guest that moves here runs here.
    func awaitArrival() async throws {
        try await eventually(.seconds(60), "the guest does not run where it went") {
            try await monitor.execute("query-status").contains("\"status\": \"running\"")
        }
    }
}
