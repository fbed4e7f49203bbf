import Glibc
import TestSupport
import Testing

@testable import LinuxSystem

/// Landlock's rules and capabilities, each tried in a thread of its own. Where the kernel has no landlock, what is tested is that it is said.
@Suite struct LandlockTests {
    private static func errno(_ body: () throws -> Void) -> Int32 {
        do {
            try body()
            return 0
        } catch let error as SystemError {
            return error.errno
        } catch {
            return -1
        }
    }

    @Test func onlyTheFoldersOfTheRulesAreReached() throws {
        let inside = TemporaryFolder()
        let outside = TemporaryFolder()
        for folder in [inside, outside] { folder.write("file", "text") }
        unsafe symlink(outside.path + "/file", inside.path + "/way-out")
        let rules = [Landlock.Rule(inside.path, [.readFile, .writeFile]), Landlock.Rule("/no/such/folder", .readFile)]
        guard (try? Landlock.version()) != nil else {
            #expect(throws: SystemError.self) { try Landlock(handled: .execute, forbidsAbstractSockets: true).restrict() }
            return
        }
        let answers = try SystemCallFilterTests.inThread { [inside = inside.path, outside = outside.path] in
            try ProcessSelf.forbidNewPrivileges()
            _ = try Landlock(handled: Landlock.Rights(rawValue: .max), rules: rules, forbidsAbstractSockets: true).restrict()
            func open(_ path: String, _ flags: Int32) -> Int32 { Self.errno { _ = try FileDescriptor.open(path, flags: flags) } }
            return [
                open(inside + "/file", O_RDWR), open(outside + "/file", O_RDONLY), open(outside + "/file", O_WRONLY),
                open(inside + "/way-out", O_RDONLY), open(inside + "/new", O_WRONLY | O_CREAT), open("/etc/passwd", O_RDONLY),
                open(inside, O_RDONLY | O_DIRECTORY), open(outside + "/nothing", O_RDONLY),
            ]
        }
        #expect(answers == [0, EACCES, EACCES, EACCES, EACCES, EACCES, EACCES, ENOENT])
        #expect(
            Self.errno { _ = try FileDescriptor.open(outside.path + "/file", flags: O_RDWR) } == 0, "the rules were that thread's alone")
    }

    @Test func whatIsNotHandledIsLeft() throws {
        guard let version = try? Landlock.version() else { return #expect((try? Landlock.version()) == nil) }
        let folder = TemporaryFolder()
        let answers = try SystemCallFilterTests.inThread { [path = folder.path] in
            try ProcessSelf.forbidNewPrivileges()
            let known = try Landlock(handled: [.execute, .makeLink, .makePipe], forbidsAbstractSockets: false).restrict()
            let made = Self.errno { _ = try FileDescriptor.open(path + "/new", flags: O_WRONLY | O_CREAT) }
            let linked = unsafe symlink("x", path + "/link") == 0 ? 0 : Glibc.errno
            let piped = unsafe mkfifo(path + "/pipe", 0o600) == 0 ? 0 : Glibc.errno
            return [Int32(known), made, linked, piped]
        }
        #expect(answers == [Int32(version), 0, EACCES, EACCES])
    }

    @Test func capabilitiesAreGivenUpForGood() throws {
        let before = try Capability.permitted()
        let (left, after) = try SystemCallFilterTests.inThread {
            (try Capability.keep([.dacOverride]), try Capability.permitted())
        }
        #expect(after & ~(1 << 1) == 0 && after & ~before == 0)
        #expect(left == (before & 2 != 0 ? [.dacOverride] : []))
        let none = try SystemCallFilterTests.inThread {
            _ = try Capability.keep([])
            // What is gone does not come back.
            return (try Capability.keep([.dacOverride, .chown]), try Capability.permitted())
        }
        #expect(none.0.isEmpty && none.1 == 0)
        #expect(try Capability.permitted() == before)
    }
}
