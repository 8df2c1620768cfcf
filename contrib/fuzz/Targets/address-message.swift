public import Fuzzing
import OverlayModel

@testable import OverlayNode

/// Messages about addresses between members.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let address = IPAddress("10.0.0.9")!
    let seeds: [AddressMessage] = [
        .pressure(SubnetID(1)), .want(SubnetID(1), address, epoch: 2), .inUse(SubnetID(1), address, by: "endpoint 0123456789ab"),
        .isNeeded(NetworkID(bits: 7)), .needed(NetworkID(bits: 7), true),
    ]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(AddressMessage.self, $0) }
}
