import VhostUserFrontend
import Virtio

/// The shape of one simulation, drawn from its seed: even seeds have split rings, odd ones packed.
struct Scenario {
    let format: RingFormat
    let queueCount: Int
    /// Descriptors of each ring.
    let ringSizes: [Int]
    /// Requests of each queue that can be with the device at once.
    let slotCount: Int
    let hasEventIndex: Bool
    let hasIndirect: Bool
    /// Whether completed writes may be lost with the host's power until a FLUSH.
    let hasFlush: Bool
    /// Whether the disk fails now and then.
    let hasErrors: Bool
    /// Requests to be made in all.
    let requestCount: Int
    /// The daemon dies about once in so many events.
    let eventsPerDeath: Int

    static let sectorsMax = 96
    static let slotBytes = 4096
    static let indirectCapacity = 10

    init(seed: UInt64, _ dice: Dice) {
        let isPacked = seed % 2 == 1
        format = isPacked ? .packed : .split
        queueCount = dice.pick([1, 1, 2, 3])
        hasIndirect = !dice.once(in: 3)
        hasEventIndex = dice.once(in: 2)
        let sizes: [Int]
        switch (isPacked, hasIndirect) {
        case (true, true): sizes = [1, 2, 3, 4, 5, 8, 13]
        case (true, false): sizes = [3, 4, 6, 7, 8, 16]
        case (false, true): sizes = [1, 2, 4, 8, 16]
        case (false, false): sizes = [4, 8, 8, 16]
        }
        ringSizes = (0..<queueCount).map { _ in dice.pick(sizes) }
        slotCount = dice.number(2...8)
        hasFlush = !dice.once(in: 4)
        hasErrors = dice.once(in: 4)
        requestCount = dice.number(40...160)
        eventsPerDeath = dice.pick([60, 150, 400])
    }

    /// The shape in words.
    var description: String {
        let options = [(hasEventIndex, "event index"), (hasIndirect, "indirect"), (hasFlush, "flush"), (hasErrors, "errors")]
        let sizes = ringSizes.map(String.init).joined(separator: "+")
        return "\(format), rings of \(sizes), \(slotCount) slots" + options.filter(\.0).map { ", " + $0.1 }.joined()
    }

    var isPacked: Bool { format == .packed }

    var features: VirtioFeatures {
        var features: VirtioFeatures = [.version1, .blockDiscard, .blockWriteZeroes]
        if queueCount > 1 { features.insert(.blockMultiQueue) }
        if isPacked { features.insert(.ringPacked) }
        if hasEventIndex { features.insert(.ringEventIndex) }
        if hasIndirect { features.insert(.ringIndirectDescriptors) }
        if hasFlush { features.insert(.blockFlush) }
        return features
    }
}
