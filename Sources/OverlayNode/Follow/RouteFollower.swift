import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Follow-up of the host's routes and of the engine's other networks: what overlaps the networks of the cluster is refused, avoided,
/// or told. Owns nothing.
enum RouteFollower {
    /// Subnet that an overlay network's overlaps.
    struct Obstacle: Sendable {
        enum Kind: Hashable, Sendable {
            case route(link: String)
            case network(String)
        }

        var prefix: IPPrefix
        var kind: Kind

        var text: String {
            switch kind {
            case .route(let link): "the route \(prefix)" + (link.isEmpty ? "" : " dev \(link)")
            case .network(let name): "the engine's network \(name), \(prefix)"
            }
        }

        var isGateway: Bool { kind == .network(EngineNetwork.gatewayName) }
    }

    // MARK: Events

    /// Reads the routes, and goes on with docker_gwbridge.
    static func look(_ node: inout Node) {
        node.surroundings.read(into: &node.outbox)
        HostFollower.look(&node)
        Self.makeGateway(&node)
    }

    static func routesWereRead(_ node: inout Node, _ id: EffectID, _ routes: [HostSubnet]?, isWhole: Bool) {
        node.surroundings.wereRead(id, routes, isWhole: isWhole, into: &node.outbox)
        node.surroundings.announceSoon(into: &node.outbox)
    }

    /// The engine answers, and tells its networks anew.
    static func connected(_ node: inout Node) {
        node.surroundings.connected()
        EngineNews.callEngine(&node, .otherNetworks)
    }

    /// A network of another driver was made or removed on this engine, and with it a route.
    static func networksChanged(_ node: inout Node) {
        EngineNews.callEngine(&node, .otherNetworks)
        node.surroundings.readSoon(into: &node.outbox)
    }

    /// Handles an answer of the engine that concerns its other networks.
    static func handle(_ node: inout Node, _ id: EffectID, _ answer: EngineAPIAnswer) {
        switch answer {
        case .otherNetworks(let all):
            node.surroundings.setNetworks(all, into: &node.outbox)
            node.surroundings.announceSoon(into: &node.outbox)
            Self.makeGateway(&node)
            // An internal one comes last where names are asked for.
            for path in node.inventory.sandboxes { NameFollower.followSandbox(&node, path) }
        case .addressPools(let pools):
            node.surroundings.setPools(pools)
            Self.makeGateway(&node)
        case .created:
            if node.surroundings.gatewayEnded(id, into: &node.outbox) { Self.networksChanged(&node) }
        case .refused(let reason): _ = node.surroundings.gatewayEnded(id, refusal: reason, into: &node.outbox)
        case .unavailable: _ = node.surroundings.gatewayEnded(id, into: &node.outbox)
        default: break
        }
    }

    /// Tells the cluster of this host's routes.
    static func announce(_ node: inout Node) {
        node.surroundings.announce(at: node.outbox.now)
        CatalogueFollower.proposeOwnChange(&node)
    }

    // MARK: docker_gwbridge

    /// Has the engine make docker_gwbridge in time. Else it makes it for the first container on an overlay network, of its next free
    /// pool, and no container of a network with that subnet ever starts.
    static func makeGateway(_ node: inout Node) {
        guard Self.shouldMakeGateway(node) else { return }
        guard let pools = node.surroundings.pools else {
            EngineNews.callEngine(&node, .addressPools)
            return
        }
        guard let subnet = Self.gatewaySubnet(node, pools) else { return }
        guard let id = EngineNews.callEngine(&node, .createNetwork(.gateway(of: subnet))) else { return }
        node.surroundings.makeGateway(of: subnet, by: id)
    }

    private static func shouldMakeGateway(_ node: Node) -> Bool {
        node.catalogue.cluster != nil && node.mirror.mirrors && node.mirror.isConnected
            && node.surroundings.lacksGateway(at: node.outbox.now)
    }

    /// Subnet for docker_gwbridge: of the engine's pools the last that nothing has. Users take the first ones, and so does the engine.
    private static func gatewaySubnet(_ node: Node, _ pools: [EngineAddressPool]) -> IPPrefix? {
        var taken = node.surroundings.current + Array(node.surroundings.refused)
        taken += node.catalogue.networks.values.filter { !$0.isRemoved }.flatMap { $0.subnets.map(\.prefix) }
        if let pool = node.catalogue.cluster?.addressPool { taken.append(pool) }
        for pool in pools.reversed() where pool.base.family == .v4 {
            if let free = pool.last(avoiding: taken) { return free }
        }
        return nil
    }

    // MARK: New networks

    /// Throws if a subnet of a new network overlaps a route of a host, or a network of its engine.
    static func check(_ node: Node, _ network: Network, _ subnets: [SubnetID], _ settings: NetworkSettings) throws(DriverError) {
        // A network of other hosts comes here as it is.
        guard network.settings == nil, !settings.allowsOverlap else { return }
        for prefix in subnets.compactMap({ node.catalogue.subnet($0)?.prefix }) {
            guard let found = Self.obstacle(node, to: prefix) else { continue }
            throw DriverError(
                .conflict,
                "subnet \(prefix) overlaps \(found); give another --subnet, or -o \(OptionName.allowOverlap)=true if containers "
                    + "need not reach what is there")
        }
    }

    /// First obstacle to a subnet on any host, and which host that is.
    private static func obstacle(_ node: Node, to prefix: IPPrefix) -> String? {
        if let own = Self.obstacles(node, to: prefix).first { return "\(own.text), of node \(node.identity.name)" }
        let pool = node.catalogue.cluster?.addressPool
        for member in node.catalogue.members.values.sorted(by: { $0.name < $1.name }) where member.id != node.identity.id {
            let route = member.routes.first { $0 != pool && Surroundings.counts($0) && $0.overlaps(prefix) }
            if let route { return "the route \(route) of node \(member.name)" }
        }
        return nil
    }

    /// Everything on this host that overlaps a subnet.
    private static func obstacles(_ node: Node, to prefix: IPPrefix) -> [Obstacle] {
        var found: [Obstacle] = []
        for network in node.surroundings.networks ?? [] {
            for subnet in network.subnets.map(\.subnet.network) where subnet.overlaps(prefix) {
                found.append(Obstacle(prefix: subnet, kind: .network(network.name)))
            }
        }
        // A network of the engine mostly is a route, too.
        let known = Set(found.map(\.prefix))
        let pool = node.catalogue.cluster?.addressPool
        for route in node.surroundings.routes
        where route.prefix.overlaps(prefix) && !known.contains(route.prefix) && route.prefix != pool
            && Surroundings.counts(route.prefix)
        {
            found.append(Obstacle(prefix: route.prefix, kind: .route(link: route.link)))
        }
        return found
    }

    // MARK: Reports

    /// Sentences about what overlaps on this host.
    static func problems(_ node: Node) -> [String] { Self.overlaps(node) + Self.gatewayProblems(node) }

    private static func gatewayProblems(_ node: Node) -> [String] {
        guard Self.shouldMakeGateway(node), let pools = node.surroundings.pools, Self.gatewaySubnet(node, pools) == nil else {
            return []
        }
        return [
            "docker_gwbridge is not there, and every subnet of the engine's address pools is in use on this host or in the cluster: "
                + "containers may not start; give the engine another pool (`default-address-pools`)"
        ]
    }

    /// Sentences about networks of this engine that overlap something on this host.
    private static func overlaps(_ node: Node) -> [String] {
        node.inventory.allNetworks.flatMap { local -> [String] in
            guard let network = node.catalogue.networks[local.network], !network.isRemoved else { return [] }
            let allowed = network.settings?.allowsOverlap ?? false
            let isInternal = network.settings?.isInternal ?? false
            return network.subnets.flatMap { subnet in
                Self.obstacles(node, to: subnet.prefix).compactMap { obstacle in
                    let start = "subnet \(subnet.prefix) of network \(network.title) overlaps \(obstacle.text), of this host: "
                    // Containers of an internal network have no interface there.
                    if obstacle.isGateway, !isInternal {
                        return start + "no container of the network starts here; when none uses docker_gwbridge, remove that "
                            + "(`docker network rm docker_gwbridge`), and it comes again with another subnet"
                    }
                    guard !allowed else { return nil }
                    switch obstacle.kind {
                    case .network: return start + "no container here can be on both; remove one of the two"
                    case .route:
                        return start
                            + "containers of the network do not reach what is behind that route; remove the route, or make "
                            + "the network with another --subnet"
                    }
                }
            }
        }
    }
}
