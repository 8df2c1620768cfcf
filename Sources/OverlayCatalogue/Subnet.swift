public import OverlayModel

/// A subnet of a network: one engine pool.
public struct Subnet: Hashable, Sendable {
    public var id: SubnetID
    public var prefix: IPPrefix
    /// `--ip-range`: addresses that are handed out; nil is the whole subnet. Other addresses are for `--ip`.
    public var range: IPPrefix?
    /// Gateway on the bridge, the same on every host; never handed out.
    public var gateway: IPAddress
    /// Addresses kept for other uses (`--aux-address`).
    public var auxiliary: Set<IPAddress>
    /// Nodes whose engine has the subnet.
    public var users: Set<NodeID>
    /// Blocks in order of address.
    public internal(set) var blocks: [Block]

    /// Addresses that blocks are cut from; nil if the range has no address that an endpoint may have.
    public var dynamic: AddressRange? { Self.dynamic(range, in: prefix) }

    static func dynamic(_ range: IPPrefix?, in prefix: IPPrefix) -> AddressRange? {
        let usable = prefix.usable
        guard let range else { return usable }
        let first = max(range.first, usable.first)
        let last = min(range.last, usable.last)
        return first <= last && prefix.contains(range) ? AddressRange(first: first, last: last) : nil
    }

    /// True if no endpoint may have the address.
    public func isReserved(_ address: IPAddress) -> Bool {
        address == gateway || auxiliary.contains(address) || !prefix.usable.contains(address)
    }

    public func block(holding address: IPAddress) -> Block? {
        // The last block that starts at or before the address.
        guard let block = blocks.lastElement(before: { $0.range.first > address }), block.range.contains(address) else {
            return nil
        }
        return block
    }

    /// Removes addresses from the blocks of a node.
    mutating func take(_ range: AddressRange, from owner: NodeID) {
        blocks = blocks.flatMap { block in
            guard block.owner == owner, block.range.overlaps(range) else { return [block] }
            return block.range.subtracting([range]).map { Block(range: $0, owner: owner) }
        }
    }

    public func blocks(of node: NodeID) -> [AddressRange] { blocks.filter { $0.owner == node }.map(\.range) }
}

extension Subnet: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        prefix = try reader.value()
        range = try reader.optional()
        gateway = try reader.value()
        auxiliary = Set(try reader.list(IPAddress.self, limit: Limits.auxiliaryAddresses))
        users = Set(try reader.list(NodeID.self, limit: Limits.members))
        blocks = try reader.list(limit: Limits.listCount)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(prefix)
        writer.optional(range)
        writer.value(gateway)
        writer.list(auxiliary.sorted())
        writer.list(users.sorted())
        writer.list(blocks)
    }
}
