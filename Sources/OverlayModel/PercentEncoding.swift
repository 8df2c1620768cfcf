/// Text with everything but letters, digits and the given punctuation escaped (RFC 3986 §2.1).
///
/// - Parameters:
///   - text: Text to encode, as UTF-8.
///   - punctuation: ASCII characters that stay as they are.
public func percentEncoded(_ text: String, keeping punctuation: String = "") -> String {
    text.utf8.map { byte in
        switch byte {
        case 48...57, 65...90, 97...122: String(UnicodeScalar(byte))
        case _ where punctuation.utf8.contains(byte): String(UnicodeScalar(byte))
        default: "%" + hexadecimal([byte])
        }
    }.joined()
}
