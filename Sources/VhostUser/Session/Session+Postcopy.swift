import LinuxSystem
import Virtio

/// What a session knows of a post-copy migration to this host.
struct SessionPostcopy {
    /// Since POSTCOPY_ADVISE.
    var awaited: AwaitedMemory?
    /// POSTCOPY_LISTEN came: memory that is given from now on has pages that are missing yet.
    var isListening = false
    /// The memory table whose addresses the front-end was told, and has not acknowledged: nothing may be touched in it.
    var proposed: MemoryTable?
    /// Rings that neither look at their ring nor write to it until then.
    var held: Set<Int> = []
}

/// Post-copy (specification, "Migration", VHOST_USER_PROTOCOL_F_PAGEFAULT): the guest goes on here before its memory has come. The front-end
/// gets a userfaultfd, on which it is told what is missing where somebody waits.
///
/// Nothing here touches guest memory. A session that ends in the middle withdraws it first: what never came must not pass for zeroes.
extension Session {
    /// Answered with a userfaultfd; a refusal has the same answer without one.
    func postcopyAdvise() throws(Refusal) {
        guard postcopy.awaited == nil else {
            throw Refusal(.invalidValue, "POSTCOPY_ADVISE came before, and POSTCOPY_END since then did not")
        }
        let awaited = try host.makeAwaitedMemory()
        postcopy.awaited = awaited
        answer(.none, descriptors: [awaited.descriptor])
    }

    func postcopyListen() throws(Refusal) {
        guard postcopy.awaited != nil else { throw Refusal(.invalidValue, "POSTCOPY_LISTEN without POSTCOPY_ADVISE before it") }
        guard !postcopy.isListening else { throw Refusal(.invalidValue, "POSTCOPY_LISTEN came before") }
        // The front-end was not told where that memory is, so that it could bring no page of it.
        guard memoryTable.entries.isEmpty else { throw Refusal(.memory, "memory was given before POSTCOPY_LISTEN") }
        postcopy.isListening = true
        acknowledge()
    }

    /// All pages are there, says the front-end. A ring that waits for one all the same would go on with zeroes: the session ends instead.
    func postcopyEnd() throws(Refusal) {
        guard postcopy.isListening, let awaited = postcopy.awaited else {
            throw Refusal(.invalidValue, "POSTCOPY_END without POSTCOPY_LISTEN before it")
        }
        awaited.wake()
        device.settle { [self] isSettled in
            guard !isClosed else { return }
            guard isSettled else { return fail(.pagesMissing) }
            do {
                try awaited.arrived()
                var table = postcopy.proposed ?? memoryTable
                table.arrive()
                releaseHeldRings()
                postcopy = SessionPostcopy()
                // Rings that could not go on where pages may be missing do now.
                try replaceTable(with: table) { [self] in resume { [self] in answer(.u64(0)) } }
            } catch let error as Refusal {
                refuse(error)
            } catch {
                fail(.pagesMissing)
            }
        }
    }

    // MARK: Memory

    /// Tells the front-end where memory is, which it acknowledges when it can bring its pages. Running rings stand still until then.
    func propose(_ table: MemoryTable, answer payload: Payload) throws(Refusal) {
        _ = try places(ofRingsIn: table)
        var pending = 1
        let one: () -> Void = { [self] in
            pending -= 1
            guard pending == 0, !isClosed else { return }
            postcopy.proposed = table
            answer(payload)
        }
        for index in rings.indices where rings[index].activity == .running && !rings[index].isSuspended {
            rings[index].isSuspended = true
            postcopy.held.insert(index)
            pending += 1
            device.changeRing(index, .suspended, completion: one)
        }
        one()
    }

    /// Whether a message is QEMU's acknowledgement of memory, which is then put in force. It has the number of the message before, or none
    /// when no region changed, and a u64 of 0; QEMU does not read an answer to it.
    func takeAcknowledgement(_ message: Message) throws(Refusal) -> Bool {
        let requests: [FrontendRequest] = [.setMemoryTable, .addMemoryRegion, .removeMemoryRegion]
        guard postcopy.isListening, message.request == 0 || requests.contains(where: { $0.rawValue == message.request }),
            message.descriptors.isEmpty, case .u64(let value)? = try? message.decode(.u64)
        else { return false }
        guard let table = postcopy.proposed else {
            acknowledge()
            return true
        }
        guard value == 0 else { throw Refusal(.memory, "the front-end cannot bring the pages of the memory that it gave: \(value)") }
        releaseHeldRings()
        postcopy.proposed = nil
        try replaceTable(with: table) { [self] in acknowledge() }
        return true
    }

    private func releaseHeldRings() {
        for index in postcopy.held { rings[index].isSuspended = false }
        postcopy.held = []
    }
}
