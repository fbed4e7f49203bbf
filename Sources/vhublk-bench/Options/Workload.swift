import ArgumentParser
import VhostUserFrontend

/// What is done to the device: fio's `rw`, with write zeroes and secure erase besides.
enum Workload: String, CaseIterable, Sendable, ExpressibleByArgument {
    case read, write, randread, randwrite
    case readwrite = "rw"
    case randrw
    case trim, randtrim
    case writeZeroes = "write_zeroes"
    case randomWriteZeroes = "randwrite_zeroes"
    case secureErase = "secure_erase"

    init?(argument: String) {
        self.init(rawValue: argument == "readwrite" ? "rw" : argument)
    }

    var isRandom: Bool {
        switch self {
        case .randread, .randwrite, .randrw, .randtrim, .randomWriteZeroes: true
        default: false
        }
    }

    /// Reads and writes are mixed.
    var isMixed: Bool { self == .readwrite || self == .randrw }

    /// What each operation is; of a mixture what it is besides reading.
    var operation: OperationKind {
        switch self {
        case .read, .randread: .read
        case .write, .randwrite, .readwrite, .randrw: .write
        case .trim, .randtrim: .trim
        case .writeZeroes, .randomWriteZeroes: .writeZeroes
        case .secureErase: .secureErase
        }
    }

    /// Whether anything is changed on the device.
    var changesDevice: Bool { operation != .read }
}

/// One kind of request.
enum OperationKind: UInt8, Sendable, CaseIterable {
    case read, write, writeZeroes, trim, secureErase, flush

    /// The request that does it.
    var command: BlockCommand {
        switch self {
        case .read: .read
        case .write: .write
        case .writeZeroes: .writeZeroes
        case .trim: .discard
        case .secureErase: .secureErase
        case .flush: .flush
        }
    }

    /// Under which of fio's four directions it is counted.
    var direction: Direction {
        switch self {
        case .read: .read
        case .write, .writeZeroes: .write
        case .trim, .secureErase: .trim
        case .flush: .sync
        }
    }

    /// The word for messages.
    var name: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .writeZeroes: "write zeroes"
        case .trim: "trim"
        case .secureErase: "secure erase"
        case .flush: "flush"
        }
    }
}

/// The sections of a report, in fio's order.
enum Direction: Int, Sendable, CaseIterable {
    case read, write, trim, sync

    var name: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .trim: "trim"
        case .sync: "sync"
        }
    }
}

/// How a job waits for completions.
enum WaitMode: String, CaseIterable, Sendable, ExpressibleByArgument {
    case poll, sleep
}

/// An option that is on or off.
enum Switch: String, CaseIterable, Sendable, ExpressibleByArgument {
    case on, off

    init?(argument: String) {
        switch argument.lowercased() {
        case "on", "1", "yes", "true": self = .on
        case "off", "0", "no", "false": self = .off
        default: return nil
        }
    }
}

/// How the result is printed.
enum OutputFormat: String, CaseIterable, Sendable, ExpressibleByArgument {
    case normal, json
    case jsonPlus = "json+"
}

/// When the progress line is shown.
enum ETAMode: String, CaseIterable, Sendable, ExpressibleByArgument {
    case auto, always, never
}

/// How blocks are verified.
enum VerifyMode: String, CaseIterable, Sendable, ExpressibleByArgument {
    case none, crc32c
}
