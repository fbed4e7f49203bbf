import CLinux
import Glibc
public import LinuxSystem
import Synchronization

/// An opened file or block device, or a null disk: what an export serves.
///
/// Everything but the size and the lock is found out when it is opened and does not change. Any thread may use it; the methods may wait
/// for the disk and belong on a `Worker`.
public final class Backing: Sendable {
    /// What the data lies on.
    public enum Kind: String, Sendable {
        case regularFile = "file"
        case blockDevice = "device"
        case null
    }

    /// What was opened.
    public let spec: BackingSpec
    /// What it turned out to be.
    public let kind: Kind
    /// Whether writes are impossible.
    public let isReadOnly: Bool
    /// The block size that suits the guest's disk, in bytes, a power of two: what the options asked for, or the backing's own. Offsets
    /// and lengths of all operations are multiples of it.
    public let blockSize: UInt32
    /// Below this the medium reads and rewrites, in bytes; a power of two.
    public let physicalBlockSize: UInt32
    /// The smallest transfer that is efficient, in bytes; 0 when unknown.
    public let minimumIOSize: UInt32
    /// The transfer size that is most efficient, in bytes; 0 when unknown.
    public let optimalIOSize: UInt32
    /// By how many bytes the medium's physical blocks are displaced from offset 0.
    public let alignmentOffset: UInt32
    /// Whether the page cache is bypassed.
    public let isDirect: Bool
    /// Why the page cache is not bypassed; empty when it is.
    public let bufferedReason: String
    /// Alignment that memory of a transfer needs, in bytes, so as not to be copied; 1 when anything will do.
    public let memoryAlignment: UInt32
    /// Alignment that offsets and lengths need, in bytes; at most `blockSize`.
    public let offsetAlignment: UInt32
    /// What can be done besides reading and writing.
    public let limits: BackingLimits
    /// Whether the kernel can tell without waiting that a transfer would wait (RWF_NOWAIT).
    public let supportsNowait: Bool
    /// Whether the medium is memory, whose transfers are complete when the system call that starts them returns.
    public let isMemory: Bool
    /// The NUMA node of the device the data lies on; nil when unknown.
    public let node: Int?

    /// The device that the data lies on, as the kernel names it; nil when there is none.
    let deviceName: String?
    /// Whether that device has queues whose completions can be polled.
    let hasPollQueues: Bool
    let descriptor: FileDescriptor?
    /// Does what no engine can; nil for a null disk.
    let slowWorker: SlowWorker?
    /// Whether a flush has nothing to do: the data is in memory that no power keeps, and in no cache above it.
    let flushIsFree: Bool
    private let sizeNow: Atomic<UInt64>
    private let held = Locked<BackingLock?>(nil)

    /// Size in bytes as it was last seen; a multiple of nothing in particular.
    public var size: UInt64 { sizeNow.load(ordering: .relaxed) }

    /// The path, or nil for a null disk.
    public var path: String? { if case .file(let path) = spec { path } else { nil } }

    /// Opens what `spec` names.
    public static func open(_ spec: BackingSpec, _ options: BackingOptions = BackingOptions()) throws(BackingError) -> Backing {
        switch spec {
        case .null(let size): return Backing(spec, options, nullSize: size)
        case .file(let path):
            let opened = try OpenedFile(path: path, options: options)
            let backing = Backing(spec, options, opened)
            if options.takesLock { try backing.lock() }
            return backing
        }
    }

    private init(_ spec: BackingSpec, _ options: BackingOptions, nullSize: UInt64) {
        self.spec = spec
        kind = .null
        isReadOnly = options.isReadOnly
        blockSize = options.blockSize ?? 512
        physicalBlockSize = 4096
        (minimumIOSize, optimalIOSize, alignmentOffset) = (0, 0, 0)
        (isDirect, bufferedReason) = (true, "")
        (memoryAlignment, offsetAlignment) = (1, 1)
        let pieceMax: UInt64 = 1 << 30
        limits = BackingLimits(
            canDiscard: !isReadOnly, discardBytesMax: pieceMax, discardGranularity: blockSize, canWriteZeroes: !isReadOnly,
            writeZeroesBytesMax: pieceMax, writeZeroesMayUnmap: true, canSecureErase: !isReadOnly, secureEraseBytesMax: pieceMax)
        (supportsNowait, isMemory, node) = (true, true, nil)
        (deviceName, hasPollQueues) = (nil, false)
        (descriptor, slowWorker, flushIsFree) = (nil, nil, true)
        sizeNow = Atomic(nullSize)
    }

    private init(_ spec: BackingSpec, _ options: BackingOptions, _ opened: OpenedFile) {
        self.spec = spec
        kind = opened.isBlockDevice ? .blockDevice : .regularFile
        isReadOnly = options.isReadOnly
        blockSize = opened.blockSize
        physicalBlockSize = opened.physicalBlockSize
        minimumIOSize = opened.geometry?.io_minimum ?? 0
        optimalIOSize = opened.geometry?.io_optimal ?? 0
        alignmentOffset = UInt32(max(opened.geometry?.alignment_offset ?? 0, 0))
        isDirect = opened.alignment != nil
        bufferedReason = opened.bufferedReason
        memoryAlignment = opened.alignment?.memory ?? 1
        offsetAlignment = opened.alignment?.offset ?? 1
        limits = options.isReadOnly ? .none : opened.limits()
        supportsNowait = opened.supportsNowait()
        isMemory = opened.isMemory
        node = opened.attributes?.node
        (deviceName, hasPollQueues) = (opened.attributes?.name, opened.attributes?.hasPollQueues ?? false)
        descriptor = opened.descriptor
        flushIsFree = opened.flushIsFree
        slowWorker = SlowWorker(
            SlowTarget(
                descriptor: opened.descriptor, deviceBlock: UInt64(opened.geometry?.logical_block ?? 0),
                mayUnmap: limits.writeZeroesMayUnmap))
        sizeNow = Atomic(opened.size)
    }

    deinit {
        slowWorker?.end()
        unlock()
    }

    /// Takes the backing's lock if this object does not hold it: exclusive, or shared for a read-only backing. Never waits for another
    /// holder.
    public func lock() throws(BackingError) {
        guard let descriptor, let path else { return }
        if held.withLock({ $0 != nil }) { return }
        let lock = try BackingLock.take(descriptor, path: path, isReadOnly: isReadOnly, isBlockDevice: kind == .blockDevice)
        held.withLock { $0 = lock }
    }

    /// Whether there is anything to lock.
    public var isLockable: Bool { descriptor != nil }

    /// As `lock`, with a single attempt, which waits for nobody.
    ///
    /// - Parameter namesHolder: the refusal says which process holds the lock, if it can be seen; finding it is slow.
    public func tryLock(namesHolder: Bool) throws(BackingError) {
        guard let descriptor, let path else { return }
        if held.withLock({ $0 != nil }) { return }
        let lock = try BackingLock.attempt(
            descriptor, path: path, isReadOnly: isReadOnly, isBlockDevice: kind == .blockDevice, namesHolder: namesHolder)
        held.withLock { $0 = lock }
    }

    /// Gives the lock back, if held.
    public func unlock() {
        held.withLock { held in
            held?.release()
            held = nil
        }
    }

    /// Asks for the size again, since devices grow and files are truncated underneath; `size` has the answer from then on.
    @discardableResult
    public func refreshSize() throws(SystemError) -> UInt64 {
        guard let descriptor else { return size }
        let now: UInt64
        if kind == .blockDevice {
            var geometry = clinux_geometry()
            try SystemError.check(unsafe clinux_block_geometry(descriptor.rawValue, &geometry), "ask for the size of \(spec)")
            now = geometry.size
        } else {
            now = try descriptor.status().size
        }
        sizeNow.store(now, ordering: .relaxed)
        return now
    }

    /// Changes the size to `newSize` bytes: of a file by extending (sparsely) or cutting it, of a null disk at once. A block device is
    /// resized elsewhere; for one this succeeds when it has become at least that large.
    ///
    /// - Parameter force: cuts a file although it holds data beyond the new end.
    public func resize(to newSize: UInt64, force: Bool = false) throws(BackingError) {
        let name = spec.description
        guard newSize >= UInt64(blockSize), newSize % UInt64(blockSize) == 0 else {
            throw BackingError(.badSize, path: name, "\(newSize) bytes are not a multiple of the block size \(blockSize)")
        }
        do {
            switch kind {
            case .null: sizeNow.store(newSize, ordering: .relaxed)
            case .regularFile:
                if !force { try refuseCut(at: newSize) }
                try descriptor?.truncate(to: newSize)
                try refreshSize()
            case .blockDevice:
                let now = try refreshSize()
                guard now >= newSize else {
                    throw BackingError(
                        .badSize, path: name, "\(name) has \(now) bytes, fewer than \(newSize)",
                        hint: "grow the device itself first, for example with lvextend")
                }
            }
        } catch let error as SystemError {
            throw BackingError(.system, path: name, "cannot resize \(name): \(error.reason)", cause: error)
        } catch let error as BackingError {
            throw error
        } catch {
            fatalError("no other error is thrown above: \(error)")
        }
    }

    /// Refuses to cut data off. What was never written, or was discarded, is a hole and no data; where the file system knows no holes
    /// everything is data.
    private func refuseCut(at newSize: UInt64) throws(BackingError) {
        guard let descriptor, newSize < size, let offset = Int64(exactly: newSize) else { return }
        let place = clinux_next_data(descriptor.rawValue, offset)
        guard place != -Int64(ENXIO) else { return }
        let state = place < 0 ? "may be in use" : "are in use from byte \(place) on"
        throw BackingError(
            .badSize, path: spec.description, "the last \(size - newSize) bytes of \(spec), which would be cut off, \(state)",
            hint: "make the guest's file systems and partitions smaller and discard the rest, or cut it off with --force")
    }
}
