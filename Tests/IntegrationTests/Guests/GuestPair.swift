import Testing

/// A guest with two disks of four queues, one on split and one on packed rings: what most guest tests run on.
struct GuestPair: Sendable {
    struct Disk: Sendable {
        var served: ServedDisk
        var device: GuestDisk
    }

    let guest: Guest
    let disks: [Disk]
    let control: DaemonControl

    /// Serves two disks of `mebibytes` and boots a guest on them. `prepare` fills an image before it is served.
    static func with<Result: Sendable>(
        _ qemu: QEMU, mebibytes: Int, memory: Int = 384, isHotPluggable: Bool = false, isReset: Bool = false, kernelArguments: String = "",
        prepare: (String) async throws -> Void = { _ in }, _ body: @Sendable (GuestPair) async throws -> Result
    ) async throws -> Result {
        try await Places.withFolder { folder in
            var made: [Disk] = []
            for (slot, ring) in [(2, "packed=off"), (3, "packed=on")] {
                let served = ServedDisk(
                    name: "disk\(slot)", image: "\(folder)/disk\(slot).raw", socket: "\(folder)/disk\(slot).sock", queues: 4,
                    serial: "serial-\(slot)")
                try await Image.make(served.image, mebibytes: mebibytes)
                try await prepare(served.image)
                made.append(
                    Disk(
                        served: served,
                        device: GuestDisk(
                            socket: served.socket, slot: slot, queues: 4, properties: [ring], isHotPluggable: isHotPluggable)))
            }
            let disks = made
            return try await DiskServer.underTest.serve(disks.map(\.served), in: folder) { control in
                var configuration = Guest.Configuration(
                    qemu: qemu, memory: memory, disks: disks.map(\.device), extraKernelArguments: kernelArguments)
                configuration.isReset = isReset
                return try await Guest.with(configuration) { guest in
                    let result = try await body(GuestPair(guest: guest, disks: disks, control: control))
                    try await guest.expectNoDiskErrors()
                    return result
                }
            }
        }
    }
}

extension Guest {
    /// Starts a command that goes on while others run; `finish` takes its result.
    func start(_ name: String, _ command: String) async throws {
        try await succeed("rm -f /tmp/\(name).status; (\(command); echo $? >/tmp/\(name).status) >/tmp/\(name).log 2>&1 &")
    }

    /// Waits for a command that was started and expects that it succeeded; what it printed.
    @discardableResult
    func finish(_ name: String, limit: Duration) async throws -> String {
        let seconds = limit.components.seconds
        let script =
            "n=0; until [ -e /tmp/\(name).status ]; do sleep 0.1; n=$((n+1)); [ $n -lt \(seconds * 10) ] || exit 99; done; cat /tmp/\(name).log; exit $(cat /tmp/\(name).status)"
        return try await succeed(script, limit: limit + .seconds(60))
    }

    /// fio's words for writing parts of a disk at random, several at once, and verifying each block afterwards.
    static func verifiedWrites(_ device: String, jobs: Int = 2, mebibytes: Int = 4, further: String = "") -> String {
        "fio --name=verified --filename=\(device) --ioengine=libaio --direct=1 --iodepth=16 --bs=4k-64k --rw=randwrite --numjobs=\(jobs) "
            + "--size=\(mebibytes)m --offset_increment=\(mebibytes)m --verify=crc32c --verify_fatal=1 --group_reporting --minimal \(further)"
    }
}
