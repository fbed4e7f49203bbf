import CLibURing
import Glibc

/// What a ring is held to for good before it is used: the operations and registrations that the engine makes, and no others.
///
/// What io_uring does is no system call and passes by every filter of those: a ring without bounds opens files, makes sockets and passes
/// commands through to devices. The kernel refuses all that is not on these lists with EACCES (io_uring_register(2),
/// IORING_REGISTER_RESTRICTIONS, Linux 5.10), whoever asks, and the lists cannot be changed once the ring is enabled.
enum URingRestriction {
    /// What ``URingState`` puts into the submission queue.
    static let operations: [UInt8] = [
        IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,
    ].map { UInt8($0.rawValue) }

    /// What is registered while the ring is in use: files of channels (``URingFileTable``), guest memory (``URingBufferTable``), and at
    /// the end the thread's short way to the ring is given back. All else is registered before.
    static let registrations: [UInt8] = [
        IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_BUFFERS2, IORING_REGISTER_BUFFERS_UPDATE, IORING_UNREGISTER_RING_FDS,
    ].map { UInt8($0) }

    /// Holds a ring that is not enabled yet to the lists; whether the kernel can.
    static func apply(to ring: UnsafeMutablePointer<io_uring>) -> Bool {
        var rules = registrations.map { rule(IORING_RESTRICTION_REGISTER_OP, $0) }
        rules += operations.map { rule(IORING_RESTRICTION_SQE_OP, $0) }
        rules.append(rule(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, UInt8(1 << IOSQE_FIXED_FILE_BIT)))
        return unsafe curing_register(ring.pointee.ring_fd, UInt32(IORING_REGISTER_RESTRICTIONS), &rules, UInt32(rules.count)) == 0
    }

    private static func rule(_ kind: Int, _ value: UInt8) -> io_uring_restriction {
        var rule = io_uring_restriction()
        rule.opcode = UInt16(kind)
        // The three members of the union are the same byte.
        rule.sqe_op = value
        return rule
    }
}
