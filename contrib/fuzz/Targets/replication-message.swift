public import Fuzzing
import OverlayModel
@testable import OverlayReplication

@_silgen_name("fuzzTarget") public func target() -> Target {
    let network = NetworkID(bits: 5)
    let position = LogPosition(boot: 1, sequence: 5)
    let bare = EndpointRecord(endpoint: EndpointID(unchecked: "0123456789ab"), mac: MACAddress(bits: 2), v4: nil, v6: nil)
    var whole = bare
    whole.v4 = IPAddress("10.0.0.2")
    whole.v6 = IPAddress("fd00::2")
    let seeds: [ReplicationMessage] = [
        .changes(network, boot: 1, after: 5, [.endpoint(whole), .gone(bare.endpoint)]), .changes(network, boot: 1, after: 0, []),
        .snapshot(network, position, [bare, whole]), .snapshot(network, position, []), .acknowledge(network, position),
    ]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(ReplicationMessage.self, $0) }
}
