public import Virtio

/// What a session knows of its front-end's IOMMU.
struct SessionIOTLB {
    var table = IOTLB()
    /// `table` as rings use it; nil when it has changed since.
    var snapshot: GuestMemory?
    /// Misses that were told and not answered, oldest first. One for each ring and area at most: a ring waits at its first miss.
    var asked: [MemoryMiss] = []
    /// Answers that are still to come to misses of before everything was forgotten: they concern nobody any more, and come first.
    var lateAnswerCount = 0
    /// How often the same miss was answered well without a translation that would do.
    var vainAnswers: [MemoryMiss: Int] = [:]
}

/// ACCESS_PLATFORM (specification, "IOMMU support"): ring and buffer addresses are I/O virtual ones, and IOTLB_MSG translates them.
///
/// A ring that meets an address without translation leaves the chain where it is, in the ring or in the inflight region, and is not looked
/// at until the translation comes, so that a stop, a reset or a disconnection has nothing to wait for. An invalidation is acknowledged when
/// no poller uses the old translation for new look-ups. Requests that the disk has already keep their memory mapped and end in it: a
/// driver unmaps a buffer when the request is over, and a kernel cannot be made to forget a write.
extension Session {
    /// Most misses that wait for an answer, and most that are counted in vain: far more than rings can wait with.
    private static let missCountMax = 4096
    /// Answers without a translation after which a miss counts as denied.
    private static let vainAnswerCountMax = 8

    var usesIOTLB: Bool { features.contains(.accessPlatform) }

    /// What rings look addresses up in: guest memory, or the IOTLB over it. nil while memory is to be acknowledged (post-copy).
    var ringMemory: GuestMemory? {
        guard postcopy.proposed == nil else { return nil }
        guard usesIOTLB, let memory = memoryTable.memory else { return memoryTable.memory }
        if let snapshot = iotlb.snapshot, snapshot.sharesTable(with: memory) { return snapshot }
        let snapshot = iotlb.table.snapshot(over: memory)
        iotlb.snapshot = snapshot
        return snapshot
    }

    /// The IOTLB over another memory table: entries that do not lie in it go. nil without an IOMMU, or without memory.
    func translations(over table: MemoryTable) -> SessionIOTLB? {
        guard usesIOTLB, let memory = table.memory else { return nil }
        var new = iotlb
        let view = memory.view
        new.table.keepAll { entry in
            unsafe view.translateFrontend(entry.frontendAddress, length: entry.last - entry.iova + 1) != nil
        }
        new.snapshot = new.table.snapshot(over: memory)
        return new
    }

    /// Forgets all translations; no ring runs.
    func clearIOTLB() {
        let late = iotlb.lateAnswerCount + (protocolFeatures.contains(.replyAck) ? iotlb.asked.count : 0)
        iotlb = SessionIOTLB()
        iotlb.lateAnswerCount = late
        for index in rings.indices { rings[index].miss = nil }
    }

    /// IOTLB_MSG: an answer always comes, zero when all went well.
    func iotlbMessage(_ message: IOTLBMessage) throws(Refusal) {
        switch message.kind {
        case .update: try update(message)
        case .invalidate: invalidate(message)
        case .miss, .accessFail, nil:
            throw Refusal(.invalidValue, "IOTLB message type \(message.type); a front-end sends 2, update, and 3, invalidate")
        }
    }

    private func update(_ message: IOTLBMessage) throws(Refusal) {
        let access = MemoryAccess(rawValue: message.permissions)
        guard !access.isEmpty, MemoryAccess.readWrite.isSuperset(of: access) else {
            throw Refusal(.invalidValue, "an IOTLB update with permissions \(message.permissions); 1, 2 and 3 exist")
        }
        guard message.size > 0 else { throw Refusal(.invalidValue, "an IOTLB update of size 0") }
        let (last, overflow) = message.iova.addingReportingOverflow(message.size - 1)
        guard !overflow else {
            throw Refusal(.invalidValue, "an IOTLB update of \(message.size) bytes at \(message.iova) ends past 2^64")
        }
        guard let memory = memoryTable.memory,
            unsafe memory.view.translateFrontend(message.frontendAddress, length: message.size) != nil
        else { throw Refusal(.memory, "an IOTLB update to \(message.size) bytes that do not lie in one memory region") }
        let pinned = rings.indices.flatMap { rings[$0].activity == .idle ? [] : ringAreas($0) }
        let entry = IOTLB.Entry(iova: message.iova, last: last, frontendAddress: message.frontendAddress, access: access)
        let hasMoved = iotlb.table.update(entry, limit: limits.translationCountMax) { entry in
            pinned.contains { $0.address <= entry.last && entry.iova - min(entry.iova, $0.address) < $0.length }
        }
        iotlb.snapshot = nil
        // An update that does not permit what was asked for is the answer all the same, where no other one comes.
        if !protocolFeatures.contains(.replyAck) {
            let answered = iotlb.asked.filter { $0.address >= message.iova && $0.address <= last }
            iotlb.asked.removeAll { answered.contains($0) }
            for miss in answered where !iotlb.table.covers(miss) { deny(miss) }
        }
        // A ring whose areas moved goes on there, or waits until they are asked for: nobody else knows where it writes.
        let end = { [self] in resume { [self] in answer(.u64(0)) } }
        if hasMoved { republish(completion: end) } else { end() }
    }

    /// Size 0 is everything: the length of the whole address space does not fit the field.
    private func invalidate(_ message: IOTLBMessage) {
        let (last, overflow) = message.iova.addingReportingOverflow(message.size &- 1)
        if message.size == 0 {
            iotlb.table.invalidate(0, .max)
        } else {
            iotlb.table.invalidate(message.iova, overflow ? .max : last)
        }
        iotlb.snapshot = nil
        republish { [self] in answer(.u64(0)) }
    }

    /// Has every ring that runs use the translations of now. One whose own areas lost theirs is suspended, and they are asked for.
    private func republish(completion: @escaping () -> Void) {
        guard let memory = ringMemory else { return completion() }
        var pending = 1
        let one: () -> Void = {
            pending -= 1
            if pending == 0 { completion() }
        }
        var moved: [Int: RingPlace] = [:]
        for index in rings.indices where rings[index].activity == .running {
            if let place = place(ofRunningRing: index, in: memory) {
                moved[index] = place
                rings[index].isSuspended = false
            } else {
                rings[index].isSuspended = true
                pending += 1
                device.changeRing(index, .suspended, completion: one)
            }
        }
        if !moved.isEmpty {
            pending += 1
            device.replaceMemory(memory, rings: moved, completion: one)
        }
        one()
    }

    /// Rings that wait for a translation which is there now go on, also those that wait for their areas before they start.
    func resume(completion: @escaping () -> Void) {
        for index in rings.indices where rings[index].activity == .idle {
            do throws(Refusal) {
                try startIfReady(index)
            } catch {
                warnOnce(UInt32(index) | 1 << 29, "ring \(index) does not start: \(error)")
            }
        }
        var moved: [Int: RingPlace] = [:]
        let waiting = rings.indices.filter { index in
            let ring = rings[index]
            return ring.activity == .running && (ring.isSuspended || ring.miss.map(iotlb.table.covers) ?? false)
        }
        // Not built for an update that nobody waits for.
        guard !waiting.isEmpty, let memory = ringMemory else { return completion() }
        for index in waiting {
            guard let place = place(ofRunningRing: index, in: memory) else { continue }
            moved[index] = place
            rings[index].isSuspended = false
            rings[index].miss = nil
        }
        if moved.isEmpty { completion() } else { device.replaceMemory(memory, rings: moved, completion: completion) }
    }

    /// Where a running ring's areas are; nil while a translation is missing, and while the ring cannot be where its areas are now.
    private func place(ofRunningRing index: Int, in memory: GuestMemory) -> RingPlace? {
        do throws(Refusal) {
            return try locate(index, in: memory, of: memoryTable)
        } catch {
            warnOnce(UInt32(index) | 1 << 29, "ring \(index) waits: \(error)")
            return nil
        }
    }

    // MARK: Misses

    /// A ring met an address that the snapshot it has does not translate, and waits.
    public func ringDidMiss(_ index: Int, _ miss: MemoryMiss) {
        guard !isClosed, usesIOTLB, rings[index].activity == .running else { return }
        rings[index].miss = miss
        if iotlb.table.covers(miss) { resume {} } else { ask(miss) }
    }

    /// Asks for a translation, unless it has been asked for.
    func ask(_ miss: MemoryMiss) {
        guard channel.isOpen, protocolFeatures.contains(.backendChannel) else {
            warnOnce(1 << 28, "a ring waits for a translation, and there is no back-end channel to ask for it")
            return
        }
        guard !iotlb.asked.contains(where: { $0.page == miss.page && $0.access.isSuperset(of: miss.access) }) else { return }
        // Who moves a ring again and again and answers nothing keeps its own ring waiting.
        guard iotlb.asked.count < Self.missCountMax else { return }
        iotlb.asked.append(miss)
        send(miss, .miss, wantsReply: protocolFeatures.contains(.replyAck))
    }

    private func send(_ miss: MemoryMiss, _ kind: IOTLBMessage.Kind, wantsReply: Bool) {
        let message = IOTLBMessage(
            iova: miss.address, size: 0, frontendAddress: 0, permissions: miss.access.rawValue, kind: kind)
        emit(.backendRequest(Message(BackendRequest.iotlbMessage, .iotlb(message), needReply: wantsReply)))
    }

    /// The front-end answered the oldest miss. It has sent the update before, if there is one.
    func missWasAnswered(_ value: UInt64) {
        if iotlb.lateAnswerCount > 0 {
            iotlb.lateAnswerCount -= 1
            return
        }
        guard !iotlb.asked.isEmpty else { return }
        let miss = iotlb.asked.removeFirst()
        if iotlb.table.covers(miss) {
            iotlb.vainAnswers = [:]
            return
        }
        if value != 0 { return deny(miss) }
        // Taken back again since, or never given: asked again, but not for ever.
        let count = iotlb.vainAnswers[miss, default: 0] + 1
        guard count < Self.vainAnswerCountMax else { return deny(miss) }
        if iotlb.vainAnswers.count >= Self.missCountMax { iotlb.vainAnswers = [:] }
        iotlb.vainAnswers[miss] = count
        let isWanted = rings.contains { $0.miss?.page == miss.page || $0.isSuspended || $0.activity == .idle && $0.isStarted }
        if isWanted { ask(miss) }
    }

    /// The access is not permitted: the request that wanted it gets an error, and the front-end is told.
    private func deny(_ miss: MemoryMiss) {
        iotlb.vainAnswers[miss] = nil
        warnOnce(1 << 27, "the front-end denied the device access \(miss.access.rawValue) to I/O virtual address \(miss.address)")
        send(miss, .accessFail, wantsReply: false)
        for index in rings.indices where rings[index].activity == .running && rings[index].miss?.page == miss.page {
            guard let own = rings[index].miss, miss.access.isSuperset(of: own.access) else { continue }
            rings[index].miss = nil
            device.changeRing(index, .denied(own)) {}
        }
    }

    /// Asks again for what rings wait for: there is another back-end channel.
    func askAgain() {
        iotlb.asked = []
        iotlb.lateAnswerCount = 0
        guard usesIOTLB else { return }
        for index in rings.indices where rings[index].activity == .running {
            if let miss = rings[index].miss { ask(miss) }
        }
        resume {}
    }
}
