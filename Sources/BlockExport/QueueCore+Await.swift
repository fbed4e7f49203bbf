internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// Requests of a guest whose memory comes later (post-copy migration). Whatever is read of the ring waits where it is read; what the kernel is
/// to read or write is waited for before it gets the request, since it does not wait itself.
extension QueueCore {
    /// Whether guest memory will never be complete: nothing that was read of it since is to be believed.
    var isWithdrawn: Bool { unsafe awaited.map { $0.isWithdrawn } ?? false }

    /// Waits for the pages of a request's data and of its status byte. False when they never come, or when the request may have been read from
    /// pages that never came.
    @inline(never)
    func hasArrived(_ request: BlockRequest, _ verdict: BlockVerdict) -> Bool {
        guard let awaited = unsafe awaited else { return true }
        if unsafe !awaited.touch(request.status, 1) { return false }
        switch verdict {
        case .read, .write:
            for index in 0..<Int(request.dataCount) {
                let segment = unsafe request.data[index]
                if unsafe !awaited.touch(segment.base, segment.length) { return false }
            }
        default: break
        }
        return !awaited.isWithdrawn
    }

    /// Ends such a request; the ring is not told, see ``QueueRunner/complete()``.
    func refuseWithdrawn(_ slot: UnsafeMutablePointer<RequestSlot>) {
        unsafe slot.pointee.kind = .other
        unsafe finishAtOnce(slot, RequestResult.cancelled)
    }
}
