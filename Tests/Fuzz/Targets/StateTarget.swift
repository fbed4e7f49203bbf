import ControlAPI
import Daemon
import Glibc
import LinuxSystem
import Synchronization

/// A file in the state directory, as a torn disk, another program or another version leaves it.
enum StateTarget {
    /// The input is the content of the state file of an export with this name.
    private static let name = "db0"

    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        let place = try Place()
        let file = "\(place.directory.path)/\(name).json"
        do throws(SystemError) {
            try DurableFile.replace(file, with: input)
        } catch {
            throw FuzzFailure("the fuzzer cannot write its input: \(error)")
        }
        let content = try load(place)
        guard let export = content.exports.first else {
            // Refused, with words, and kept as it is.
            let refusal = content.refused[name]
            try FuzzFailure.require(
                content.refused.count == 1 && refusal?.data?.hint?.isEmpty == false, "neither taken nor refused: \(content)")
            let kept = (try? DurableFile.read(file, sizeMax: input.count + 1)) ?? nil
            try FuzzFailure.require(kept == input, "a state file that is refused is changed")
            return 0
        }
        try FuzzFailure.require(content.exports.count == 1 && content.refused.isEmpty && export.name == name, "\(content) from one file")
        try ControlTarget.checkExport(export)
        do throws(ControlError) {
            try place.directory.save(export)
        } catch {
            throw FuzzFailure("what was loaded cannot be saved: \(error)")
        }
        try FuzzFailure.require(try load(place).exports == [export], "\(export) is another after it was saved and loaded")
        return 1
    }

    private static func load(_ place: Place) throws(FuzzFailure) -> StateDirectory.Content {
        do throws(ControlError) {
            return try place.directory.load()
        } catch {
            throw FuzzFailure("the state directory cannot be read: \(error)")
        }
    }

    private static let count = Atomic<Int>(0)

    /// A state directory for one input, gone with it.
    private final class Place {
        let directory: StateDirectory

        init() throws(FuzzFailure) {
            let number = StateTarget.count.wrappingAdd(1, ordering: .relaxed).newValue
            let parent = ProcessSelf.environment("TMPDIR") ?? "/tmp"
            do throws(ControlError) {
                directory = try StateDirectory(path: "\(parent)/vhublk-fuzz-\(ProcessSelf.identifier)-\(number)")
            } catch {
                throw FuzzFailure("the fuzzer has no state directory: \(error)")
            }
        }

        deinit {
            for name in SystemFile.names(inFolder: directory.path) ?? [] { unsafe unlink("\(directory.path)/\(name)") }
            unsafe rmdir(directory.path)
        }
    }
}
