import OverlayDriver
import OverlayModel

/// Node with its state in memory: enough to answer a replay, and strict enough to notice mixed-up pools or addresses.
actor FakeNode {
    /// True if RequestPool returns the gateway, so that engines do not ask for it.
    let tellsGateway: Bool
    private var pools: [SubnetID: IPPrefix] = [:]
    private var leases: [SubnetID: [IPAddress: RequestAddress.Purpose]] = [:]
    private var networks: [EngineNetworkID: CreateNetwork] = [:]
    private var endpoints: [EndpointID: CreateEndpoint] = [:]
    private var next: UInt64 = 0
    private(set) var requests: [DriverRequest] = []

    init(tellsGateway: Bool = false) { self.tellsGateway = tellsGateway }

    func handle(_ request: DriverRequest) -> DriverResponse {
        requests.append(request)
        switch request {
        case .activate:
            return .activated
        case .requestPool(let ask):
            next += 1
            let id = SubnetID(next)
            let free = IPPrefix(ask.family == .v4 ? "10.99.\(next).0/24" : "fd00:99:\(next)::/64")
            guard let pool = ask.pool ?? free else { return failed("no pool") }
            guard ask.addressSpace == DriverRequest.addressSpace else { return failed("address space \(ask.addressSpace)") }
            pools[id] = pool
            return .pool(id, pool, gateway: tellsGateway ? IPPrefix(pool.usable.first, length: pool.length) : nil)
        case .releasePool(let id):
            return pools.removeValue(forKey: id) == nil ? failed("release of unknown \(id)") : .done
        case .requestAddress(let ask):
            guard let pool = pools[ask.pool] else { return failed("unknown \(ask.pool)") }
            // The first address is left to the gateway that came with the pool.
            var candidate = ask.address ?? pool.usable.first.advanced(by: tellsGateway ? 1 : 0)
            while let address = candidate, leases[ask.pool]?[address] != nil, ask.address == nil {
                candidate = address.advanced(by: 1)
            }
            guard let address = candidate, pool.contains(address), let prefix = IPPrefix(address, length: pool.length) else {
                return failed("no address in \(pool)")
            }
            leases[ask.pool, default: [:]][address] = ask.purpose
            return .address(prefix)
        case .releaseAddress(let id, let address):
            guard let pool = pools[id], pool.contains(address) else { return failed("release of \(address) in \(id)") }
            leases[id]?[address] = nil
            return .done
        case .createNetwork(let network):
            for data in network.v4 + network.v6 where data.addressSpace == DriverRequest.addressSpace {
                guard let pool = data.pool, pools.values.contains(pool) else {
                    return failed("unknown pool of \(network.network.short)")
                }
                guard let gateway = data.gateway, pool.contains(gateway.address) else { return failed("gateway of \(pool)") }
                guard data.auxiliary.values.allSatisfy({ pool.contains($0.address) }) else {
                    return failed("aux addresses of \(pool)")
                }
            }
            networks[network.network] = network
            return .done
        case .deleteNetwork(let network):
            return networks.removeValue(forKey: network) == nil ? failed("unknown network \(network.short)") : .done
        case .createEndpoint(let ask):
            guard let network = networks[ask.network] else { return failed("unknown network \(ask.network.short)") }
            if network.v4.first?.addressSpace == DriverRequest.addressSpace {
                guard let address = ask.v4?.address, let mac = ask.mac,
                    leases.values.contains(where: { $0[address] == .endpoint(mac) })
                else { return failed("endpoint \(ask.endpoint.short) has an address or MAC that was not leased") }
            }
            endpoints[ask.endpoint] = ask
            return .endpoint(mac: ask.mac == nil ? MACAddress("02:99:00:00:00:01") : nil)
        case .deleteEndpoint(_, let endpoint):
            return endpoints.removeValue(forKey: endpoint) == nil ? failed("unknown endpoint \(endpoint.short)") : .done
        case .join(let join):
            guard endpoints[join.endpoint] != nil else { return failed("unknown endpoint \(join.endpoint.short)") }
            return .joined(sourceName: "ov\(join.endpoint.short)", destinationPrefix: "eth")
        case .leave(_, let endpoint):
            return endpoints[endpoint] == nil ? failed("unknown endpoint \(endpoint.short)") : .done
        default:
            return failed("a constant call reached the node: \(request)")
        }
    }

    private func failed(_ message: String) -> DriverResponse { .failed(DriverError(.notFound, message)) }
}
