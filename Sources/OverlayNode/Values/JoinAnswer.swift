public import OverlayCatalogue
public import OverlayModel

/// Answer to a node that wants to join.
public enum JoinAnswer: Hashable, Sendable {
    case admitted(Catalogue)
    /// The node refused, or was not reached; the reason is for the user.
    case refused(String)
}

/// Plaintext of the answer on the wire.
extension JoinAnswer: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .admitted(try reader.value())
        case 2: self = .refused(try reader.string(limit: 4096))
        default: throw .invalid("join answer")
        }
    }

    public func encode(to writer: inout ByteWriter) {
        switch self {
        case .admitted(let catalogue):
            writer.byte(1)
            writer.value(catalogue)
        case .refused(let reason):
            writer.byte(2)
            writer.string(reason)
        }
    }
}
