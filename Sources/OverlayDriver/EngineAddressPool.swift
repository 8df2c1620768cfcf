public import OverlayModel

/// Pool that an engine takes the subnets of its own networks from (`default-address-pools` of its configuration).
public struct EngineAddressPool: Hashable, Sendable {
    public var base: IPPrefix
    /// Length of the subnets.
    public var size: Int

    /// Nil if no subnet of this length is in the base, or the base is everything.
    public init?(base: IPPrefix, size: Int) {
        guard base.length > 0, size >= base.length, size <= base.family.bitWidth - 2 else { return nil }
        self.base = base.network
        self.size = size
    }

    /// Pools of an engine that was not told others (libnetwork's `ipamutils`).
    public static let builtIn = ((17...31).map { ("172.\($0).0.0/16", 16) } + [("192.168.0.0/16", 20)]).compactMap { text, size in
        IPPrefix(text).flatMap { EngineAddressPool(base: $0, size: size) }
    }

    /// Last subnet of the pool that overlaps none of these; nil if there is none.
    public func last(avoiding taken: [IPPrefix]) -> IPPrefix? {
        let step = UInt128(1) << UInt128(base.family.bitWidth - size)
        var start = base.last.bits & ~(step - 1)
        // In order of their ends, the last first: an obstacle that was passed concerns no later candidate.
        for obstacle in taken.filter({ $0.overlaps(base) }).sorted(by: { $0.last > $1.last }) {
            guard obstacle.last.bits >= start else { break }
            // Within a wider one that was passed.
            guard obstacle.first.bits <= start + (step - 1) else { continue }
            // Below the obstacle, at a boundary of subnets.
            let first = min(obstacle.first.bits, start) & ~(step - 1)
            guard first >= base.first.bits, first - base.first.bits >= step else { return nil }
            start = first - step
        }
        return IPPrefix(IPAddress(family: base.family, bits: start), length: size)
    }
}

extension EngineNetwork {
    /// Name of the network by which containers on overlay networks reach the outside (libnetwork's `libnGWNetwork`).
    public static let gatewayName = "docker_gwbridge"

    /// docker_gwbridge as the engine itself makes it (libnetwork's `createGWNetwork`), but with this subnet.
    public static func gateway(of subnet: IPPrefix) -> EngineNetwork {
        EngineNetwork(
            name: gatewayName, driver: "bridge", ipamDriver: "default",
            options: [
                "com.docker.network.bridge.name": gatewayName, "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.enable_ip_masquerade": "true",
            ], subnets: [Subnet(subnet: subnet)])
    }
}
