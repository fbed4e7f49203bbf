import Testing
import Virtio

@Suite("Features, bases and layouts")
struct SeamTests {
    @Test(
        "feature bits have the numbers and names of the specification",
        arguments: [
            (VirtioFeatures.blockSizeMax, 1, "SIZE_MAX"), (.blockSegmentMax, 2, "SEG_MAX"), (.blockGeometry, 4, "GEOMETRY"),
            (.blockReadOnly, 5, "RO"), (.blockSize, 6, "BLK_SIZE"), (.blockFlush, 9, "FLUSH"), (.blockTopology, 10, "TOPOLOGY"),
            (.blockConfigWriteback, 11, "CONFIG_WCE"), (.blockMultiQueue, 12, "MQ"), (.blockDiscard, 13, "DISCARD"),
            (.blockWriteZeroes, 14, "WRITE_ZEROES"), (.blockLifetime, 15, "LIFETIME"), (.blockSecureErase, 16, "SECURE_ERASE"),
            (.blockZoned, 17, "ZONED"), (.notifyOnEmpty, 24, "NOTIFY_ON_EMPTY"), (.logAll, 26, "LOG_ALL"), (.anyLayout, 27, "ANY_LAYOUT"),
            (.ringIndirectDescriptors, 28, "INDIRECT_DESC"), (.ringEventIndex, 29, "EVENT_IDX"),
            (.protocolFeatures, 30, "PROTOCOL_FEATURES"),
            (.version1, 32, "VERSION_1"), (.accessPlatform, 33, "ACCESS_PLATFORM"), (.ringPacked, 34, "RING_PACKED"),
            (.inOrder, 35, "IN_ORDER"),
            (.orderPlatform, 36, "ORDER_PLATFORM"), (.notificationData, 38, "NOTIFICATION_DATA"), (.ringReset, 40, "RING_RESET"),
        ] as [(VirtioFeatures, Int, String)])
    func feature(feature: VirtioFeatures, bit: Int, name: String) {
        #expect(feature.rawValue == 1 << UInt64(bit))
        #expect(feature.description == name)
    }

    @Test("unknown feature bits keep their number")
    func unknownFeature() {
        #expect(VirtioFeatures(rawValue: 1 << 63 | 1 << 32).bitNames == ["VERSION_1", "bit 63"])
    }

    @Test(
        "vring base: which bits are which",
        arguments: [
            (0x0000_0000, 0, false, 0, false), (0x8000_8000, 0, true, 0, true), (0x7fff_ffff, 0x7fff, true, 0x7fff, false),
            (0x8001_0002, 2, false, 1, true),
        ] as [(UInt32, UInt16, Bool, UInt16, Bool)])
    func base(raw: UInt32, avail: UInt16, availWrap: Bool, used: UInt16, usedWrap: Bool) {
        let base = RingBase(rawValue: raw)
        #expect(base.packedAvailIndex == avail)
        #expect(base.packedAvailWrap == availWrap)
        #expect(base.packedUsedIndex == used)
        #expect(base.packedUsedWrap == usedWrap)
        #expect(RingBase(packedAvail: avail, wrap: availWrap, used: used, wrap: usedWrap) == base)
        #expect(base.splitAvailIndex == UInt16(truncatingIfNeeded: raw))
        #expect(base.description == "0x" + String(raw, radix: 16))
    }

    @Test("a split base is 16 bits") func splitBase() {
        #expect(RingBase(split: 0xffff).rawValue == 0xffff)
        #expect(RingBase.packedStart.rawValue == 0x8000_8000)
    }

    @Test(
        "area sizes (virtio 1.3, 2.7 and 2.8)",
        arguments: [
            (8, [], 128, 20, 68, 2), (8, .ringEventIndex, 128, 22, 70, 2), (32768, .ringEventIndex, 524_288, 65542, 262_150, 2),
            (5, .ringPacked, 80, 4, 4, 4),
        ] as [(Int, VirtioFeatures, Int, Int, Int, Int)])
    func layout(size: Int, features: VirtioFeatures, descriptors: Int, driver: Int, device: Int, driverAlignment: Int) {
        let layout = VirtqueueLayout(queueSize: size, features: features)
        #expect(layout.descriptorBytes == descriptors)
        #expect(layout.driverBytes == driver)
        #expect(layout.deviceBytes == device)
        #expect(layout.driverAlignment == driverAlignment)
        #expect(layout.descriptorAlignment == 16)
        #expect(layout.deviceAlignment == 4)
    }

    @Test(
        "queue sizes",
        arguments: [
            (0, false, false), (1, true, true), (2, true, true), (3, false, true), (32768, true, true), (32769, false, false),
            (65536, false, false), (-1, false, false),
        ])
    func sizes(size: Int, split: Bool, packed: Bool) {
        #expect(VirtqueueLayout.isValid(queueSize: size, features: .version1) == split)
        #expect(VirtqueueLayout.isValid(queueSize: size, features: .ringPacked) == packed)
    }

    @Test("faults and errors have words") func words() {
        let texts =
            ChainFault.allCases.map(\.description) + RingFault.allCases.map(\.description)
            + [
                VirtqueueError.invalidSize(3).description, VirtqueueError.misalignedArea.description,
                VirtqueueError.invalidBase(.packedStart).description, VirtqueueError.damagedInflightRegion("x").description,
            ]
        #expect(Set(texts).count == texts.count)
        #expect(texts.allSatisfy { !$0.isEmpty })
    }
}
