extension StringProtocol {
    /// Text for a terminal or a log: characters that move the cursor, end a line or turn the direction of what follows are written as
    /// `\u{1b}`. Names of other hosts are whatever those say.
    ///
    /// - Parameter keepsLines: True if line feeds stay as they are.
    public func printable(keepingLines keepsLines: Bool = false) -> String {
        guard unicodeScalars.contains(where: { $0.isUnprintable }) else { return String(self) }
        return unicodeScalars.reduce(into: "") { text, scalar in
            if scalar.isUnprintable, !(keepsLines && scalar == "\n") {
                text += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
    }
}

extension Unicode.Scalar {
    fileprivate var isUnprintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
