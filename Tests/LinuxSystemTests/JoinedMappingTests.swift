import Glibc
import LinuxSystem
import Testing

/// Parts of files that are mapped once more, side by side.
@Suite struct JoinedMappingTests {
    private static let page = PageSize.bytes

    /// A file whose pages begin with their number, and its mapping from `offset` on.
    static func mapped(pages: Int, offset: Int = 0) throws -> (file: FileDescriptor, mapping: MemoryMapping) {
        let size = UInt64(pages * page)
        let file = try MemoryFile.create(name: "joined", size: size)
        let whole = try MemoryMapping(descriptor: file, offset: 0, size: size)
        for number in 0..<pages { unsafe whole.base.storeBytes(of: number, toByteOffset: number * page, as: Int.self) }
        return (file, try MemoryMapping(descriptor: file, offset: UInt64(offset), size: size - UInt64(offset)))
    }

    @Test("Parts come in their order, share their file's pages, and stay when the first mappings go")
    func order() throws {
        var (one, other) = (Optional(try Self.mapped(pages: 8)), Optional(try Self.mapped(pages: 4)))
        let parts = [
            MemoryMapping.Part(of: one!.mapping, offset: 5 * Self.page + 16, size: Self.page - 16),
            MemoryMapping.Part(of: other!.mapping, offset: 2 * Self.page, size: 2 * Self.page),
            MemoryMapping.Part(of: one!.mapping, offset: 0, size: Self.page), MemoryMapping.Part(of: one!.mapping, offset: 0, size: 100),
        ]
        let joined = try MemoryMapping(joining: parts, guardedFor: 1)
        #expect(joined.size == 4 * Self.page - 16 + 100)
        let start = unsafe joined.base - 16
        #expect((0..<5).map { unsafe start.load(fromByteOffset: $0 * Self.page, as: Int.self) } == [5, 2, 3, 0, 0])
        unsafe start.storeBytes(of: 77, toByteOffset: 2 * Self.page + 8, as: Int.self)
        #expect(unsafe other!.mapping.base.load(fromByteOffset: 3 * Self.page + 8, as: Int.self) == 77)
        (one, other) = (nil, nil)
        #expect((0..<5).map { unsafe start.load(fromByteOffset: $0 * Self.page, as: Int.self) } == [5, 2, 3, 0, 0])
    }

    @Test("Parts that do not meet at page boundaries, are empty, or lie outside of their mapping, are refused")
    func refused() throws {
        let mapping = try Self.mapped(pages: 8).mapping
        let shifted = try Self.mapped(pages: 8, offset: 512).mapping
        func part(_ offset: Int, _ size: Int, of other: MemoryMapping? = nil) -> MemoryMapping.Part {
            MemoryMapping.Part(of: other ?? mapping, offset: offset, size: size)
        }
        let page = Self.page
        for parts in [
            [], [part(0, 0)], [part(0, page - 16), part(page, page)], [part(0, page), part(page + 16, page)],
            [part(0, page), part(8 * page, 1)], [part(0, page), part(-page, page)], [part(0, page), part(page, .max)],
            [part(0, page), part(0, page, of: shifted)],
            [part(0, page), part(0, page, of: try MemoryMapping(anonymous: page))],
        ] {
            #expect(throws: SystemError.self) { try MemoryMapping(joining: parts, guardedFor: 1) }
        }
        let aligned = try MemoryMapping(joining: [part(0, page), part(page - 512, page, of: shifted)])
        #expect(unsafe aligned.base.load(fromByteOffset: page, as: Int.self) == 1)
    }

    @Test("A file that gets shorter is no SIGBUS there, and the owner is told")
    func truncated() async {
        await #expect(processExitsWith: .success) {
            let (file, mapping) = try JoinedMappingTests.mapped(pages: 4)
            let page = PageSize.bytes
            let parts = [3, 1, 2].map { MemoryMapping.Part(of: mapping, offset: $0 * page, size: page) }
            let joined = try MemoryMapping(joining: parts, guardedFor: 7)
            let other = try MemoryMapping(joining: parts, guardedFor: 8)
            try file.truncate(to: 0)
            precondition(unsafe joined.base.load(fromByteOffset: page, as: Int.self) == 0)
            precondition(MemoryGuard.takeLost() == [7])
            for number in 0..<3 { unsafe joined.base.storeBytes(of: 9, toByteOffset: number * page, as: Int.self) }
            precondition(MemoryGuard.takeLost().isEmpty)
            withExtendedLifetime(other) {}
        }
    }
}
