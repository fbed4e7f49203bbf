import LinuxSystem
import Virtio

/// SET_MEM_TABLE, ADD_MEM_REG and REM_MEM_REG: each builds a whole new table, checks it against the rings that run, and puts it in place; during
/// post-copy when the front-end has acknowledged it.
extension Session {
    func setMemoryTable(_ regions: [MemoryRegionDescription], _ descriptors: [FileDescriptor]) throws(Refusal) {
        guard !regions.isEmpty else { throw Refusal(.invalidValue, "a memory table without regions") }
        guard regions.count <= limits.memoryTableRegionCountMax else {
            throw Refusal(.limit, "\(regions.count) regions in one table; \(limits.memoryTableRegionCountMax) are the limit")
        }
        guard regions.count == descriptors.count else {
            throw Refusal(.descriptors, "\(descriptors.count) descriptors for \(regions.count) memory regions")
        }
        var entries: [MemoryTable.Entry] = []
        var mappedBytes: UInt64 = 0
        for (region, descriptor) in zip(regions, descriptors) {
            entries.append(try map(region, descriptor, mappedBytes))
            mappedBytes += region.size
        }
        let table = try MemoryTable(entries, awaited: awaitedMemory)
        guard postcopy.isListening else { return try replaceTable(with: table) { [self] in acknowledge() } }
        try propose(table, answer: .memoryTable(entries.map(\.described)))
    }

    func addMemoryRegion(_ region: MemoryRegionDescription, _ descriptor: FileDescriptor) throws(Refusal) {
        let known = postcopy.proposed ?? memoryTable
        guard known.entries.count < limits.memoryRegionCountMax else {
            throw Refusal(.limit, "there are \(limits.memoryRegionCountMax) memory regions already")
        }
        let entry = try map(region, descriptor, known.byteCount)
        let table = try MemoryTable(known.entries + [entry], awaited: awaitedMemory)
        guard postcopy.isListening else { return try replaceTable(with: table) { [self] in acknowledge() } }
        try propose(table, answer: .memoryRegion(entry.described))
    }

    /// What memory that is given now is waited for with.
    private var awaitedMemory: AwaitedMemory? { postcopy.isListening ? postcopy.awaited : nil }

    /// "The memory region to be removed is identified by its guest address, user address and size. The mmap offset is ignored."
    func removeMemoryRegion(_ region: MemoryRegionDescription) throws(Refusal) {
        var entries = (postcopy.proposed ?? memoryTable).entries
        let found = entries.firstIndex { entry in
            entry.description.guestAddress == region.guestAddress && entry.description.frontendAddress == region.frontendAddress
                && entry.description.size == region.size
        }
        guard let found else {
            throw Refusal(.invalidValue, "no memory region of \(region.size) bytes at guest address \(region.guestAddress)")
        }
        entries.remove(at: found)
        let table = try MemoryTable(entries, awaited: awaitedMemory)
        guard postcopy.proposed != nil else { return try replaceTable(with: table) { [self] in acknowledge() } }
        _ = try places(ofRingsIn: table)
        postcopy.proposed = table
        acknowledge()
    }

    private func map(
        _ region: MemoryRegionDescription, _ descriptor: FileDescriptor, _ mappedBytes: UInt64
    ) throws(Refusal) -> MemoryTable.Entry {
        guard region.size > 0 else { throw Refusal(.invalidValue, "a memory region of size 0") }
        for start in [region.guestAddress, region.frontendAddress, region.mapOffset] {
            guard !start.addingReportingOverflow(region.size).overflow else {
                throw Refusal(.invalidValue, "a memory region of \(region.size) bytes at \(start) ends past 2^64")
            }
        }
        guard region.size <= limits.mappedByteCountMax, mappedBytes <= limits.mappedByteCountMax - region.size else {
            throw Refusal(.limit, "more than \(limits.mappedByteCountMax) bytes of guest memory")
        }
        let mapping: MappedMemory
        if let awaitedMemory {
            mapping = try host.map(descriptor, offset: region.mapOffset, size: region.size, awaited: awaitedMemory)
        } else {
            mapping = try host.map(descriptor, offset: region.mapOffset, size: region.size)
        }
        return MemoryTable.Entry(description: region, mapping: mapping)
    }

    /// Where the rings that run are in another table: they have to lie in it.
    func places(ofRingsIn table: MemoryTable) throws(Refusal) -> [Int: RingPlace] {
        var places: [Int: RingPlace] = [:]
        let memory = translations(over: table)?.snapshot ?? table.memory
        for (index, ring) in rings.enumerated()
        where ring.activity == .running && (!ring.isSuspended || postcopy.held.contains(index)) {
            guard let memory, let place = try locate(index, in: memory, of: table) else {
                throw Refusal(.memory, "ring \(index) runs in the memory that would go")
            }
            places[index] = place
        }
        return places
    }

    /// Rings that run have to lie in the new memory too, and go on there. The old mappings go when the last user lets go of them.
    ///
    /// - Parameter completion: called when no ring uses the old memory for new requests; it ends the message.
    func replaceTable(with table: MemoryTable, completion: @escaping () -> Void) throws(Refusal) {
        let moved = try places(ofRingsIn: table)
        let translated = translations(over: table)
        memoryTable = table
        if let translated { iotlb = translated }
        warnOfShortLog()
        guard !moved.isEmpty, let memory = ringMemory else {
            try startReadyRings()
            completion()
            return
        }
        device.replaceMemory(memory, rings: moved) { [self] in
            do throws(Refusal) {
                try startReadyRings()
                completion()
            } catch {
                refuse(error)
            }
        }
    }
}
