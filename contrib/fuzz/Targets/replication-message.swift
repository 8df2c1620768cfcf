public import Fuzzing
import OverlayModel

@testable import OverlayReplication

@_silgen_name("fuzzTarget") public func target() -> Target {
    let key = LogKey(network: NetworkID(bits: 5), owner: NodeID(bits: 6))
    let position = LogPosition(life: 1, sequence: 5)
    let bare = EndpointRecord(
        endpoint: EndpointID(unchecked: "0123456789ab"), mac: MACAddress(bits: 2), v4: nil, v6: nil,
        names: EndpointNames(names: ["web"], ports: [ExposedPort(number: 80, transport: .tcp)]))
    var whole = bare
    whole.endpoint = EndpointID(unchecked: "0123456789ac")
    whole.v4 = IPAddress("10.0.0.2")
    whole.v6 = IPAddress("fd00::2")
    let attachment = Attachment(vtep: IPAddress(v4: 192, 0, 2, 1), mtu: 1450)
    let signature = [UInt8](repeating: 7, count: Budget.signature)
    func batch(_ changes: [LogChange?]) -> SignedBatch {
        SignedBatch(
            network: key.network, owner: key.owner, life: 1, after: 5, changes: changes.compactMap { $0 }, signature: signature)
    }
    func part(_ records: [EndpointRecord], total: UInt32 = 1, index: UInt32 = 0, _ attachment: Attachment? = nil) -> SnapshotPart {
        SnapshotPart(
            network: key.network, owner: key.owner, position: position, root: [UInt8](repeating: 8, count: Budget.digest),
            signature: signature, attachment: attachment, total: total, index: index, records: records)
    }
    var claims = EndpointClaims(of: whole.endpoint)
    claims.insert(EndpointClaims.Hardware(MACAddress(bits: 0x5E00_0133), number: 3))
    claims.insert(EndpointClaims.Address(IPAddress(v4: 10, 0, 0, 200), at: whole.mac, number: 4))
    var claimed = part([whole])
    claimed.claims = [claims]
    var told = claimed
    told.facts = [EndpointFact(200, of: whole.endpoint, [1, 2, 3])]
    let seeds: [ReplicationMessage] = [
        .batch(batch([.claims(claims), .claims(EndpointClaims(of: bare.endpoint))]), relay: nil), .part(claimed),
        .part(told),
        .batch(batch([.endpoint(whole), .fact(told.facts[0]), .fact(EndpointFact(0, of: bare.endpoint, []))]), relay: nil),
        .batch(batch([.endpoint(whole), .gone(bare.endpoint), attachment.map { .attach($0) }, .detach]), relay: nil),
        .batch(batch([.detach]), relay: RelayGroup(index: 2, of: 3)),
        .part(part([bare, whole], attachment)), .part(part([])), .part(part([whole], total: 9, index: 8)),
        .acknowledge(key.network, position, view: 9), .pull(key, have: .none, part: nil),
        .pull(key, have: position, part: PartRequest(position: position, first: 3, count: 16)),
        .compare([NetworkView(network: key.network, hash: 1), NetworkView(network: NetworkID(bits: 1), hash: 2)]), .compare([]),
        .vector(key.network, [VectorEntry(owner: key.owner, position: position)], isAnswer: false),
        .vector(key.network, [], isAnswer: true),
    ]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(ReplicationMessage.self, $0) }
}
