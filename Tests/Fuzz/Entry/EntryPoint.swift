// What libFuzzer calls (https://llvm.org/docs/LibFuzzer.html). One program holds all fuzzers: its name says which one it is, so that the
// processes that libFuzzer starts by itself are of the same kind.

private let chosen: FuzzTarget? = CommandLine.arguments.first.flatMap { path in
    path.split(separator: "/").last.flatMap { FuzzTarget(rawValue: String($0)) }
}

/// Runs one input; a broken promise ends the process, which is how libFuzzer learns of it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let chosen else {
        fatalError("run this program as one of: \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")) (make fuzz does)")
    }
    do throws(FuzzFailure) {
        _ = try chosen.run(unsafe Array(UnsafeBufferPointer(start: bytes, count: count)))
    } catch {
        fatalError("\(chosen.rawValue): \(error)")
    }
    return 0
}
