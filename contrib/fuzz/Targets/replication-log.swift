public import Fuzzing
import OverlayModel
@testable import OverlayReplication

private let network = NetworkID(bits: 5)
private let peers = (1...4).map { NodeID(bits: UInt128($0)) }

private func record(_ index: UInt8, version: UInt8 = 0) -> EndpointRecord {
    EndpointRecord(
        endpoint: EndpointID(unchecked: "0123456789ab" + hexadecimal([index])), mac: MACAddress(bits: 0x0242_0000_0000 | UInt64(index)),
        v4: IPAddress(v4: 10, 0, version, index), v6: nil)
}

/// One node's logs: its own changes, and what its peers say. Each step is a byte that tells what happens, one that tells to whom, and
/// for 0…3 a message.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let position = LogPosition(boot: 1, sequence: 3)
    let messages: [ReplicationMessage] = [
        .snapshot(network, position, [record(1), record(2)]),
        .changes(network, boot: 1, after: 3, [.endpoint(record(3)), .gone(record(1).endpoint)]),
        .changes(network, boot: 2, after: 0, [.endpoint(record(4))]), .acknowledge(network, position),
        .acknowledge(network, LogPosition(boot: 0, sequence: 0)),
    ]
    let steps: [[UInt8]] = messages.map { [0, 1] + $0.wireBytes }
    let between: [UInt8] = [4, 9, 5, 1, 6, 1]
    let story: [UInt8] = steps.flatMap { $0 + between }
    let change: [UInt8] = [7, 1, 8, 2]
    return Target(seeds: steps.map { between + $0 + between } + [story, story + change + story], run: run)
}

private func run(_ bytes: [UInt8]) {
    var node = Replication(node: NodeID(bits: 9), boot: 1)
    var effects: [Replication.Effect] = []
    var now = Instant(nanoseconds: 0)
    node.subscribe(network, to: Set(peers), now: now, into: &effects)
    var reader = ByteReader(bytes)
    var steps = 0
    while steps < 64, let step = try? reader.byte(), let which = try? reader.byte() {
        steps += 1
        let peer = peers[Int(which) % peers.count]
        switch step {
        case 0...3:
            guard let message = try? reader.value(ReplicationMessage.self) else { return }
            try? node.receive(message.wireBytes, from: peer, now: now, into: &effects)
        case 4: node.put(record(which & 15, version: which >> 4), on: network, now: now, into: &effects)
        case 5: node.remove(record(which & 15).endpoint, from: network, now: now, into: &effects)
        case 6:
            now = now + .milliseconds(Int64(which))
            node.advance(to: now, into: &effects)
        case 7: node.compare(UInt64(which), with: peer, now: now, into: &effects)
        case 8: node.subscribe(network, to: Set(peers.prefix(Int(which) % 5)), now: now, into: &effects)
        case 9: node.unsubscribe(network, into: &effects)
        case 10: node.setReachable(peer, which & 4 == 0, now: now, into: &effects)
        case 11: node.reset(peer, now: now, into: &effects)
        default: break
        }
        for case .send(_, let bytes) in effects {
            require((try? ReplicationMessage(wire: bytes)) != nil, "what a node says can be read")
        }
        effects = []
        for peer in peers { _ = node.digest(of: peer) }
        require(node.endpoints(on: network).count == peers.reduce(0) { $0 + node.count(of: $1, on: network) }, "all are counted")
    }
}
