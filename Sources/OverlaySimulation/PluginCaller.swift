public import OverlayDriver
public import OverlayModel
public import OverlayNode

/// A caller of the nodes' plugins, which takes the place of their engines. Nodes are meant by index.
public protocol PluginCaller: AnyObject {
    /// Calls, and waits for the answer.
    func call(_ index: Int, _ request: DriverRequest) -> DriverResponse
    /// Starts a call.
    func begin(_ index: Int, _ request: DriverRequest) -> RequestID
    /// Starts a call, and runs `next` with its answer.
    func begin(_ index: Int, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void)
    /// Removes the veth pair of an endpoint, as the kernel does when a sandbox ends.
    func endPair(_ index: Int, of endpoint: EndpointID)
    /// Adds routes in a sandbox, as an engine does with those of a Join. Throws where one is there already.
    func addRoutes(_ index: Int, _ destinations: [IPPrefix], through mac: MACAddress, in sandbox: String) throws
    /// Removes a link from its sandbox.
    func removeLink(_ index: Int, _ mac: MACAddress)
}

/// Calls of an engine for `docker network create`, `docker run` and so on, in the order in which engines send them.
extension PluginCaller {
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
    ) throws -> World.Created {
        let request = RequestPool(
            addressSpace: "swift-overlay", pool: subnet, subPool: range, networkName: name, family: .v4)
        guard case .pool(let pool, let prefix, let given) = try checked(call(index, .requestPool(request))) else {
            throw World.Failed("no pool")
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
            return World.Created(network: id, pool: pool, prefix: prefix)
        } catch {
            _ = call(index, .releasePool(pool))
            throw error
        }
    }

    /// Creates an endpoint and joins it, as `docker run` does.
    ///
    /// - Parameters:
    ///   - isNamed: True to pass a name as driver option `name`.
    ///   - called: Driver option `name`, if it differs from the name of the endpoint.
    ///   - sandbox: Path of the container's network namespace.
    ///   - willAnnounce: Called before CreateEndpoint, the call by which other nodes learn of the endpoint.
    /// - Throws: The first refusal, after what was made was taken back.
    public func attach(
        _ index: Int, _ name: String, to network: World.Created, address: IPAddress? = nil, isNamed: Bool = true,
        called: String? = nil, sandbox: String = "/run/docker/netns/1", willAnnounce: (MACAddress) -> Void = { _ in }
    ) throws -> World.Attached {
        let mac = Self.mac(name)
        let request = RequestAddress(pool: network.pool, address: address, purpose: .endpoint(mac))
        guard case .address(let prefix) = try checked(call(index, .requestAddress(request))) else {
            throw World.Failed("no address")
        }
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
                let answer = try checked(
                    call(index, .join(Join(network: network.network, endpoint: endpoint, sandboxKey: sandbox))))
                if case .joined(_, _, let routes) = answer { try addRoutes(index, routes, through: mac, in: sandbox) }
            } catch {
                _ = call(index, .deleteEndpoint(network: network.network, endpoint: endpoint))
                throw error
            }
        } catch {
            _ = call(index, .releaseAddress(network.pool, prefix.address))
            throw error
        }
        return World.Attached(endpoint: endpoint, network: network.network, pool: network.pool, address: prefix.address, mac: mac)
    }

    /// Creates an endpoint and joins it without waiting: each call is made when the answer to the one before comes.
    ///
    /// - Parameter done: Called with the endpoint; with nil if a call was refused, after what was made was taken back.
    public func beginAttach(_ index: Int, _ name: String, to network: World.Created, then done: @escaping (World.Attached?) -> Void)
    {
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
                // A container for each: a thousand interfaces in one would cost what no host ever has to pay.
                let join = Join(
                    network: network.network, endpoint: endpoint, sandboxKey: "/run/docker/netns/" + endpoint.short)
                begin(index, .join(join)) { answer in
                    if case .failed = answer { return takeBack() }
                    done(
                        World.Attached(
                            endpoint: endpoint, network: network.network, pool: network.pool, address: prefix.address, mac: mac))
                }
            }
        }
    }

    /// Creates a network without waiting.
    ///
    /// - Parameter done: Called with the network; with nil if a call was refused.
    public func beginCreateNetwork(_ index: Int, _ name: String, subnet: IPPrefix?, then done: @escaping (World.Created?) -> Void) {
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
                done(World.Created(network: id, pool: pool, prefix: prefix))
            }
        }
    }

    public func detach(_ index: Int, _ attached: World.Attached) {
        _ = call(index, .leave(network: attached.network, endpoint: attached.endpoint))
        removeLink(index, attached.mac)
        _ = call(index, .deleteEndpoint(network: attached.network, endpoint: attached.endpoint))
        _ = call(index, .releaseAddress(attached.pool, attached.address))
        endPair(index, of: attached.endpoint)
    }

    public func removeNetwork(_ index: Int, _ network: World.Created) {
        _ = call(index, .releasePool(network.pool))
        _ = call(index, .deleteNetwork(network.network))
    }

    public func checked(_ response: DriverResponse) throws -> DriverResponse {
        if case .failed(let error) = response { throw error }
        return response
    }
}
