import LinuxSystem
import Synchronization
import VhostUser
public import Virtio

/// Answers a back-end's IOTLB misses on a thread of its own, while a driver's rings run. Any thread may use it.
///
/// As QEMU does it: the update goes over the main connection, and is acknowledged, before the miss is answered; a miss without a mapping is
/// answered with 1. While it serves, nobody else may use the connection but through it.
public final class TranslationServer: @unchecked Sendable {
    // Sendable: connection and channel are used under the lock, or by the thread alone; see `lock`.
    private let connection: FrontendConnection
    private let channel: BackendChannel
    private let lock: Locked<IOMMU>
    private let isEnding = Atomic<Bool>(false)
    private let misses = Atomic<Int>(0)
    private let denials = Atomic<Int>(0)
    private let accessFailures = Atomic<Int>(0)
    private var thread: PinnedThread?

    /// Serves the misses that come over `channel`.
    public init(_ connection: FrontendConnection, _ channel: BackendChannel, _ iommu: IOMMU) throws(FrontendError) {
        self.connection = connection
        self.channel = channel
        lock = Locked(iommu)
        do { thread = try PinnedThread(name: "iommu", body: { [self] in serve() }) } catch {
            throw FrontendError(.system, "\(error)")
        }
    }

    /// Misses that came so far.
    public var missCount: Int { misses.load(ordering: .relaxed) }
    /// Those that were answered with 1.
    public var denialCount: Int { denials.load(ordering: .relaxed) }
    /// ACCESS_FAIL messages that came so far.
    public var accessFailureCount: Int { accessFailures.load(ordering: .relaxed) }
    /// The mappings as they are.
    public var iommu: IOMMU { lock.withLock { $0 } }

    /// Changes mappings without telling the back-end: it has not seen those that are added, and does not know those that go.
    public func change(_ body: (inout IOMMU) -> Void) { lock.withLock { body(&$0) } }

    /// Tells the back-end that its translations of `size` bytes at `iova` are void; 0 bytes are everything. Returns when it has forgotten them.
    public func invalidate(iova: UInt64, size: UInt64) throws(FrontendError) {
        try lock.withLock { (_) throws(FrontendError) in try tell(.invalidate, iova, size, 0, []) }
    }

    /// Gives the back-end a translation it has not asked for.
    public func update(iova: UInt64, size: UInt64, frontendAddress: UInt64, access: MemoryAccess) throws(FrontendError) {
        try lock.withLock { (_) throws(FrontendError) in try tell(.update, iova, size, frontendAddress, access) }
    }

    /// Ends the thread: misses are not answered any more. Not from the thread itself.
    public func end() {
        isEnding.store(true, ordering: .relaxed)
        thread?.join()
    }

    private func tell(
        _ kind: IOTLBMessage.Kind, _ iova: UInt64, _ size: UInt64, _ frontendAddress: UInt64, _ access: MemoryAccess
    ) throws(FrontendError) {
        let message = IOTLBMessage(
            iova: iova, size: size, frontendAddress: frontendAddress, permissions: access.rawValue, kind: kind)
        let value = try connection.askNumber(.iotlbMessage, .iotlb(message))
        if value != 0 { throw FrontendError(.refused, "the back-end refused an IOTLB message with \(value)") }
    }

    private func serve() {
        while !isEnding.load(ordering: .relaxed) {
            do throws(FrontendError) {
                guard let request = try channel.receive(timeoutNanoseconds: 5_000_000) else { continue }
                try answer(request)
            } catch {
                // The back-end went away; the driver notices it by itself.
                return
            }
        }
    }

    private func answer(_ request: Message) throws(FrontendError) {
        var value: UInt64 = 0
        if request.request == BackendRequest.iotlbMessage.rawValue, case .iotlb(let message)? = try? request.decode(.iotlb) {
            switch message.kind {
            case .miss: value = try fill(message)
            case .accessFail: accessFailures.wrappingAdd(1, ordering: .relaxed)
            default: value = 1
            }
        }
        if request.needsReply { try channel.reply(to: request, value) }
    }

    private func fill(_ miss: IOTLBMessage) throws(FrontendError) -> UInt64 {
        misses.wrappingAdd(1, ordering: .relaxed)
        return try lock.withLock { (iommu) throws(FrontendError) in
            guard let page = iommu.translate(miss.iova, MemoryAccess(rawValue: miss.permissions)) else {
                denials.wrappingAdd(1, ordering: .relaxed)
                return 1
            }
            try tell(.update, page.iova, iommu.pageBytes, page.frontendAddress, page.access)
            return 0
        }
    }
}
