import OverlayModel

/// What nodes say to one another of addresses. None of it decides anything: that is the catalogue's. A lost one is said again.
enum AddressMessage: Hashable, Sendable {
    /// The sender's container waits, and nobody has a free block: whoever has free addresses may give them back.
    case pressure(SubnetID)
    /// The sender, in this epoch, wants this address of the receiver's for `--ip`.
    case want(SubnetID, IPAddress, epoch: UInt32)
    /// The answer to a ``want(_:_:epoch:)`` of an address that somebody has; for people.
    case inUse(SubnetID, IPAddress, by: String)

    static let holderBytes = 256
}

extension AddressMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .pressure(try reader.value())
        case 2: self = .want(try reader.value(), try reader.value(), epoch: try reader.integer())
        case 3: self = .inUse(try reader.value(), try reader.value(), by: try reader.string(limit: Self.holderBytes))
        default: throw .invalid("address message")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .pressure(let subnet):
            writer.byte(1)
            writer.value(subnet)
        case .want(let subnet, let address, let epoch):
            writer.byte(2)
            writer.value(subnet)
            writer.value(address)
            writer.integer(epoch)
        case .inUse(let subnet, let address, let holder):
            writer.byte(3)
            writer.value(subnet)
            writer.value(address)
            writer.string(holder)
        }
    }
}
