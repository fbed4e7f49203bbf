import ControlAPI
import Testing

struct CPUListTests {
    @Test(arguments: [
        ("0", [0], "0"), ("0-3", [0, 1, 2, 3], "0-3"), ("4,0-1,1", [0, 1, 4], "0-1,4"), ("7,6,5", [5, 6, 7], "5-7"),
        ("0,2", [0, 2], "0,2"), ("8191", [8191], "8191"),
    ])
    func reads(_ text: String, _ cpus: [Int], _ written: String) {
        #expect(CPUList(parsing: text)?.cpus == cpus)
        #expect(CPUList(parsing: text)?.description == written)
    }

    @Test(arguments: ["", ",", "0,", "-", "1-", "-1", "3-1", "a", "0-8192", "8192", "1-2-3", " 1", "0x1"])
    func refuses(_ text: String) {
        #expect(CPUList(parsing: text) == nil)
    }

    @Test func refusesEmptyAndNegative() {
        #expect(CPUList([]) == nil)
        #expect(CPUList([-1]) == nil)
    }
}
