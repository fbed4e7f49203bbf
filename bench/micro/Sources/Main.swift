import Glibc
import LinuxSystem
import VhostUserFrontend

/// `micro` names the cases; `micro CASE COUNT` does one so many times, for somebody who counts what its counted functions take.
@main
enum Main {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let name = arguments.first else {
            for line in cases { StandardStream.output.write("\(line.name)\t\(line.perTurn)\t\(line.what)\n") }
            return
        }
        guard let chosen = cases.first(where: { $0.name == name }), let count = arguments.dropFirst().first.flatMap({ Int($0) }) else {
            StandardStream.error.write("micro: give no argument to see the cases, or one of them and how often to do it\n")
            exit(2)
        }
        let run = try chosen.make()
        for _ in 0..<count { try run() }
    }

    /// One thing to count.
    struct Case: Sendable {
        var name: String
        /// How many of what is counted are done in one turn.
        var perTurn: Int
        var what: String
        /// Makes what does one turn.
        var make: @Sendable () throws -> () throws -> Void
    }

    static let cases: [Case] =
        plain + general + [
            Case(name: "split-linked", perTurn: batch, what: "4 KiB read, direct, by the way for plain requests, inflight tracking") {
                let pair = try SplitPair(.split, isIndirect: false, isTracked: true)
                return { try unsafe pair.round(.plain) { unsafe countedSplit($0) } }
            },
            Case(name: "translate", perTurn: LookUps.count, what: "look-up of an address in one of eight regions, by search") {
                let lookUps = try LookUps()
                return { countedLookUps(lookUps) }
            },
        ]

    private static let plain: [Case] = [false, true].flatMap { isTracked in
        let suffix = isTracked ? "" : "-untracked"
        let what = "4 KiB read, indirect, popped, checked, pushed, published in batches of 32\(isTracked ? ", inflight tracking" : "")"
        return [
            Case(name: "split\(suffix)", perTurn: batch, what: what) {
                let pair = try SplitPair(.split, isIndirect: true, isTracked: isTracked)
                return { try unsafe pair.round(.plain) { unsafe countedSplit($0) } }
            },
            Case(name: "packed\(suffix)", perTurn: batch, what: what) {
                let pair = try PackedPair(.packed, isIndirect: true, isTracked: isTracked)
                return { try unsafe pair.round(.plain) { unsafe countedPacked($0) } }
            },
        ]
    }

    private static let general: [Case] = [
        (name: "direct", request: Request.plain, isIndirect: false, what: "4 KiB read, direct"),
        (name: "scattered", request: .scattered, isIndirect: true, what: "64 KiB write in 16 segments, indirect"),
    ].flatMap { kind in
        let what = "\(kind.what), by the way for requests of any shape, inflight tracking"
        return [
            Case(name: "split-\(kind.name)", perTurn: batch, what: what) {
                let pair = try SplitPair(.split, isIndirect: kind.isIndirect, isTracked: true)
                return { try unsafe pair.round(kind.request) { unsafe countedSplitGeneral($0) } }
            },
            Case(name: "packed-\(kind.name)", perTurn: batch, what: what) {
                let pair = try PackedPair(.packed, isIndirect: kind.isIndirect, isTracked: true)
                return { try unsafe pair.round(kind.request) { unsafe countedPackedGeneral($0) } }
            },
        ]
    }
}
