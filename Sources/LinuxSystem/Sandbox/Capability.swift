import CLinux
import Glibc

/// A right of root that Linux gives or takes by itself (capabilities(7)).
public enum Capability: Int32, Sendable, CaseIterable {
    /// Giving files, and with them sockets, to other users and groups.
    case chown = 0
    /// Opening files whatever their mode says.
    case dacOverride = 1
    /// Changing the bounding set of capabilities.
    case setpcap = 8
    /// Raising limits over their maximum.
    case sysResource = 24

    /// As people write it: `dac_override`.
    public var text: String {
        switch self {
        case .chown: "chown"
        case .dacOverride: "dac_override"
        case .setpcap: "setpcap"
        case .sysResource: "sys_resource"
        }
    }

    /// The highest number that any kernel has given away so far, and some room.
    private static let numberMax: Int32 = 63

    /// The bits of those that the calling thread may use, by number.
    public static func permitted() throws(SystemError) -> UInt64 {
        var bits: UInt64 = 0
        try SystemError.check(unsafe clinux_get_capabilities(&bits), "ask for capabilities")
        return bits
    }

    /// Takes from the calling thread, and the threads it starts later, every capability but `kept`, which are kept where they are there; for
    /// good, and also for programs that would be started. Returns those that are left.
    public static func keep(_ kept: Set<Capability>) throws(SystemError) -> Set<Capability> {
        let bits = kept.reduce(UInt64(0)) { $0 | 1 << UInt64($1.rawValue) }
        // The bounding set can be changed by who has CAP_SETPCAP; who has not cannot gain any either, new privileges being forbidden.
        if try permitted() & (1 << UInt64(setpcap.rawValue)) != 0 {
            for number in 0...numberMax where bits & (1 << UInt64(number)) == 0 {
                let status = clinux_drop_bounding(number)
                // EINVAL: this kernel has fewer.
                if status == -EINVAL { break }
                try SystemError.check(status, "drop capability \(number)")
            }
        }
        try SystemError.check(clinux_keep_capabilities(bits), "drop capabilities")
        let left = try permitted()
        return Set(allCases.filter { left & (1 << UInt64($0.rawValue)) != 0 })
    }
}
