import LinuxSystem
import Virtio

/// SET_MEM_TABLE, ADD_MEM_REG and REM_MEM_REG: each builds a whole new table, checks it against the rings that run, and puts it in place.
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
        try replaceTable(with: try MemoryTable(entries))
    }

    func addMemoryRegion(_ region: MemoryRegionDescription, _ descriptor: FileDescriptor) throws(Refusal) {
        guard memoryTable.entries.count < limits.memoryRegionCountMax else {
            throw Refusal(.limit, "there are \(limits.memoryRegionCountMax) memory regions already")
        }
        let entry = try map(region, descriptor, memoryTable.byteCount)
        try replaceTable(with: try MemoryTable(memoryTable.entries + [entry]))
    }

    /// "The memory region to be removed is identified by its guest address, user address and size. The mmap offset is ignored."
    func removeMemoryRegion(_ region: MemoryRegionDescription) throws(Refusal) {
        var entries = memoryTable.entries
        let found = entries.firstIndex { entry in
            entry.description.guestAddress == region.guestAddress && entry.description.frontendAddress == region.frontendAddress
                && entry.description.size == region.size
        }
        guard let found else {
            throw Refusal(.invalidValue, "no memory region of \(region.size) bytes at guest address \(region.guestAddress)")
        }
        entries.remove(at: found)
        try replaceTable(with: try MemoryTable(entries))
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
        let mapping = try host.map(descriptor, offset: region.mapOffset, size: region.size)
        return MemoryTable.Entry(description: region, mapping: mapping)
    }

    /// Rings that run have to lie in the new memory too, and go on there. The old mappings go when the last user lets go of them.
    private func replaceTable(with table: MemoryTable) throws(Refusal) {
        var moved: [Int: RingAddresses] = [:]
        let translated = translations(over: table)
        for (index, ring) in rings.enumerated() where ring.activity == .running && !ring.isSuspended {
            let memory = translated?.snapshot ?? table.memory
            guard let memory, let size = ring.size, let address = ring.address,
                let addresses = try locate(index, size, address, in: memory)
            else { throw Refusal(.memory, "ring \(index) runs in the memory that would go") }
            moved[index] = addresses
        }
        memoryTable = table
        if let translated { iotlb = translated }
        warnOfShortLog()
        guard !moved.isEmpty, let memory = ringMemory else {
            try startReadyRings()
            acknowledge()
            return
        }
        device.replaceMemory(memory, rings: moved) { [self] in
            do throws(Refusal) {
                try startReadyRings()
                acknowledge()
            } catch {
                refuse(error)
            }
        }
    }
}
