import CLinux
import Glibc

/// The process's standard streams, unbuffered.
public enum StandardStream: Int32, Sendable {
    /// Standard output.
    case output = 1
    /// Standard error.
    case error = 2

    /// Whether a person looks at it.
    public var isTerminal: Bool { isatty(rawValue) == 1 }

    /// Writes text; a stream that is closed or full loses the rest.
    public func write(_ text: String) {
        var text = text
        // The bytes are only read, during the call.
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let written = unsafe clinux_write(rawValue, bytes.baseAddress! + done, bytes.count - done)
                if written == -Int64(EINTR) { continue }
                if written <= 0 { return }
                done += Int(written)
            }
        }
    }
}

/// The time of day.
public enum WallClock {
    /// Nanoseconds since 1970, UTC.
    public static func now() -> UInt64 {
        var time = timespec()
        // CLOCK_REALTIME cannot fail with a valid pointer; clock_gettime(2).
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
