public import OverlayDatapath
public import OverlayDriver
public import OverlayModel

/// What an engine does for `docker network create`, `run` and so on, as the transcripts show it.
extension World {
    public struct Failed: Error, CustomStringConvertible {
        public var description: String
        public init(_ description: String) { self.description = description }
    }

    public struct Attached {
        public var endpoint: EndpointID
        public var network: EngineNetworkID
        public var pool: SubnetID
        public var address: IPAddress
        public var mac: MACAddress
    }

    public struct Created {
        public var network: EngineNetworkID
        public var pool: SubnetID
        public var prefix: IPPrefix
    }

    public static func networkID(_ index: Int, _ name: String) -> EngineNetworkID {
        var generator = SeededGenerator(seed: name.utf8.reduce(UInt64(index + 1)) { $0 &* 31 &+ UInt64($1) })
        let text = (0..<4).map { _ in hexadecimal(generator.next().wireBytes) }.joined()
        return EngineNetworkID(unchecked: text)
    }

    public static func endpointID(_ name: String) -> EndpointID {
        EndpointID(unchecked: networkID(9, name).text)
    }

    public static func mac(_ name: String) -> MACAddress {
        var generator = SeededGenerator(seed: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
        return .random(using: &generator)
    }

    public func createNetwork(
        _ index: Int, _ name: String, subnet: IPPrefix? = nil, range: IPPrefix? = nil, gateway: IPAddress? = nil,
        auxiliary: [IPAddress] = [], options: Options = [:]
    ) throws -> Created {
        let request = RequestPool(
            addressSpace: "swift-overlay", pool: subnet, subPool: range, networkName: name, family: .v4)
        guard case .pool(let pool, let prefix, let given) = try checked(call(index, .requestPool(request))) else {
            throw Failed("no pool")
        }
        do {
            if let gateway {
                _ = try checked(call(index, .requestAddress(RequestAddress(pool: pool, address: gateway, purpose: .gateway))))
            }
            for address in auxiliary {
                _ = try checked(call(index, .requestAddress(RequestAddress(pool: pool, address: address, purpose: .auxiliary))))
            }
            let id = Self.networkID(index, name)
            let data = IPAMData(
                addressSpace: "swift-overlay", pool: prefix,
                gateway: gateway.flatMap { IPPrefix($0, length: prefix.length) } ?? given)
            _ = try checked(call(index, .createNetwork(CreateNetwork(network: id, options: options, v4: [data], v6: []))))
            return Created(network: id, pool: pool, prefix: prefix)
        } catch {
            _ = call(index, .releasePool(pool))
            throw error
        }
    }

    /// - Parameters:
    ///   - isNamed: With the driver-opt `name`.
    ///   - called: The driver-opt, where it is another than the name.
    ///   - willAnnounce: Called before CreateEndpoint, the call that others learn of the endpoint by.
    public func attach(
        _ index: Int, _ name: String, to network: Created, address: IPAddress? = nil, isNamed: Bool = true,
        called: String? = nil, sandbox: String = "/run/docker/netns/1", willAnnounce: (MACAddress) -> Void = { _ in }
    ) throws -> Attached {
        let mac = Self.mac(name)
        let request = RequestAddress(pool: network.pool, address: address, purpose: .endpoint(mac))
        guard case .address(let prefix) = try checked(call(index, .requestAddress(request))) else { throw Failed("no address") }
        let endpoint = Self.endpointID(name)
        do {
            willAnnounce(mac)
            _ = try checked(
                call(
                    index,
                    .createEndpoint(
                        CreateEndpoint(
                            network: network.network, endpoint: endpoint, v4: prefix, v6: nil, mac: mac,
                            options: isNamed ? [OptionName.endpointName: .string(called ?? name)] : [:]))))
            do {
                _ = try checked(
                    call(index, .join(Join(network: network.network, endpoint: endpoint, sandboxKey: sandbox))))
            } catch {
                _ = call(index, .deleteEndpoint(network: network.network, endpoint: endpoint))
                throw error
            }
        } catch {
            _ = call(index, .releaseAddress(network.pool, prefix.address))
            throw error
        }
        return Attached(endpoint: endpoint, network: network.network, pool: network.pool, address: prefix.address, mac: mac)
    }

    /// The same without waiting: the calls follow one another as the answers come. nil where one was refused; then what was made is
    /// taken back.
    public func beginAttach(_ index: Int, _ name: String, to network: Created, then done: @escaping (Attached?) -> Void) {
        let mac = Self.mac(name)
        let endpoint = Self.endpointID(name)
        begin(index, .requestAddress(RequestAddress(pool: network.pool, address: nil, purpose: .endpoint(mac)))) {
            [unowned self] answer in
            guard case .address(let prefix) = answer else { return done(nil) }
            func takeBack() {
                _ = begin(index, .deleteEndpoint(network: network.network, endpoint: endpoint))
                _ = begin(index, .releaseAddress(network.pool, prefix.address))
                done(nil)
            }
            let create = CreateEndpoint(
                network: network.network, endpoint: endpoint, v4: prefix, v6: nil, mac: mac,
                options: [OptionName.endpointName: .string(name)])
            begin(index, .createEndpoint(create)) { [unowned self] answer in
                if case .failed = answer { return takeBack() }
                let join = Join(network: network.network, endpoint: endpoint, sandboxKey: "/run/docker/netns/1")
                begin(index, .join(join)) { answer in
                    if case .failed = answer { return takeBack() }
                    done(
                        Attached(
                            endpoint: endpoint, network: network.network, pool: network.pool, address: prefix.address, mac: mac))
                }
            }
        }
    }

    /// The same for a network. nil where a call was refused.
    public func beginCreateNetwork(_ index: Int, _ name: String, subnet: IPPrefix?, then done: @escaping (Created?) -> Void) {
        let request = RequestPool(
            addressSpace: "swift-overlay", pool: subnet, subPool: nil, networkName: name, family: .v4)
        begin(index, .requestPool(request)) { [unowned self] answer in
            guard case .pool(let pool, let prefix, let gateway) = answer else { return done(nil) }
            let id = Self.networkID(index, name)
            let data = IPAMData(addressSpace: "swift-overlay", pool: prefix, gateway: gateway)
            begin(index, .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: []))) { [unowned self] answer in
                if case .failed = answer {
                    _ = begin(index, .releasePool(pool))
                    return done(nil)
                }
                done(Created(network: id, pool: pool, prefix: prefix))
            }
        }
    }

    public func detach(_ index: Int, _ attached: Attached) {
        _ = call(index, .leave(network: attached.network, endpoint: attached.endpoint))
        _ = call(index, .deleteEndpoint(network: attached.network, endpoint: attached.endpoint))
        _ = call(index, .releaseAddress(attached.pool, attached.address))
        nodes[index].kernel.endPair(KernelName.port(attached.endpoint))
    }

    public func removeNetwork(_ index: Int, _ network: Created) {
        _ = call(index, .releasePool(network.pool))
        _ = call(index, .deleteNetwork(network.network))
    }

    public func checked(_ response: DriverResponse) throws -> DriverResponse {
        if case .failed(let error) = response { throw error }
        return response
    }

    /// The one network of a node's kernel.
    public func kernel(_ index: Int) -> NetworkState? {
        let networks = nodes[index].kernel.state.networks
        return networks.count == 1 ? networks.values.first : nil
    }
}
