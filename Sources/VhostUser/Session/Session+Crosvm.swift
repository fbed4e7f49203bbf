import Virtio

/// crosvm's own messages, from before DEVICE_STATE. Each is answered with a byte, 1 for success and 0 for failure.
extension Session {
    /// SLEEP: no ring is processed until WAKE. Whether rings are started and enabled is not touched.
    func sleep() {
        isAsleep = true
        stopRings(.drain) { [self] in answer(.opaque([1])) }
    }

    /// WAKE: rings that are started and enabled go on where they were.
    func wake() {
        isAsleep = false
        do throws(Refusal) {
            try startReadyRings()
            answer(.opaque([1]))
        } catch {
            warnOnce(FrontendRequest.crosvmWake.rawValue, "WAKE failed: \(error)")
            answer(.opaque([0]))
        }
    }
}
