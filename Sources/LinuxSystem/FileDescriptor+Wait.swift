import CLinux
import Glibc

extension FileDescriptor {
    /// What a thread waits for at a descriptor.
    public enum WaitEvent: Sendable {
        /// Something to read, or the end.
        case readable
        /// Room to write.
        case writable
    }

    /// Makes the calling thread wait until the descriptor is ready or the time is over; whether it is ready. For programs with nothing else
    /// to do, and with no
    /// time for a look: never to wait on the control thread.
    public func wait(for event: WaitEvent, nanoseconds: UInt64) throws(SystemError) -> Bool {
        let deadline = MonotonicClock.now() &+ nanoseconds
        while true {
            let now = MonotonicClock.now()
            let left = deadline > now ? deadline - now : 0
            let milliseconds = Int32(clamping: (left + 999_999) / 1_000_000)
            var entry = pollfd(fd: rawValue, events: Int16(event == .readable ? POLLIN : POLLOUT), revents: 0)
            let count = unsafe poll(&entry, 1, milliseconds)
            if count > 0 { return true }
            if count == 0, left == 0 || nanoseconds == 0 { return false }
            if count < 0, errno != EINTR { throw SystemError("wait for descriptor \(rawValue)", errno: errno) }
        }
    }
}
