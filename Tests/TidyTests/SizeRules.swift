import Testing

/// Bounds on files and functions: what does not fit on a few screens is two things.
@Suite struct SizeRules {
    static let fileLinesMax = 420
    static let functionLinesMax = 70

    @Test(arguments: ["Sources", "Tests"])
    func filesAreShort(folder: String) throws {
        for file in try SourceTree.swiftFiles(below: folder) {
            #expect(file.lines.count <= Self.fileLinesMax, "\(file.path) has \(file.lines.count) lines")
        }
    }

    @Test(arguments: ["Sources", "Tests"])
    func functionsAreShort(folder: String) throws {
        var seen = 0
        for file in try SourceTree.swiftFiles(below: folder) {
            for function in Self.functions(of: file.lines) {
                seen += 1
                #expect(function.lines <= Self.functionLinesMax, "\(file.path):\(function.line) has \(function.lines) lines")
            }
        }
        #expect(seen > 50, "the scan found the functions")
    }

    @Test func theScanMeasuresAFunction() {
        let text = """
            struct S {
                func f() {
                    if true {
                        g("} not a brace {")
                    }
                }
                let x = 1
                init(
                    a: Int
                ) { // }
                }
            }
            """
        let functions = Self.functions(of: text.split(separator: "\n", omittingEmptySubsequences: false))
        #expect(functions.map(\.line) == [2, 8])
        #expect(functions.map(\.lines) == [5, 4])
    }

    /// Each function with a body: its first line (from 1) and its length in lines.
    static func functions(of lines: [Substring]) -> [(line: Int, lines: Int)] {
        var found: [(line: Int, lines: Int)] = []
        var open: [(line: Int, depth: Int, entered: Bool)] = []
        var depth = 0
        for (index, line) in lines.enumerated() {
            let code = withoutTextAndComments(line)
            if beginsFunction(code) { open.append((index + 1, depth, false)) }
            for character in code {
                if character == "{" {
                    depth += 1
                    if let last = open.indices.last, depth == open[last].depth + 1 { open[last].entered = true }
                } else if character == "}" {
                    depth -= 1
                    if let last = open.last, last.entered, depth == last.depth {
                        found.append((last.line, index + 2 - last.line))
                        open.removeLast()
                    }
                }
            }
            // A requirement of a protocol has no body: the next declaration or the closing brace ends it.
            if let last = open.last, !last.entered, depth < last.depth { open.removeLast() }
        }
        return found.sorted { $0.line < $1.line }
    }

    private static func beginsFunction(_ code: String) -> Bool {
        let words = code.split(whereSeparator: { " (<".contains($0) })
        guard let word = words.first(where: { !modifiers.contains(String($0)) && !$0.hasPrefix("@") }) else { return false }
        return word == "func" || word == "init" && !code.contains("init?(") || word == "init?" || word == "deinit"
    }

    private static let modifiers: Set<String> = [
        "public", "private", "internal", "fileprivate", "package", "open", "final", "override", "static", "class", "mutating",
        "nonisolated",
        "required", "convenience", "nonsending)",
    ]

    /// The line without string literals and comments, so that their braces do not count.
    private static func withoutTextAndComments(_ line: Substring) -> String {
        var result = ""
        var isText = false
        var previous: Character = " "
        for character in line {
            if character == "\"", previous != "\\" { isText.toggle() }
            if !isText, character == "/", previous == "/" {
                result.removeLast()
                break
            }
            if !isText { result.append(character) }
            previous = character
        }
        return result
    }
}
