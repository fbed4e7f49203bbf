internal import BlockIO
internal import LinuxSystem

/// Notices that a block device under an export has got another size, as with lvextend or `losetup --set-capacity`: nobody tells those who
/// have it open. A file's size is ours to change, and is not watched. Control thread; the device is asked on a worker.
@ControlActor
final class SizeWatch {
    /// How often the device is asked: the guest is to know within a second.
    private static let intervalNanoseconds: UInt64 = 400_000_000

    private let disk: Disk
    private let onChange: @ControlActor () async -> Void
    private var timer: TimerRegistration?
    private var hasEnded = false

    /// nil where there is nothing to watch.
    init?(_ disk: Disk, onChange: @escaping @ControlActor () async -> Void) {
        guard disk.backing.kind == .blockDevice else { return nil }
        self.disk = disk
        self.onChange = onChange
        plan()
    }

    /// No more looks.
    func end() {
        hasEnded = true
        timer?.cancel()
        timer = nil
    }

    private func plan() {
        guard !hasEnded else { return }
        // The next look is planned when this one is over: a device that does not answer is not asked twice.
        timer = EventLoop.control.after(nanoseconds: Self.intervalNanoseconds) { [weak self] in
            Task { @ControlActor in await self?.look() }
        }
    }

    private func look() async {
        let backing = disk.backing
        // A device that cannot tell has bigger troubles, which requests will show.
        let size = await Worker.run { try? backing.refreshSize() }
        if !hasEnded, let size, size != disk.bytes, size > 0 { await onChange() }
        plan()
    }
}
