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
    /// Failed requests are held and tried again, and the disk is away for a while now and then.
    let holds: Bool
    /// The guest has an IOMMU: rings and buffers have I/O virtual addresses.
    let hasIOMMU: Bool
    /// GET_VRING_BASE leaves requests in the region (GET_VRING_BASE_INFLIGHT).
    let leavesInflight: Bool
    /// The guest may choose that completed writes are durable.
    let hasCacheMode: Bool

    static let sectorsMax = 96
    static let slotBytes = 4096
    static let indirectCapacity = 10
    /// From an address of the guest's to one that its IOMMU never maps.
    static let unmappedOffset: UInt64 = 0x2_0000_0000

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
        // Dice of their own: what was added later leaves the rest of a seed's shape as it was.
        let more = Dice(seed: seed ^ 0x5eed)
        holds = more.once(in: 3)
        hasIOMMU = more.once(in: 3)
        leavesInflight = more.once(in: 2)
        hasCacheMode = hasFlush && more.once(in: 2)
    }

    /// The shape in words.
    var description: String {
        let options = [
            (hasEventIndex, "event index"), (hasIndirect, "indirect"), (hasFlush, "flush"), (hasErrors, "errors"), (holds, "hold"),
            (hasIOMMU, "IOMMU"), (leavesInflight, "inflight migration"), (hasCacheMode, "cache mode"),
        ]
        let sizes = ringSizes.map(String.init).joined(separator: "+")
        return "\(format), rings of \(sizes), \(slotCount) slots" + options.filter(\.0).map { ", " + $0.1 }.joined()
    }

    var isPacked: Bool { format == .packed }

    /// Pages of each queue for data: with an IOMMU more than slots, so that an address can be given another one.
    var pageCount: Int { hasIOMMU ? slotCount + 4 : slotCount }

    /// Whether rings that are stopped may leave requests to those who start them next.
    ///
    /// With an IOMMU they always may: one that is stopped while its translations are away cannot finish its requests.
    var keepsRegion: Bool { leavesInflight || hasIOMMU }

    var features: VirtioFeatures {
        var features: VirtioFeatures = [.version1, .blockDiscard, .blockWriteZeroes]
        if queueCount > 1 { features.insert(.blockMultiQueue) }
        if isPacked { features.insert(.ringPacked) }
        if hasEventIndex { features.insert(.ringEventIndex) }
        if hasIndirect { features.insert(.ringIndirectDescriptors) }
        if hasFlush { features.insert(.blockFlush) }
        if hasCacheMode { features.insert(.blockConfigWriteback) }
        if hasIOMMU { features.insert(.accessPlatform) }
        return features
    }
}
