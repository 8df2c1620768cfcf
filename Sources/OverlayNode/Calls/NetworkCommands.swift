import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Commands `swift-overlay network create` and `rm`: they call this host's engine, and check what only the cluster knows. Owns
/// nothing.
enum NetworkCommands {
    /// Creates a network on this host's engine; one that other hosts have comes here as it is.
    static func createByCommand(_ node: inout Node, _ wanted: EngineNetwork, _ id: RequestID) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        guard (1...Limits.networkNameBytes).contains(wanted.name.utf8.count) else {
            throw DriverError(.invalid, "a network name has 1 to \(Limits.networkNameBytes) bytes")
        }
        try Self.checkLink(node)
        var request = wanted
        let own = Self.opened(node, for: wanted)
        if let network = node.catalogue.network(named: wanted.name), network.id != own?.id {
            guard node.inventory.network(of: network.id) == nil else {
                throw DriverError(.conflict, "network \(network.title) is on this host already")
            }
            // A network of other hosts comes here with its own options.
            guard wanted == EngineNetwork(name: wanted.name) else {
                throw DriverError(
                    .conflict,
                    "the cluster has network \(network.title); `swift-overlay network create \(wanted.name)`, without options, "
                        + "brings it to this host")
            }
            Mirroring.wantNetwork(&node, network)
            guard let known = Mirroring.mirrorRequest(node, of: network) else {
                throw DriverError(
                    .unavailable, "network \(network.title) is not described yet by the engine that has it; try again")
            }
            request = known
            guard let effect = EngineNews.callEngine(&node, .createNetwork(request)) else { throw Self.busy }
            node.mirror.make(network.id, by: effect)
            node.mirror.wait(id, for: effect)
            return .wait
        }
        // Another host that makes a network of this name at the same time finds the same one by it.
        request.ipamOptions[OptionName.net] = Self.net(wanted)
        // Engines take `--ip` only on networks whose subnet they were given, as the engines of other hosts will be.
        if wanted.subnets.isEmpty {
            for family in wanted.isIPv6 ? [IPAddress.Family.v4, .v6] : [.v4] {
                guard let subnet = own?.subnets.first(where: { $0.prefix.family == family }) else {
                    return .propose(.openSubnet(OpenSubnet(networkName: Self.net(wanted), family: family, prefix: nil, range: nil)))
                }
                request.subnets.append(EngineNetwork.Subnet(subnet: subnet.prefix))
            }
        }
        guard let effect = EngineNews.callEngine(&node, .createNetwork(request)) else { throw Self.busy }
        node.mirror.wait(id, for: effect)
        return .wait
    }

    private static func net(_ wanted: EngineNetwork) -> String { wanted.ipamOptions[OptionName.net] ?? wanted.name }

    /// Network whose subnets a create by command has opened, and that no engine has yet.
    private static func opened(_ node: Node, for wanted: EngineNetwork) -> Network? {
        guard let network = node.catalogue.network(named: Self.net(wanted)), network.settings == nil, !network.isRemoved,
            network.users == [node.identity.id], !network.subnets.contains(where: { node.inventory.isBound($0.id) })
        else { return nil }
        return network
    }

    /// Removes a network from this host's engine.
    static func removeByCommand(_ node: inout Node, _ name: String, _ id: RequestID) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        guard !name.isEmpty else { throw DriverError(.invalid, "a network has a name, or the beginning of an id") }
        let named = node.catalogue.network(named: name)
        let found = named.map { [$0] } ?? node.catalogue.networks.values.filter { $0.id.description.hasPrefix(name) }
        guard let network = found.first, found.count == 1 else {
            throw DriverError(.notFound, found.isEmpty ? "no such network: \(name)" : "\(name) names \(found.count) networks")
        }
        if let local = node.inventory.network(of: network.id) {
            try Self.checkLink(node)
            // Asked before the network goes, as this node hears nothing of it afterwards.
            let elsewhere = Mirroring.possibleUsers(node, of: network).map { node.name(of: $0) }.sorted()
            guard let effect = EngineNews.callEngine(&node, .removeNetwork(local.id)) else { throw Self.busy }
            node.mirror.wait(id, for: effect)
            let done =
                elsewhere.isEmpty
                ? name : "\(name): gone from this host's engine; it lives on, on \(elsewhere.joined(separator: ", "))"
            node.requests.wait(id, for: .engine(.control(.done(done))))
            return .wait
        }
        guard !network.isRemoved else { return .reply(.control(.done(name))) }
        // Only nodes that use the network know whether containers are on it.
        let users = network.users.map { node.name(of: $0) }.sorted().joined(separator: ", ")
        throw DriverError(.conflict, "network \(network.title) is not on this host; remove it on \(users)")
    }

    /// Throws while the engine's API is away.
    private static func checkLink(_ node: Node) throws(DriverError) {
        switch node.mirror.state {
        case .connected: return
        case .none:
            throw DriverError(.unavailable, "this daemon has no link to an engine (--engine none); use `docker network` instead")
        case .away(let reason, _): throw DriverError(.unavailable, "the engine's API is away: \(reason)")
        }
    }

    private static let busy = DriverError(.unavailable, "the engine is busy with the same request; try again in a moment")

    /// Answers a command with what the engine answered.
    static func finishCommand(_ node: inout Node, _ request: RequestID, _ answer: EngineAPIAnswer) {
        if case .control(.disconnect) = node.requests[request]?.call { return DisconnectCalls.finish(&node, request, answer) }
        if case .control(.createNetwork(let wanted)) = node.requests[request]?.call, wanted.subnets.isEmpty {
            let isMade = if case .created = answer { true } else { false }
            if !isMade, let network = Self.opened(node, for: wanted) {
                _ = CatalogueFollower.close(&node, network.subnets.map(\.id))
            }
        }
        switch answer {
        case .created(let id): node.finish(request, .control(.done(id.text)))
        case .removed:
            guard case .engine(let reply) = node.requests[request]?.wait else { return }
            node.finish(request, reply)
        case .notFound: node.fail(request, DriverError(.notFound, "the engine knows no such network"))
        case .refused(let reason): node.fail(request, DriverError(.conflict, "the engine says: \(reason)"))
        case .unavailable(let reason): node.fail(request, DriverError(.unavailable, "the engine does not answer: \(reason)"))
        case .networks, .otherNetworks, .addressPools, .containers, .endpoints, .network, .container, .configured, .interfaces,
            .connected,
            .lastStart, .started:
            node.fail(request, DriverError(.system, "the engine's answer was of another kind"))
        }
    }
}
