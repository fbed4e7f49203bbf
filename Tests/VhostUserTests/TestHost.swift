import LinuxSystem
import VhostUser

/// A host without an operating system: memory is allocated here, every descriptor will do.
final class TestHost: SessionHost {
    @safe
    final class Block: @unchecked Sendable {
        // Nobody follows the address; tests compare it.
        let base: UnsafeMutableRawPointer
        init(byteCount: Int) {
            unsafe base = .allocate(byteCount: byteCount, alignment: 4096)
        }
        deinit { unsafe base.deallocate() }
    }

    /// Mappings made and not yet let go of.
    var liveCount: Int { blocks.count { $0.block != nil } }
    private struct WeakBlock {
        weak var block: Block?
    }
    private var blocks: [WeakBlock] = []
    var mapCount = 0
    var refusal: Refusal?

    func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(Refusal) -> MappedMemory {
        if let refusal { throw refusal }
        mapCount += 1
        // Memory that no test touches need not be there: sizes are limited so that huge regions can be described.
        let block = Block(byteCount: Int(min(size, 1 << 20)))
        blocks.append(WeakBlock(block: block))
        return unsafe MappedMemory(base: block.base, owner: block)
    }

    func makeSharedMemory(size: UInt64) throws(Refusal) -> FileDescriptor {
        if let refusal { throw refusal }
        do throws(SystemError) {
            return try MemoryFile.create(name: "test", size: size)
        } catch {
            throw Refusal(.memory, error.description)
        }
    }

    func checkNotifier(_ descriptor: FileDescriptor) throws(Refusal) {}
    func checkSocket(_ descriptor: FileDescriptor) throws(Refusal) {}
    func checkChannel(_ descriptor: FileDescriptor) throws(Refusal) {}
}
