import OverlayModel

/// Message between nodes about addresses and networks. It decides nothing, as only the catalogue does; a lost one is sent again.
enum AddressMessage: Hashable, Sendable {
    /// A container of the sender waits, and the subnet has no free block. Receivers with free addresses may give some back.
    case pressure(SubnetID)
    /// The sender, in this epoch, wants an address that the receiver owns, as `--ip` names it.
    case want(SubnetID, IPAddress, epoch: UInt32)
    /// Answer to ``want(_:_:epoch:)`` for an address in use, with its holder in words.
    case inUse(SubnetID, IPAddress, by: String)
    /// A user of the sender removes the network. Does a container of the receiver's engine have it in its configuration?
    case isNeeded(NetworkID)
    /// Answer to ``isNeeded(_:)``; also true where the receiver cannot know.
    case needed(NetworkID, Bool)

    /// Greatest length of the holder's text, in bytes.
    static let holderBytes = 256
}

extension AddressMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .pressure(try reader.value())
        case 2: self = .want(try reader.value(), try reader.value(), epoch: try reader.integer())
        case 3: self = .inUse(try reader.value(), try reader.value(), by: try reader.string(limit: Self.holderBytes))
        case 4: self = .isNeeded(try reader.value())
        case 5: self = .needed(try reader.value(), try reader.bool())
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
        case .isNeeded(let network):
            writer.byte(4)
            writer.value(network)
        case .needed(let network, let isNeeded):
            writer.byte(5)
            writer.value(network)
            writer.bool(isNeeded)
        }
    }
}
