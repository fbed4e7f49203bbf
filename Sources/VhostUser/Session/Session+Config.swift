extension Session {
    /// Some front-ends count offsets from the start of the legacy register layout, in which the config space begins at 0x100.
    private static let legacyConfigOffset: UInt32 = 0x100

    /// The range of the config space that is meant; nil when no device can have it.
    private func configRange(_ access: ConfigAccess) -> (offset: Int, size: Int)? {
        let base = access.offset >= Self.legacyConfigOffset ? Self.legacyConfigOffset : 0
        let offset = access.offset - base
        guard access.size >= 1, access.size <= ConfigAccess.sizeMax, offset <= ConfigAccess.sizeMax - access.size else { return nil }
        return (Int(offset), Int(access.size))
    }

    /// The answer has as many bytes as were asked for, or says size 0 without any: that is how this message tells an error.
    func getConfig(_ access: ConfigAccess) {
        // The bytes of the request mean nothing; they are all there or, with some front-ends, none is.
        let isWellFormed = access.bytes.isEmpty || access.bytes.count == Int(access.size)
        guard
            isWellFormed, let range = configRange(access), let bytes = device.readConfig(offset: range.offset, size: range.size),
            bytes.count == range.size
        else {
            answer(.config(ConfigAccess(offset: access.offset, size: 0, flags: access.flags, bytes: [])))
            return
        }
        answer(.config(ConfigAccess(offset: access.offset, size: access.size, flags: access.flags, bytes: bytes)))
    }

    func setConfig(_ access: ConfigAccess) throws(Refusal) {
        guard access.bytes.count == Int(access.size) else {
            throw Refusal(.malformed, "\(access.bytes.count) bytes came, size says \(access.size)")
        }
        guard let range = configRange(access) else {
            throw Refusal(.invalidValue, "\(access.size) bytes at \(access.offset) are not in the config space")
        }
        let isMigration = access.flags == ConfigAccess.migrationFlag
        guard device.writeConfig(offset: range.offset, bytes: access.bytes, isMigration: isMigration) else {
            throw Refusal(.device, "\(range.size) bytes at \(range.offset) of the config space may not be written")
        }
        acknowledge()
    }
}
