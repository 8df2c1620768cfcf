public import OverlayModel

/// Data of one record of an answer. Its owner is the name of the question.
public enum RecordData: Hashable, Sendable {
    case address(IPAddress)
    case pointer(DNSName)
    /// SRV (RFC 2782).
    case service(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName)

    public var type: RecordType {
        switch self {
        case .address(let address): address.family == .v4 ? .a : .aaaa
        case .pointer: .ptr
        case .service: .srv
        }
    }
}
