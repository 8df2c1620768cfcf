import OverlayModel
import Testing

@Suite struct PrintableTests {
    @Test(
        arguments: [
            ("host1", "host1"), ("größe 日本 é", "größe 日本 é"), ("", ""), ("a\nb", "a\\u{a}b"), ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\r\nb", "a\\u{d}\\u{a}b"), ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\u{202e}b\u{2028}c\u{2066}", "a\\u{202e}b\\u{2028}c\\u{2066}"),
            ("a\u{0}b\tc", "a\\u{0}b\\u{9}c"),
        ])
    func whatMovesTheCursorIsWrittenOut(text: String, shown: String) { #expect(text.printable() == shown) }

    @Test func linesStayWhereTheyAreMeant() {
        #expect("a\nb\r\n\u{1b}".printable(keepingLines: true) == "a\nb\\u{d}\n\\u{1b}")
    }
}
