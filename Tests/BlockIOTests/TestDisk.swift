import BlockIO
import Glibc
import LinuxSystem
import TestSupport

/// A disk of one kind for one test.
final class TestDisk {
    /// The kinds of disk that every engine is tried on.
    enum Kind: String, CaseIterable, Sendable {
        case tmpfs, rootFile, loop, zram
    }

    let path: String
    private let folder: TemporaryFolder
    private let release: () throws -> Void

    /// Makes a disk, runs `body`, and removes the disk after everything that `body` opened is closed.
    static func use(_ kind: Kind, size: UInt64 = 16 << 20, _ body: (TestDisk) throws -> Void) throws {
        let disk = try TestDisk(kind, size: size)
        let result = Result { try body(disk) }
        // Threads that held the disk open end a moment after what they worked for.
        let deadline = MonotonicClock.now() + 5_000_000_000
        while true {
            do {
                try disk.release()
                break
            } catch {
                guard MonotonicClock.now() < deadline else { throw error }
                usleep(10_000)
            }
        }
        try result.get()
    }

    private init(_ kind: Kind, size: UInt64) throws {
        switch kind {
        case .tmpfs:
            folder = TemporaryFolder(under: "/dev/shm")
            path = try folder.sparseFile("disk", size: size)
            release = {}
        case .rootFile:
            folder = TemporaryFolder(under: ".")
            path = try folder.sparseFile("disk", size: size)
            release = {}
        case .loop:
            folder = TemporaryFolder(under: ".")
            let file = try folder.sparseFile("disk", size: size)
            let device = try Self.output("losetup --find --show --direct-io=on \(file)")
            path = device
            release = { _ = try Self.output("losetup --detach \(device)") }
        case .zram:
            folder = TemporaryFolder()
            guard let number = SystemFile.number("/sys/class/zram-control/hot_add") else {
                throw Unavailable(what: "a zram device (root and the module zram are needed)")
            }
            try Self.write("/sys/block/zram\(number)/disksize", "\(size)")
            path = "/dev/zram\(number)"
            release = {
                try Self.write("/sys/block/zram\(number)/reset", "1")
                try Self.write("/sys/class/zram-control/hot_remove", "\(number)")
            }
        }
    }

    /// Something that these tests need and the machine refuses: the test fails, saying so.
    struct Unavailable: Error, CustomStringConvertible {
        var what: String
        var description: String { "this machine does not give the tests \(what)" }
    }

    private static func write(_ path: String, _ text: String) throws {
        let file = try FileDescriptor.open(path, flags: O_WRONLY)
        let bytes = Array(text.utf8)
        _ = try unsafe bytes.withUnsafeBytes { try unsafe file.write($0) }
    }

    /// Runs a command and returns what it printed.
    static func output(_ command: String) throws -> String {
        guard let pipe = unsafe popen(command + " 2>&1", "r") else { throw Unavailable(what: "a shell") }
        var bytes: [UInt8] = []
        while true {
            let byte = unsafe fgetc(pipe)
            if byte == EOF { break }
            bytes.append(UInt8(truncatingIfNeeded: byte))
        }
        let status = unsafe pclose(pipe)
        let text = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).joined(separator: " ")
        guard status == 0 else { throw Unavailable(what: "\(command): \(text)") }
        return text
    }
}
