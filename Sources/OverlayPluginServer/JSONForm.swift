import FoundationEssentials
import OverlayModel

/// JSON text to values and back, with bounds that the decoder does not have and errors that a user can read.
enum JSONForm {
    /// Levels of arrays and objects in each other. Engines send four; the decoder recurses, so this bounds its stack.
    static let depthLimit = 64

    /// Decodes one JSON value; the failure is a sentence without a subject.
    static func decode<T: Decodable>(_ type: T.Type, from body: [UInt8]) -> Result<T, JSONFailure> {
        if let fault = fault(in: body) { return .failure(JSONFailure(text: fault)) }
        do {
            return .success(try JSONDecoder().decode(type, from: Data(body)))
        } catch {
            return .failure(JSONFailure(text: describe(error)))
        }
    }

    /// A linear scan for what must not reach the decoder. It need not find every fault: the decoder does that.
    static func fault(in body: [UInt8]) -> String? {
        var depth = 0
        var inText = false
        var escaped = false
        for byte in body {
            switch byte {
            // Raw NULs are no JSON in UTF-8; with them the decoder would take the body for UTF-16, where this scan is blind.
            case 0: return "the body holds a NUL byte"
            case _ where escaped: escaped = false
            case UInt8(ascii: "\\") where inText: escaped = true
            case UInt8(ascii: "\""): inText.toggle()
            case _ where inText: break
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                if depth > depthLimit { return "the body nests arrays and objects deeper than \(depthLimit) levels" }
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
            default: break
            }
        }
        return nil
    }

    private static func describe(_ error: any Error) -> String {
        switch error as? DecodingError {
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context):
            let path = path(context.codingPath)
            return "\(path.isEmpty ? "the body" : "the field \(excerpt(path))") has the wrong type: \(bounded(context.debugDescription))"
        case .dataCorrupted(let context):
            return "the body is not JSON: \(bounded(context.debugDescription))"
        case nil:
            return "the body is not JSON: \(bounded(String(describing: error)))"
        @unknown default:
            return "the body is not JSON: \(bounded(String(describing: error)))"
        }
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        var path = ""
        for key in keys {
            if let index = key.intValue {
                path += "[\(index)]"
            } else {
                path += path.isEmpty ? key.stringValue : ".\(key.stringValue)"
            }
        }
        return path
    }

    private static func bounded(_ text: String) -> String { text.utf8.count > 200 ? excerpt(text) : text }

    /// JSON text of a value that always has one.
    static func encode(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Our answers hold only objects, text and booleans, which always encode; an engine understands this text all the same.
        guard let data = try? encoder.encode(value) else { return Array(#"{"Err":"encoding failed","Error":"encoding failed"}"#.utf8) }
        return Array(data)
    }
}

struct JSONFailure: Error {
    var text: String
}
