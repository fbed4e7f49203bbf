internal import BlockIO
internal import LinuxSystem
internal import Synchronization
package import Virtio

/// What an export serves, as its queues see it: the backing, the config space, and what may change while queues run.
///
/// The control thread changes it; a poller copies ``limits(features:)`` when a ring starts and again when ``generation`` has moved.
package final class Disk: Sendable {
    let backing: Backing
    /// The engine that serves it and why it was taken.
    let choice: EngineChoice
    /// What GET_ID answers.
    let serial: BlockSerial
    /// Who else had the backing when it was opened; nobody is kept out before the first ring starts.
    let conflict: String?
    /// The serial as text.
    let serialText: String
    private let queueCount: Int
    private let queueSize: Int

    /// Moves with every change that queues have to see.
    let generation = Atomic<UInt64>(0)
    /// A call descriptor of the front-end's held up a poller: the others are written to only when they take it, until the session ends.
    let callsAreSuspect = Atomic<Bool>(false)
    /// A flush failed with the page cache in between. The kernel tells a failed write-back once and takes the pages for clean afterwards, so that
    /// a later flush would succeed although data is lost: none does, for as long as this backing is open.
    private let isFlushLost = Atomic<Bool>(false)
    private let state: Locked<State>

    private struct State {
        var bytes: UInt64
        /// Whether completed writes may sit in a cache until FLUSH; a front-end may change it, a reset restores it.
        var isWriteback = true
    }

    /// Opens what the configuration names. Blocks: not for the control thread.
    package init(opening configuration: ExportConfiguration) throws(ExportError) {
        do {
            backing = try Backing.open(
                configuration.backing,
                BackingOptions(
                    isReadOnly: configuration.isReadOnly, direct: configuration.directIO,
                    blockSize: configuration.blockSize.map(UInt32.init), takesLock: false))
            conflict = try Self.conflict(of: backing)
            choice = try EngineChoice.choose(
                configuration.engine, for: backing, pollsCompletions: configuration.pollsCompletions)
        } catch {
            throw ExportError(error)
        }
        serialText = configuration.serial ?? String(configuration.name.prefix(BlockSerial.size))
        serial = BlockSerial(serialText)
        queueCount = configuration.queueCount
        queueSize = configuration.queueSize
        state = Locked(State(bytes: backing.size))
    }

    /// Tries whether the backing could be locked, so that whoever makes an export of one in use hears of it at once.
    private static func conflict(of backing: Backing) throws(BackingError) -> String? {
        do {
            try backing.tryLock(namesHolder: true)
            backing.unlock()
            return nil
        } catch {
            guard error.kind == .busy else { throw error }
            return error.message
        }
    }

    /// Takes the backing's lock, with a single attempt. Not for the control thread.
    func lock(namesHolder: Bool) throws(ExportError) {
        do {
            try backing.tryLock(namesHolder: namesHolder)
        } catch {
            throw ExportError(error)
        }
    }

    /// Gives the backing up, its lock included; no queue uses it any more.
    func close() { backing.unlock() }

    // MARK: For pollers

    /// The rules for requests on a ring with these features.
    func check(features: VirtioFeatures) -> BlockRequestCheck { BlockRequestCheck(abilities, negotiated: features) }

    /// How writes are done on a ring with these features: without a cache to flush each is durable when it completes.
    func writeFlags(features: VirtioFeatures) -> IOFlags {
        configSpace.allowsVolatileCache(negotiated: features) ? [] : .durable
    }

    /// Whether a flush may be tried; otherwise it has to fail.
    var canFlush: Bool { !isFlushLost.load(ordering: .relaxed) }

    /// A flush failed with `result`. Where that is the backing's failing, and the page cache is in between, data may be lost.
    func flushFailed(_ result: Int64) {
        let isBackings = IOFailure.mayRetry(.flush, result: result, isDirect: true)
        if isBackings, !backing.isDirect { isFlushLost.store(true, ordering: .relaxed) }
    }

    // MARK: For the control thread

    /// Capacity in bytes.
    var bytes: UInt64 { state.withLock { $0.bytes } }

    /// Whether completed writes may sit in a cache until FLUSH.
    var isWriteback: Bool { state.withLock { $0.isWriteback } }

    /// The features offered to front-ends.
    package var offeredFeatures: VirtioFeatures { abilities.features.union(.rings) }

    /// The config space as it is now.
    var configSpace: BlockConfigSpace {
        var space = BlockConfigSpace(abilities)
        space.isWriteback = isWriteback
        return space
    }

    /// SET_CONFIG: the writeback field is the guest's to write, all else is not.
    package func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
        var space = configSpace
        guard space.write(offset: offset, bytes: bytes, isMigration: isMigration) else { return false }
        setWriteback(space.isWriteback)
        return true
    }

    /// A device reset: the cache mode is the initial one again.
    package func reset() { setWriteback(true) }

    private func setWriteback(_ isWriteback: Bool) {
        state.withLock { $0.isWriteback = isWriteback }
        changed()
    }

    /// What the device remembers, for a migration.
    var deviceState: DeviceState {
        DeviceState(serial: serialText, byteCount: bytes, blockSize: backing.blockSize, isWriteback: isWriteback)
    }

    /// The same, as bytes that another daemon can read.
    package var stateStream: [UInt8] { deviceState.encoded }

    /// Goes on with the state that another daemon wrote; nil, or why it cannot be used.
    package func restoreState(_ stream: [UInt8]) -> String? {
        do throws(DeviceStateError) {
            try restore(stream)
            return nil
        } catch {
            return error.reason
        }
    }

    /// Goes on with the state that another daemon wrote.
    func restore(_ stream: [UInt8]) throws(DeviceStateError) {
        setWriteback(try DeviceState(decoding: stream, for: deviceState).isWriteback)
    }

    /// Makes the disk `bytes` long, or with nil takes over the size the backing has now. Blocks: not for the control thread.
    ///
    /// - Parameter force: cuts data off.
    package func resize(to bytes: UInt64?, force: Bool = false) throws(ExportError) -> UInt64 {
        do {
            if let bytes { try backing.resize(to: bytes, force: force) }
            let size = try backing.refreshSize()
            state.withLock { $0.bytes = size }
            changed()
            return size
        } catch let error as BackingError {
            throw ExportError(error)
        } catch {
            throw ExportError(kind: .system, field: "size", message: "cannot resize \(backing.spec): \(error)", hint: "look at the backing")
        }
    }

    private func changed() {
        // Release: a poller that sees the new number sees what changed before it.
        generation.wrappingAdd(1, ordering: .releasing)
    }

    /// What the features, the config space and the checks are made of.
    private var abilities: BlockAbilities {
        let limits = backing.limits
        var abilities = BlockAbilities(byteCount: bytes, blockSize: backing.blockSize)
        abilities.physicalBlockSize = max(backing.physicalBlockSize, backing.blockSize)
        abilities.ioSizeMin = backing.minimumIOSize
        abilities.ioSizeOptimal = backing.optimalIOSize
        abilities.alignmentOffset = backing.alignmentOffset
        abilities.isReadOnly = backing.isReadOnly
        abilities.queueCount = UInt16(queueCount)
        // A chain is the header, the segments and the status byte, and no longer than the queue.
        abilities.segmentsMax = min(UInt32(max(1, queueSize - 2)), Self.segmentCountMax)
        abilities.segmentSizeMax = Self.segmentSizeMax
        if limits.canDiscard { abilities.discard = rangeLimits(limits.discardBytesMax, granularity: limits.discardGranularity) }
        if limits.canWriteZeroes { abilities.writeZeroes = rangeLimits(limits.writeZeroesBytesMax, granularity: backing.blockSize) }
        abilities.writeZeroesMayUnmap = limits.writeZeroesMayUnmap
        if limits.canSecureErase { abilities.secureErase = rangeLimits(limits.secureEraseBytesMax, granularity: limits.discardGranularity) }
        return abilities
    }

    /// Most segments offered: what a ring of 128 descriptors, QEMU's default, can hold beside the header and the status byte. Linux builds
    /// requests of that many segments whatever the size of its ring, and without indirect tables a larger one waits for ever.
    private static let segmentCountMax: UInt32 = 126
    /// Largest segment offered, in bytes: a request of one such segment is as much as the kernel takes at once.
    private static let segmentSizeMax: UInt32 = 1 << 30

    private func rangeLimits(_ bytes: UInt64, granularity: UInt32) -> BlockRangeLimits {
        let blocks = min(bytes, UInt64(UInt32.max) * 512) / UInt64(backing.blockSize)
        return BlockRangeLimits(
            sectorsMax: UInt32(clamping: blocks * UInt64(backing.blockSize) / 512), rangesMax: UInt32(RequestSlots.rangeCountMax),
            sectorAlignment: max(1, granularity / 512))
    }
}
