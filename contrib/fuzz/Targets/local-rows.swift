public import Fuzzing
import OverlayIPAM
import OverlayModel

@testable import OverlayNode

/// Rows of the node's own store. The first byte tells their kind.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let engineNetwork = EngineNetworkID(unchecked: "nawsadqpnx0p8z7rxgwq6o7nw")
    let network = NetworkID(bits: 5)
    let mac = MACAddress(bits: 0x0242_0A00_0001)
    var endpoint = LocalEndpoint(
        id: EndpointID(unchecked: "0123456789ab"), engineNetwork: engineNetwork, network: network, mac: mac,
        v4: IPPrefix("10.0.0.2/24"), v6: IPPrefix("fd00::2/64"))
    endpoint.isJoined = true
    endpoint.sandbox = "/run/docker/netns/1"
    endpoint.givenName = "web"
    endpoint.learned = EndpointNames(names: ["web.1", "db"], ports: [ExposedPort(number: 80, transport: .tcp)])
    var local = LocalNetwork(id: engineNetwork, network: network, subnets: [SubnetID(1), SubnetID(2)])
    local.name = "shop"
    let leases = ["10.0.0.2", "fd00::2"].map { Lease(subnet: SubnetID(1), address: IPAddress($0)!, mac: mac) }
    let handover = Handover(subnet: SubnetID(1), range: AddressRange(IPAddress("10.0.0.16")!))
    // A row of the first schema ends before the admission.
    let seeds =
        [[0] + local.wireBytes, [4] + local.wireBytes.dropLast(), [1] + endpoint.wireBytes, [3] + handover.wireBytes]
        + leases.map { [2] + $0.wireBytes }
    return Target(seeds: seeds) { bytes in
        guard let kind = bytes.first else { return }
        let row = Array(bytes.dropFirst())
        switch kind {
        case 0: roundTrip(LocalNetwork.self, row)
        case 1: roundTrip(LocalEndpoint.self, row)
        case 2: _ = roundTrip(Lease.self, row)?.storeKey
        case 3: _ = roundTrip(Handover.self, row)?.storeKey
        case 4: _ = try? StateSchema.present.migrate([.network: [[1]: row]], 1)
        default: break
        }
    }
}
