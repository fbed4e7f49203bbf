import Foundation

/// The project's files as the tidy tests read them.
struct SourceTree {
    /// The folder that holds Package.swift.
    static let root: URL = {
        var folder = URL(fileURLWithPath: #filePath)
        while folder.path != "/" {
            folder.deleteLastPathComponent()
            if FileManager.default.fileExists(atPath: folder.appendingPathComponent("Package.swift").path) { return folder }
        }
        preconditionFailure("Package.swift is above no test file")
    }()

    /// One Swift file: where it is and its lines.
    struct File {
        var path: String
        var lines: [Substring]

        /// The module: the folder below Sources or Tests.
        var module: String { String(path.split(separator: "/")[1]) }

        /// The modules it imports.
        var imports: [String] {
            lines.compactMap { line in
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), index + 1 < words.count else { return nil }
                guard
                    words[..<index].allSatisfy({
                        ["public", "internal", "package", "private", "fileprivate"].contains($0) || $0.hasPrefix("@")
                    })
                else { return nil }
                return String(words[index + 1])
            }
        }
    }

    /// The Swift files below a folder, by path.
    static func swiftFiles(below folder: String) throws -> [File] {
        let base = root.appendingPathComponent(folder)
        guard let walker = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil) else { return [] }
        var files: [File] = []
        for case let url as URL in walker where url.pathExtension == "swift" {
            let path = String(url.path.dropFirst(root.path.count + 1))
            let text = try String(contentsOf: url, encoding: .utf8)
            files.append(File(path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false)))
        }
        return files.sorted { $0.path < $1.path }
    }
}
