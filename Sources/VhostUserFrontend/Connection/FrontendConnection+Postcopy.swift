public import LinuxSystem
import VhostUser

/// What a front-end sends when its virtual machine arrives by post-copy: it goes on before its memory has come (vhost-user specification,
/// "Migration", VHOST_USER_PROTOCOL_F_PAGEFAULT).
extension FrontendConnection {
    /// POSTCOPY_ADVISE: the back-end's userfaultfd, on which it is told what is missing. ``PageSource`` serves it.
    ///
    /// - Throws: ``FrontendError`` of kind `.refused` when the answer has no descriptor, `.notOffered` without PAGEFAULT.
    public func adviseOfPostcopy() throws(FrontendError) -> Userfault {
        guard protocolFeatures.contains(.pageFault) else {
            throw FrontendError(.notOffered, "PAGEFAULT is not negotiated: the back-end cannot wait for memory")
        }
        let answer = try ask(.postcopyAdvise)
        guard let descriptor = answer.descriptors.first, answer.descriptors.count == 1 else {
            throw FrontendError(.refused, "the back-end answered POSTCOPY_ADVISE with \(answer.descriptors.count) descriptors")
        }
        return Userfault(adopting: descriptor)
    }

    /// POSTCOPY_LISTEN: memory that is given from now on is missing.
    public func listenForPostcopy() throws(FrontendError) { try tell(.postcopyListen) }

    /// POSTCOPY_END: all of memory is there.
    public func endPostcopy() throws(FrontendError) {
        let value = try askNumber(.postcopyEnd)
        if value != 0 { throw FrontendError(.refused, "the back-end refused POSTCOPY_END with \(value)") }
    }

    /// SET_MEM_TABLE, or ADD_MEM_REG for each region, after POSTCOPY_LISTEN: where the back-end has each region in its own memory. It uses none
    /// before ``acknowledgeMemory(oneByOne:)``.
    public func setAwaitedMemory(_ memory: DriverMemory, oneByOne: Bool = false) throws(FrontendError) -> [UInt64] {
        if oneByOne, protocolFeatures.contains(.configureMemorySlots) {
            return try memory.regions.indices.map { index throws(FrontendError) in try addAwaitedRegion(index, of: memory) }
        }
        let regions = memory.regions.indices.map { Self.describe($0, of: memory) }
        try send(Message(.setMemoryTable, .memoryTable(regions), descriptors: memory.files))
        let reply = try receiveReply(to: .setMemoryTable)
        guard case .memoryTable(let told)? = try? reply.decode(.memoryTable), told.count == regions.count else {
            throw FrontendError(.refused, "the back-end answered SET_MEM_TABLE with \(reply.payload.count) bytes, not with its addresses")
        }
        return told.map(\.frontendAddress)
    }

    /// ADD_MEM_REG after POSTCOPY_LISTEN: where the back-end has the region.
    public func addAwaitedRegion(_ index: Int, of memory: DriverMemory) throws(FrontendError) -> UInt64 {
        let region = Self.describe(index, of: memory)
        try send(Message(.addMemoryRegion, .memoryRegion(region), descriptors: [memory.files[index]]))
        let reply = try receiveReply(to: .addMemoryRegion)
        guard case .memoryRegion(let told)? = try? reply.decode(.memoryRegion), told.guestAddress == region.guestAddress else {
            throw FrontendError(.refused, "the back-end answered ADD_MEM_REG with \(reply.payload.count) bytes, not with its address")
        }
        return told.frontendAddress
    }

    /// Tells the back-end that its faults in the memory that was given can be served; as QEMU does it, with a message that has no answer.
    public func acknowledgeMemory(oneByOne: Bool = false) throws(FrontendError) {
        try send(Message(oneByOne ? .addMemoryRegion : .setMemoryTable, .u64(0)))
    }
}

extension BlockDriver {
    /// Gives memory to a back-end that has to wait for it: advises, listens, and has `source` serve the faults.
    func giveAwaitedMemory(_ source: PageSource) throws(FrontendError) {
        let oneByOne = options.addsRegionsOneByOne && connection.protocolFeatures.contains(.configureMemorySlots)
        let faults = try connection.adviseOfPostcopy()
        try connection.listenForPostcopy()
        let addresses = try connection.setAwaitedMemory(memory, oneByOne: oneByOne)
        try source.serve(faults, addresses: addresses)
        try connection.acknowledgeMemory(oneByOne: oneByOne)
    }

    /// Brings all that is missing, and tells the back-end so: the migration is over, and the driver may be reconnected without it.
    public func endPostcopy() throws(FrontendError) {
        guard let source = pageSource else { return }
        try source.supplyAll()
        try connection.endPostcopy()
        source.end()
        pageSource = nil
    }
}
