public import Fuzzing
import OverlayModel

/// Addresses and ids as texts of people and engines.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let texts = [
        "10.0.0.1", "255.255.255.255", "::", "::1", "fd00:1:2::9", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "fe80::1:0:0:1",
        "10.0.0.0/24",
        "0.0.0.0/0", "fd00::/64", "::/0", "10.1.2.3/32", "02:42:0a:00:00:01", "02-42-0A-00-00-01", "pool-00000000000000ff",
        "nawsadqpnx0p8z7rxgwq6o7nw", "000102030405060708090a0b0c0d0e0f",
    ]
    return Target(seeds: texts.map { Array($0.utf8) }) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        same(IPAddress.self, text)
        same(IPPrefix.self, text)
        same(MACAddress.self, text)
        same(SubnetID.self, text)
        same(NodeID.self, text)
        if let id = EngineNetworkID(text) { requireRoundTrip(id) }
        if let address = IPAddress(text) {
            requireRoundTrip(address)
            require(IPAddress(networkBytes: address.networkBytes) == address, "\(address) has network bytes")
            _ = address.advanced(by: 1)
        }
        if let prefix = IPPrefix(text) {
            requireRoundTrip(prefix)
            require(prefix.network.isNetwork && prefix.contains(prefix.address), "\(prefix) lies in its network")
            require(prefix.contains(prefix.network) && prefix.overlaps(prefix.address.hostPrefix), "\(prefix) holds itself")
            let usable = prefix.usable
            require(usable.count >= 1 && prefix.contains(usable.first) && prefix.contains(usable.last), "\(usable) of \(prefix)")
            requireRoundTrip(usable)
        }
    }
}

private func same<T: LosslessStringConvertible & Equatable>(_ type: T.Type, _ text: String) {
    guard let value = T(text) else { return }
    require(T(value.description) == value, "\(value) is itself after it was written")
}
