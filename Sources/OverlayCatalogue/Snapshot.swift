public import OverlayModel

/// Byte form of the whole state. Equal states have equal bytes, so that nodes can compare hashes.
extension Catalogue: Wire {
    /// Form without a version in use, which is the first one then; and form with it.
    private static let version: UInt8 = 4
    private static let versionWithUse: UInt8 = 5

    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init()
        switch try reader.byte() {
        case Self.version: break
        case Self.versionWithUse:
            versionInUse = try reader.integer()
            // A state has one form.
            guard versionInUse > ProtocolVersions.unannounced else { throw .invalid("version in use") }
        default: throw .invalid("catalogue version")
        }
        restore(index: try reader.counter())
        cluster = try reader.optional()
        let listed = try reader.list(Member.self, limit: Limits.members)
        for member in listed { setMember(member) }
        guard members.count == listed.count, hasUniqueMembers else { throw .invalid("member") }
        for row in try reader.list(DepartedRow.self, limit: Limits.members) { departed[row.node] = row.name }
        guard departed.keys.allSatisfy({ members[$0] == nil }) else { throw .invalid("departed node") }
        let all = try reader.list(Network.self)
        for network in all { networks[network.id] = network }
        guard networks.count == all.count, Set(all.map(\.vni)).count == all.count,
            Set(all.flatMap(\.names)).count == all.reduce(0, { $0 + $1.names.count })
        else { throw .invalid("network") }
        for row in try reader.list(SessionRow.self, limit: Limits.members) { sessions[row.node] = row.session }
        nextSubnet = try reader.counter()
        nextNetwork = try reader.counter()
        nextVNI = try reader.integer()
        guard VNI.all.contains(nextVNI) else { throw .invalid("VNI") }
        indexSubnets()
        // With a duplicate id, nodes would differ in which network the subnet belongs to.
        guard networkOfSubnet.count == networks.values.reduce(0, { $0 + $1.subnets.count }) else { throw .invalid("subnet id") }
        // No id may be given out again, and the numbers must not run out: the states that follow would not decode.
        guard networkOfSubnet.keys.allSatisfy({ $0.value < nextSubnet }), max(nextSubnet, nextNetwork) < Limits.counter / 2 else {
            throw .invalid("next id")
        }
    }

    public func encode(to writer: inout ByteWriter) {
        if versionInUse > ProtocolVersions.unannounced {
            writer.byte(Self.versionWithUse)
            writer.integer(versionInUse)
        } else {
            writer.byte(Self.version)
        }
        writer.integer(index)
        writer.optional(cluster)
        writer.list(members.values.sorted { $0.id < $1.id })
        writer.list(departed.sorted { $0.key < $1.key }.map { DepartedRow(node: $0.key, name: $0.value) })
        writer.list(networks.values.sorted { $0.id < $1.id })
        writer.list(sessions.sorted { $0.key < $1.key }.map { SessionRow(node: $0.key, session: $0.value) })
        writer.integer(nextSubnet)
        writer.integer(nextNetwork)
        writer.integer(nextVNI)
    }

    private struct DepartedRow: Wire {
        var node: NodeID
        var name: String

        init(node: NodeID, name: String) {
            self.node = node
            self.name = name
        }

        init(from reader: inout ByteReader) throws(DecodeError) {
            node = try reader.value()
            name = try reader.string(limit: 253)
        }

        func encode(to writer: inout ByteWriter) {
            writer.value(node)
            writer.string(name)
        }
    }

    private struct SessionRow: Wire {
        var node: NodeID
        var session: Session

        init(node: NodeID, session: Session) {
            self.node = node
            self.session = session
        }

        init(from reader: inout ByteReader) throws(DecodeError) {
            node = try reader.value()
            session = Session(sequence: try reader.integer(), result: try reader.value())
        }

        func encode(to writer: inout ByteWriter) {
            writer.value(node)
            writer.integer(session.sequence)
            writer.value(session.result)
        }
    }
}
