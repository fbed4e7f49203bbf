import VhostUserFrontend
import Virtio

/// Guest memory of eight regions, and addresses in it.
final class LookUps {
    /// Look-ups of a turn.
    static let count = 64

    let memory: DriverMemory
    let guest: GuestMemory
    /// What was found, added up, so that nothing can be left out.
    var sum: UInt = 0

    init() throws {
        memory = try DriverMemory(
            anonymous: (0..<8).map { DriverMemory.Range(guestAddress: UInt64($0) << 32, size: 1 << 20) })
        guest = try memory.deviceMemory()
    }
}

@inline(never)
func countedLookUps(_ lookUps: LookUps) {
    var view = lookUps.guest.view
    var sum: UInt = 0
    for index in 0..<UInt64(LookUps.count) {
        let place = unsafe view.translate((index % 8) << 32 + index << 12, 4096)
        sum &+= UInt(bitPattern: place)
    }
    lookUps.sum &+= sum
}
