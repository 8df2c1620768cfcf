import OverlayModel

/// Body of one call as it arrives: what is kept of it, within bounds.
///
/// A body over its limit is taken to its end and not kept, because a client that still writes does not read the answer.
struct BodyCollector {
    private enum Content {
        case whole([UInt8])
        case filtered(JSONFilter)
        /// No more is kept, for this reason.
        case refused(ProtocolError)
    }

    private let path: String
    private let limit: Int
    private var length = 0
    private var content: Content

    /// Collector that keeps a whole body, whatever it is.
    init(_ path: String, limit: Int = Limits.requestBodyBytes) {
        self.path = path
        self.limit = limit
        content = .whole([])
    }

    /// Collector that keeps the selected parts of a body, which is JSON, up to `Limits.requestBodyBytes` of them.
    init(_ path: String, limit: Int, selection: JSONSelection) {
        self.path = path
        self.limit = limit
        content = .filtered(JSONFilter(selection, keptLimit: Limits.requestBodyBytes))
    }

    /// Number of bytes that are kept.
    var keptBytes: Int {
        switch content {
        case .whole(let bytes): bytes.count
        case .filtered(let filter): filter.keptBytes
        case .refused: 0
        }
    }

    /// Takes the next piece of the body.
    mutating func take(_ bytes: Span<UInt8>) {
        length += bytes.count
        // The content is moved out while it changes, so that its bytes are not copied.
        let old = content
        content = .whole([])
        switch old {
        case .refused: content = old
        case .whole where length > limit: content = .refused(tooLarge("is longer than \(limit) bytes"))
        case .filtered where length > limit:
            content = .refused(tooLarge("is longer than \(limit) bytes: publish or expose fewer ports"))
        case .whole(var kept):
            bytes.withUnsafeBufferPointer { kept.append(contentsOf: $0) }
            content = .whole(kept)
        case .filtered(var filter):
            do throws(JSONFailure) {
                try filter.take(bytes)
                content =
                    filter.isOverLimit
                    ? .refused(tooLarge("has more than \(Limits.requestBodyBytes) bytes beside the lists of ports"))
                    : .filtered(filter)
            } catch {
                content = .refused(malformed(error))
            }
        }
    }

    /// Ends the body, and returns what is kept of it.
    mutating func finish() throws(ProtocolError) -> [UInt8] {
        switch content {
        case .whole(let bytes): return bytes
        case .filtered(var filter):
            do throws(JSONFailure) {
                return try filter.finish()
            } catch {
                throw malformed(error)
            }
        case .refused(let error): throw error
        }
    }

    private func tooLarge(_ cause: String) -> ProtocolError { ProtocolError(.tooLarge, "the body of \(excerpt(path)) \(cause)") }

    private func malformed(_ failure: JSONFailure) -> ProtocolError {
        ProtocolError(.malformed, "\(path.hasPrefix("/") ? String(path.dropFirst()) : path): \(failure.text)")
    }
}
