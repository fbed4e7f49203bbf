import ControlAPI
import Testing

struct TextRuleTests {
    static let fine: [(TextRule, String)] = [
        (.exportName, "db0"), (.exportName, "A"), (.exportName, "_x"), (.exportName, "0.1-b_c"),
        (.exportName, String(repeating: "n", count: 64)),
        (.backing, "/dev/nvme0n1"), (.backing, "/a b"), (.backing, "null:512"), (.backing, "null:10G"),
        (.socketPath, "/run/vhublk/db0.sock"), (.socketPath, "/" + String(repeating: "s", count: 106)),
        (.serial, "VH-0001"), (.serial, String(repeating: "9", count: 20)), (.serial, " a~"),
        (.fileMode, "0660"), (.fileMode, "600"), (.fileMode, "0777"),
        (.group, "kvm"), (.group, "107"), (.version, "7.2"), (.version, "10"), (.version, "9.2.1"), (.any, ""),
    ]

    @Test(arguments: fine)
    func accepts(_ rule: TextRule, _ text: String) {
        #expect(rule.problem(with: text) == nil)
    }

    static let wrong: [(TextRule, String, String)] = [
        (.exportName, "", "is empty"), (.exportName, String(repeating: "n", count: 65), "longer than 64"),
        (.exportName, ".hidden", "starts with '.'"), (.exportName, "-x", "starts with '-'"), (.exportName, "..", "starts with '.'"),
        (.exportName, "../../etc/passwd", "starts with '.'"), (.exportName, "a/b", "contains '/'"), (.exportName, "a b", "contains ' '"),
        (.exportName, "é", "contains 'é'"), (.exportName, "a\u{0}", "control character 0"), (.exportName, "a\n", "control character 10"),
        (.backing, "", "is empty"), (.backing, "disk.raw", "not an absolute path"), (.backing, "null:", "no size"),
        (.backing, "null:0", "positive multiple of 512"), (.backing, "null:1000", "positive multiple of 512"),
        (.backing, "null:ten", "no size"), (.backing, "/a\u{0}b", "zero byte"),
        (.backing, "/" + String(repeating: "x", count: 4095), "4096 bytes long"),
        (.socketPath, "db0.sock", "not an absolute path"), (.socketPath, "/" + String(repeating: "s", count: 107), "108 bytes long"),
        (.serial, "", "is empty"), (.serial, String(repeating: "9", count: 21), "longer than 20"), (.serial, "ü", "contains"),
        (.serial, "a\tb", "control character 9"),
        (.fileMode, "rw", "octal"), (.fileMode, "1777", "octal"), (.fileMode, "0888", "octal"), (.fileMode, "", "octal"),
        (.fileMode, "00660", "octal"),
        (.group, "", "not the name"), (.version, "", "not a version"), (.version, "7.x", "not a version"),
        (.version, "1.2.3.4", "not a version"),
    ]

    @Test(arguments: wrong)
    func refuses(_ rule: TextRule, _ text: String, _ reason: String) {
        let problem = rule.problem(with: text)
        #expect(problem?.reason.contains(reason) == true, "\(problem?.reason ?? "accepted")")
        #expect(problem?.hint.isEmpty == false)
    }
}
