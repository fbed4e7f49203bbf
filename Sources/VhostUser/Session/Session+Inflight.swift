import LinuxSystem
import Virtio

/// The shared memory in which requests in flight survive the death of this process (specification, "Inflight I/O tracking").
struct InflightRegion {
    /// The largest ring that QEMU makes (VIRTQUEUE_MAX_SIZE).
    ///
    /// QEMU asks for a region of its queue-size property, 128 by default, but the rings of QEMU 10 have up to 1024 descriptors whatever
    /// that property says: the driver may take as many as the device shows. Each part has room for them.
    static let usualQueueSize = 1024

    /// What GET_INFLIGHT_FD was asked for, or SET_INFLIGHT_FD said.
    var queueCount: Int
    var queueSize: Int
    /// What GET_INFLIGHT_FD answered, or SET_INFLIGHT_FD said, as far as it is of use.
    var byteCount: Int
    var mapping: MappedMemory

    func layout(isPacked: Bool) -> InflightLayout {
        Self.layout(queueCount: queueCount, queueSize: queueSize, byteCount: byteCount, isPacked: isPacked)
    }

    /// The layout of a region made by `roomy`; of a smaller one, which another back-end has made, that of exactly the queues it is for. The
    /// shape and the size, which the front-end keeps with the region, tell the same layout to every process that gets it.
    static func layout(queueCount: Int, queueSize: Int, byteCount: Int, isPacked: Bool) -> InflightLayout {
        let roomy = roomy(queueCount: queueCount, queueSize: queueSize, isPacked: isPacked)
        return roomy.regionBytes <= byteCount
            ? roomy : InflightLayout(queueCount: queueCount, queueSize: queueSize, isPacked: isPacked)
    }

    /// The layout that a new region gets.
    static func roomy(queueCount: Int, queueSize: Int, isPacked: Bool) -> InflightLayout {
        InflightLayout(queueCount: queueCount, queueSize: max(queueSize, usualQueueSize), isPacked: isPacked)
    }
}

/// A session only finds out where a ring's part is. What is in it is the ring types' business: they check every value they read.
extension Session {
    /// Makes a new region; the front-end keeps it, and brings it along when it connects again. A region from before is forgotten: the
    /// front-end asks for another one after a reset of the guest, when what the old one says is true no longer.
    func getInflightDescriptor(_ wanted: InflightDescription) {
        inflight = nil
        do throws(Refusal) {
            try checkShape(wanted)
            // Before SET_FEATURES the format is not known: the larger one has room for both.
            let layout = InflightRegion.roomy(
                queueCount: Int(wanted.queueCount), queueSize: Int(wanted.queueSize),
                isPacked: !featuresAreSet || features.contains(.ringPacked))
            let byteCount = UInt64(layout.regionBytes)
            let descriptor = try host.makeSharedMemory(size: byteCount)
            let mapping = try host.map(descriptor, offset: 0, size: byteCount)
            inflight = InflightRegion(
                queueCount: layout.queueCount, queueSize: Int(wanted.queueSize), byteCount: layout.regionBytes, mapping: mapping)
            var given = wanted
            given.size = byteCount
            given.offset = 0
            answer(.inflight(given), descriptors: [descriptor])
        } catch {
            // A region of size 0 and no descriptor: the front-end goes on without tracking.
            warnOnce(FrontendRequest.getInflightDescriptor.rawValue, "GET_INFLIGHT_FD is answered with nothing: \(error)")
            var nothing = wanted
            nothing.size = 0
            nothing.offset = 0
            answer(.inflight(nothing))
        }
    }

    /// Takes a region back, from this connection or an earlier one, or from an earlier process. Rings use it from their next start on.
    func setInflightDescriptor(_ given: InflightDescription, _ descriptor: FileDescriptor) throws(Refusal) {
        try checkShape(given)
        guard given.offset % UInt64(InflightLayout.alignment) == 0 else {
            throw Refusal(.invalidValue, "an inflight region at offset \(given.offset), not a multiple of \(InflightLayout.alignment)")
        }
        let (queueCount, queueSize) = (Int(given.queueCount), Int(given.queueSize))
        let needed = InflightLayout(queueCount: queueCount, queueSize: queueSize, isPacked: features.contains(.ringPacked)).regionBytes
        guard given.size >= UInt64(needed) else {
            throw Refusal(.invalidValue, "an inflight region of \(given.size) bytes; its queues need \(needed)")
        }
        // No more than any format needs is mapped, whatever the size says.
        let most = InflightRegion.roomy(queueCount: queueCount, queueSize: queueSize, isPacked: true).regionBytes
        let byteCount = min(given.size, UInt64(most))
        let mapping = try host.map(descriptor, offset: given.offset, size: byteCount)
        inflight = InflightRegion(queueCount: queueCount, queueSize: queueSize, byteCount: Int(byteCount), mapping: mapping)
        acknowledge()
    }

    private func checkShape(_ inflight: InflightDescription) throws(Refusal) {
        guard inflight.queueCount >= 1, Int(inflight.queueCount) <= rings.count else {
            throw Refusal(.invalidValue, "an inflight region for \(inflight.queueCount) queues; there are \(rings.count)")
        }
        guard inflight.queueSize >= 1, Int(inflight.queueSize) <= device.queueSizeMax else {
            throw Refusal(
                .invalidValue, "an inflight region for queues of \(inflight.queueSize); 1 to \(device.queueSizeMax) are possible")
        }
    }

    /// A ring's part of the region; nil without a region, or when the region was made for fewer or smaller rings.
    func inflightPart(_ index: Int, _ ringSize: Int) throws(Refusal) -> InflightPart? {
        guard let inflight, index < inflight.queueCount else { return nil }
        let layout = inflight.layout(isPacked: features.contains(.ringPacked))
        guard ringSize <= layout.queueSize else {
            // It must run: the front-end would give up the disk.
            warnOnce(
                FrontendRequest.setInflightDescriptor.rawValue,
                "ring \(index) runs without tracking: it has \(ringSize) descriptors, the inflight region room for \(layout.queueSize)")
            return nil
        }
        guard layout.regionBytes <= inflight.byteCount else {
            throw Refusal(
                .memory, "the inflight region has \(inflight.byteCount) bytes, rings of this format need \(layout.regionBytes)")
        }
        // The part lies in the mapping: index is below queueCount, and the whole layout fits.
        return InflightPart(queue: unsafe layout.queue(index, in: inflight.mapping.base), owner: inflight.mapping.owner)
    }

    /// Makes every part that fits the region a fresh one.
    func forgetInflight() {
        for index in 0..<(inflight?.queueCount ?? 0) {
            // What cannot be found because the region is too small for the format has not been used either.
            if let part = try? inflightPart(index, 1) { part.queue.forget() }
        }
    }
}
