/// struct iocb of linux/aio_abi.h, bit for bit on little-endian machines: one operation as io_submit takes it.
struct AIOControlBlock {
    enum Opcode: UInt16 {
        case read = 0
        case write = 1
        case dataSync = 3
        case readVector = 7
        case writeVector = 8
    }

    /// Given back with the completion: the operation's address.
    var data: UInt64 = 0
    var key: UInt32 = 0
    /// RWF_*.
    var transferFlags: UInt32 = 0
    var opcode: UInt16 = 0
    var priority: Int16 = 0
    var descriptor: UInt32 = 0
    /// Address of the buffer, or of the vector.
    var buffer: UInt64 = 0
    /// Bytes of the buffer, or pieces of the vector.
    var count: UInt64 = 0
    var offset: Int64 = 0
    var reserved: UInt64 = 0
    var flags: UInt32 = 0
    /// An eventfd that is signalled when the operation ends, if `flags` says so.
    var event: UInt32 = 0

    /// IOCB_FLAG_RESFD.
    static let signalsEvent: UInt32 = 1
}
