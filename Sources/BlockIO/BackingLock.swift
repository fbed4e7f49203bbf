import CLinux
import Glibc
import LinuxSystem

/// The lock that keeps two writers, or a writer and readers, off one backing.
///
/// A lock of the whole file that belongs to our open file (F_OFD_SETLK): it goes with the descriptor, works across hosts on NFS, and
/// conflicts with the locks that QEMU takes on its images. A block device is besides claimed with O_EXCL, as mounting does, since it can
/// have more than one name.
struct BackingLock: Sendable {
    /// Held as long as the device is claimed.
    private let claim: FileDescriptor?
    private let descriptor: FileDescriptor

    /// How long the lock is waited for when nobody alive holds it.
    private static let dyingHolderSeconds: UInt64 = 5

    /// Takes the lock; refuses at once when a living process holds it.
    ///
    /// A daemon that was killed keeps its lock for as long as the kernel still carries out its requests (io_uring's outlive the process,
    /// and hold the open file). That is the fence recovery needs: a successor that resubmitted earlier could see a write of its
    /// predecessor's land after its own. So the lock is waited for then.
    static func take(
        _ descriptor: FileDescriptor, path: String, isReadOnly: Bool, isBlockDevice: Bool
    ) throws(BackingError) -> BackingLock {
        let deadline = MonotonicClock.now() + dyingHolderSeconds * 1_000_000_000
        var status = clinux_lock_whole(descriptor.rawValue, isReadOnly ? 0 : 1)
        var holder: LockHolder?
        var attempt = 0
        while status == -EAGAIN || status == -EACCES {
            attempt += 1
            let isOver = MonotonicClock.now() >= deadline
            // The look through /proc costs far more than the attempt: at the first, second, fourth, eighth... and at the last.
            if isOver || attempt & (attempt - 1) == 0 { holder = LockHolder.find(descriptor, forWriting: !isReadOnly) }
            if holder?.isProcess == true || isOver { break }
            usleep(1000)
            status = clinux_lock_whole(descriptor.rawValue, isReadOnly ? 0 : 1)
        }
        return try finish(status, holder: holder, descriptor, path: path, isReadOnly: isReadOnly, isBlockDevice: isBlockDevice)
    }

    /// Takes the lock if nobody has it, and never waits; the refusal names the holder only if asked to, since finding it takes a look at
    /// every process.
    static func attempt(
        _ descriptor: FileDescriptor, path: String, isReadOnly: Bool, isBlockDevice: Bool, namesHolder: Bool
    ) throws(BackingError) -> BackingLock {
        let status = clinux_lock_whole(descriptor.rawValue, isReadOnly ? 0 : 1)
        let isBusy = status == -EAGAIN || status == -EACCES
        let holder = isBusy && namesHolder ? LockHolder.find(descriptor, forWriting: !isReadOnly) : nil
        return try finish(status, holder: holder, descriptor, path: path, isReadOnly: isReadOnly, isBlockDevice: isBlockDevice)
    }

    /// What follows an attempt that ended with `status`.
    private static func finish(
        _ status: Int32, holder: LockHolder?, _ descriptor: FileDescriptor, path: String, isReadOnly: Bool, isBlockDevice: Bool
    ) throws(BackingError) -> BackingLock {
        switch -status {
        case 0: break
        case EAGAIN, EACCES:
            let seen = holder == .hidden ? "; 'vhublkctl export show' as root tells who it is" : ""
            throw BackingError(
                .busy, path: path, "\(path) is in use\(holder?.text ?? "")",
                hint: (isReadOnly ? "another process may write to it; stop that one first" : "stop the other user, or export it read-only")
                    + seen,
                cause: SystemError("lock \(path)", errno: status))
        case ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL: break  // A file system without locks: nobody else can hold one either.
        default: throw BackingError(.system, path: path, "cannot lock \(path): \(SystemError("lock", errno: status).reason)")
        }
        guard isBlockDevice, !isReadOnly else { return BackingLock(claim: nil, descriptor: descriptor) }
        do {
            return BackingLock(claim: try FileDescriptor.open(path, flags: O_RDONLY | O_EXCL), descriptor: descriptor)
        } catch {
            _ = clinux_unlock_whole(descriptor.rawValue)
            let isBusy = error.errno == EBUSY
            throw BackingError(
                isBusy ? .busy : .system, path: path, "cannot claim \(path): \(error.reason)",
                hint: isBusy ? "it is mounted, or part of a volume group, array or swap; release it there first" : "", cause: error)
        }
    }

    /// Gives the lock back.
    func release() {
        _ = clinux_unlock_whole(descriptor.rawValue)
    }
}
