public import LinuxSystem
import VhostUser

/// crosvm's own messages (its vmm_vhost, before it moved to DEVICE_STATE and GET_SHMEM_CONFIG).
extension FrontendConnection {
    /// SLEEP: no ring is processed until `wake`. Whether the back-end says that it worked.
    public func sleep() throws(FrontendError) -> Bool { try askSuccess(.crosvmSleep).isSuccess }

    /// WAKE: the rings go on where they were.
    public func wake() throws(FrontendError) -> Bool { try askSuccess(.crosvmWake).isSuccess }

    /// SNAPSHOT: what `restore` takes, opaque to the front-end; nil when the back-end says that it cannot.
    public func snapshot() throws(FrontendError) -> [UInt8]? {
        let answer = try askSuccess(.crosvmSnapshot)
        return answer.isSuccess ? answer.rest : nil
    }

    /// RESTORE: the bytes of a snapshot, and the rings' kick descriptors from ring 0 on. Memory and call descriptors come before it.
    public func restore(_ snapshot: [UInt8], kicks: [FileDescriptor]) throws(FrontendError) -> Bool {
        try askSuccess(.crosvmRestore, .opaque(snapshot), descriptors: kicks).isSuccess
    }

    /// GET_SHARED_MEMORY_REGIONS: how many there are.
    public func sharedMemoryRegionCount() throws(FrontendError) -> UInt64 { try askNumber(.crosvmGetSharedMemoryRegions) }

    /// The answer's first byte, which says whether it worked, and the others.
    private func askSuccess(
        _ request: FrontendRequest, _ payload: Payload = .none, descriptors: [FileDescriptor] = []
    ) throws(FrontendError) -> (isSuccess: Bool, rest: [UInt8]) {
        guard case .opaque(let bytes) = try ask(request, payload, descriptors: descriptors).payload, let first = bytes.first else {
            throw FrontendError(.protocolViolation, "the back-end answered \(request.name) without the byte that tells success")
        }
        return (first != 0, Array(bytes.dropFirst()))
    }
}
