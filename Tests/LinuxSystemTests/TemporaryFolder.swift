import Glibc

/// A folder of its own for one test, removed with everything in it when the test lets go of it.
final class TemporaryFolder: Sendable {
    let path: String

    init(under parent: String = "/tmp") {
        var template = Array("\(parent)/vhublk-test-XXXXXX".utf8CString)
        // mkdtemp writes the name it chose into the template.
        let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) != nil }
        precondition(made, "cannot make a temporary folder under \(parent)")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// Writes a file and the folders above it.
    func write(_ name: String, _ text: String) {
        let parts = name.split(separator: "/")
        var folder = path
        for part in parts.dropLast() {
            folder += "/" + part
            unsafe mkdir(folder, 0o755)
        }
        let file = unsafe fopen(path + "/" + name, "w")!
        unsafe fputs(text, file)
        unsafe fclose(file)
    }

    private static func remove(_ path: String) {
        if let folder = unsafe opendir(path) {
            while let entry = unsafe readdir(folder) {
                let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                    unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { remove(path + "/" + name) }
            }
            unsafe closedir(folder)
            unsafe rmdir(path)
        } else {
            unsafe unlink(path)
        }
    }
}
