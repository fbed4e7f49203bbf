/// The structures with more than three fields. Each line writes or reads one field, in the order of the specification.
extension MessageCodec {
    static func encode(_ state: VringState, into bytes: inout [UInt8]) {
        bytes.append(integer: state.index)
        bytes.append(integer: state.number)
    }

    static func encode(_ address: VringAddress, into bytes: inout [UInt8]) {
        bytes.append(integer: address.index)
        bytes.append(integer: address.flags)
        bytes.append(integer: address.descriptor)
        bytes.append(integer: address.used)
        bytes.append(integer: address.available)
        bytes.append(integer: address.log)
    }

    static func decodeVringAddress(_ reader: inout ByteReader) throws(PayloadError) -> VringAddress {
        VringAddress(
            index: try reader.read(), flags: try reader.read(), descriptor: try reader.read(), used: try reader.read(),
            available: try reader.read(), log: try reader.read())
    }

    static func encode(_ area: VringArea, into bytes: inout [UInt8]) {
        bytes.append(integer: area.reference)
        bytes.append(integer: area.size)
        bytes.append(integer: area.offset)
    }

    static func encode(_ region: MemoryRegionDescription, into bytes: inout [UInt8]) {
        bytes.append(integer: region.guestAddress)
        bytes.append(integer: region.size)
        bytes.append(integer: region.frontendAddress)
        bytes.append(integer: region.mapOffset)
    }

    static func decodeRegion(_ reader: inout ByteReader) throws(PayloadError) -> MemoryRegionDescription {
        MemoryRegionDescription(
            guestAddress: try reader.read(), size: try reader.read(), frontendAddress: try reader.read(), mapOffset: try reader.read())
    }

    static func decodeSingleRegion(_ reader: inout ByteReader) throws(PayloadError) -> MemoryRegionDescription {
        try reader.skip(8)
        return try decodeRegion(&reader)
    }

    /// The table's length follows from its count; a count that does not fit the bytes is refused by the reads, before anything is reserved.
    static func decodeMemoryTable(_ reader: inout ByteReader) throws(PayloadError) -> [MemoryRegionDescription] {
        let count: UInt32 = try reader.read()
        try reader.skip(4)
        var regions: [MemoryRegionDescription] = []
        for _ in 0..<count { regions.append(try decodeRegion(&reader)) }
        return regions
    }

    /// `struct vhost_iotlb_msg` is padded to 32 bytes.
    static func encode(_ message: IOTLBMessage, into bytes: inout [UInt8]) {
        bytes.append(integer: message.iova)
        bytes.append(integer: message.size)
        bytes.append(integer: message.frontendAddress)
        bytes.append(message.permissions)
        bytes.append(message.type)
        bytes.appendZeroes(6)
    }

    static func decodeIOTLB(_ reader: inout ByteReader) throws(PayloadError) -> IOTLBMessage {
        let message = IOTLBMessage(
            iova: try reader.read(), size: try reader.read(), frontendAddress: try reader.read(), permissions: try reader.read(),
            type: try reader.read())
        // A peer without the C structure's padding sends 26 bytes.
        if reader.remainingCount > 0 { try reader.skip(6) }
        return message
    }

    static func encode(_ access: ConfigAccess, into bytes: inout [UInt8]) {
        bytes.append(integer: access.offset)
        bytes.append(integer: access.size)
        bytes.append(integer: access.flags)
        bytes.append(contentsOf: access.bytes)
    }

    static func decodeConfig(_ reader: inout ByteReader) throws(PayloadError) -> ConfigAccess {
        ConfigAccess(offset: try reader.read(), size: try reader.read(), flags: try reader.read(), bytes: reader.readRest())
    }

    static func encode(_ inflight: InflightDescription, into bytes: inout [UInt8]) {
        bytes.append(integer: inflight.size)
        bytes.append(integer: inflight.offset)
        bytes.append(integer: inflight.queueCount)
        bytes.append(integer: inflight.queueSize)
        bytes.appendZeroes(max(0, inflight.encodedByteCount - 20))
    }

    static func decodeInflight(_ reader: inout ByteReader) throws(PayloadError) -> InflightDescription {
        let length = reader.remainingCount
        let inflight = InflightDescription(
            size: try reader.read(), offset: try reader.read(), queueCount: try reader.read(), queueSize: try reader.read(),
            encodedByteCount: length)
        if reader.remainingCount > 0 { try reader.skip(4) }
        return inflight
    }

    static func encode(_ config: SharedMemoryConfig, into bytes: inout [UInt8]) {
        bytes.append(integer: config.regionCount)
        bytes.appendZeroes(4)
        for size in config.sizes { bytes.append(integer: size) }
    }

    static func decodeSharedMemoryConfig(_ reader: inout ByteReader) throws(PayloadError) -> SharedMemoryConfig {
        let count: UInt32 = try reader.read()
        try reader.skip(4)
        var sizes: [UInt64] = []
        for _ in 0..<SharedMemoryConfig.regionCountMax { sizes.append(try reader.read()) }
        var config = SharedMemoryConfig(sizes: sizes)
        config.regionCount = count
        return config
    }

    static func encode(_ mapping: SharedMemoryMapping, into bytes: inout [UInt8]) {
        bytes.append(mapping.identifier)
        bytes.appendZeroes(7)
        bytes.append(integer: mapping.descriptorOffset)
        bytes.append(integer: mapping.regionOffset)
        bytes.append(integer: mapping.size)
        bytes.append(integer: mapping.flags)
    }

    static func decodeSharedMemoryMapping(_ reader: inout ByteReader) throws(PayloadError) -> SharedMemoryMapping {
        let identifier: UInt8 = try reader.read()
        try reader.skip(7)
        return SharedMemoryMapping(
            identifier: identifier, descriptorOffset: try reader.read(), regionOffset: try reader.read(), size: try reader.read(),
            flags: try reader.read())
    }
}
