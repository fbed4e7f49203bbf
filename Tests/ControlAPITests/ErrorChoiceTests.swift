import ControlAPI
import Testing

/// `report`, `hold` and `hold:SECONDS`, as people and programs write them.
struct ErrorChoiceTests {
    @Test(arguments: [("report", nil), ("hold", 0), ("hold:0", 0), ("hold:30", 30), ("hold:31536000", 31_536_000)] as [(String, Int?)])
    func isRead(_ text: String, _ seconds: Int?) throws {
        let choice = try #require(ErrorChoice(parsing: text))
        #expect(choice.holdSeconds == seconds)
        #expect(ErrorChoice(parsing: choice.text) == choice)
        let json = try JSONText.value(of: choice)
        #expect(json == .string(choice.text))
        #expect(TextRule.onError.problem(with: text) == nil)
    }

    static let refused = ["", "Hold", "hold:", "hold:-1", "hold:1.5", "hold: 1", "hold:١", "hold:31536001", "hold:99999999999999999999"]

    @Test(arguments: refused)
    func isRefused(_ text: String) {
        #expect(ErrorChoice(parsing: text) == nil)
        #expect(TextRule.onError.problem(with: text)?.hint.contains("hold:SECONDS") == true)
    }
}
