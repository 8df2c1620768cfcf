import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel

/// Command `swift-overlay network disconnect --force`: frees an endpoint, or an address, that the engine does not have any more. Owns
/// nothing.
enum DisconnectCalls {
    /// Meaning of a command.
    private enum Meant {
        case endpoint(LocalEndpoint)
        /// Address that was handed out, and that no endpoint has.
        case lease(Lease)
    }

    /// Asks the engine first, where it answers: what a container has is not taken from it.
    static func disconnect(_ node: inout Node, _ name: String, _ text: String, force: Bool, _ id: RequestID) throws(DriverError)
        -> Step
    {
        try AddressCalls.checkCluster(node)
        guard force else {
            throw DriverError(
                .invalid,
                "a container is disconnected with `docker network disconnect`; what no container has any more is freed with --force"
            )
        }
        let network = try Self.network(node, name)
        let meant = try Self.find(node, text, on: network)
        guard let local = Self.local(node, meant, network), node.mirror.isConnected else {
            return Self.free(&node, meant, except: [])
        }
        guard !node.requests.all.contains(where: { $0.key != id && Self.isWaiting($0.value) }) else {
            throw DriverError(.unavailable, "another command of this kind waits for the engine; try again in a moment")
        }
        // The answer to a question that is on its way may be older than this command: it is asked once more.
        if let effect = EngineNews.callEngine(&node, .network(local)) { node.mirror.wait(id, for: effect) }
        node.requests.wait(id, for: .engine(.control(.done(text))))
        return .wait
    }

    /// A question was asked once more: a command that came meanwhile waits for its answer.
    static func asked(_ node: inout Node, _ call: EngineAPICall, _ effect: EffectID) {
        guard case .network(let asked) = call, let (id, request) = node.requests.all.first(where: { Self.isWaiting($0.value) }),
            case .control(.disconnect(let name, let text, _)) = request.call, let network = try? Self.network(node, name),
            let meant = try? Self.find(node, text, on: network), Self.local(node, meant, network) == asked
        else { return }
        node.mirror.wait(id, for: effect)
    }

    private static func isWaiting(_ request: Requests.Open) -> Bool {
        guard case .control(.disconnect) = request.call, case .engine = request.wait else { return false }
        return true
    }

    /// Goes on when the engine has answered.
    ///
    /// - Parameter answer: nil where it did not.
    static func finish(_ node: inout Node, _ id: RequestID, _ answer: EngineAPIAnswer?) {
        guard case .control(.disconnect(let name, let text, _)) = node.requests[id]?.call else { return }
        let step: Step
        do throws(DriverError) {
            // All may have changed meanwhile.
            let network = try Self.network(node, name)
            let meant = try Self.find(node, text, on: network)
            var held: Set<IPAddress> = []
            if case .network(let shown)? = answer {
                try Self.check(meant, shown)
                held = shown.addresses ?? []
            }
            step = Self.free(&node, meant, except: held)
        } catch {
            return node.fail(id, error)
        }
        guard case .after(let effects, let reply, _) = step else { return }
        if effects.isEmpty { node.finish(id, reply) } else { node.requests.wait(id, for: .effects(effects, reply, undo: nil)) }
    }

    /// Throws if a container of the engine has it.
    private static func check(_ meant: Meant, _ shown: EngineNetwork) throws(DriverError) {
        switch meant {
        case .endpoint(let endpoint):
            guard let name = shown.endpoints[endpoint.id] else { return }
            throw DriverError(
                .conflict,
                "endpoint \(endpoint.id.short) is that of container \(name), which the engine has: "
                    + "`docker network disconnect -f \(shown.name) \(name)` ends it")
        case .lease(let lease):
            guard shown.addresses?.contains(lease.address) == true else { return }
            throw DriverError(
                .conflict, "address \(lease.address) is that of a container, which the engine has; disconnect it with `docker`")
        }
    }

    private static func local(_ node: Node, _ meant: Meant, _ network: Network) -> EngineNetworkID? {
        switch meant {
        case .endpoint(let endpoint): endpoint.engineNetwork
        case .lease: node.inventory.network(of: network.id)?.id
        }
    }

    private static func free(_ node: inout Node, _ meant: Meant, except held: Set<IPAddress>) -> Step {
        switch meant {
        case .endpoint(let endpoint):
            node.outbox.log(.warning, "an endpoint is given up by command", [LogKey.endpoint: endpoint.id.short])
            let addresses = endpoint.addresses.map { "\($0)" }.joined(separator: ", ")
            return .after(
                Leftovers.giveUp(&node, endpoint, except: held),
                .control(.done("endpoint \(endpoint.id.short) is gone, and \(addresses) is free")), undo: nil)
        case .lease(let lease):
            node.outbox.log(.warning, "an address is freed by command", [LogKey.address: "\(lease.address)"])
            return .after(Leftovers.free(&node, lease), .control(.done("\(lease.address) is free")), undo: nil)
        }
    }

    // MARK: What is meant

    private static func network(_ node: Node, _ name: String) throws(DriverError) -> Network {
        if let named = node.catalogue.network(named: name), !name.isEmpty { return named }
        let found = node.catalogue.networks.values.filter { network in
            guard !name.isEmpty else { return false }
            return network.id.description.hasPrefix(name)
                || node.inventory.allNetworks.contains { local in
                    local.network == network.id && (local.name == name || local.id.text.hasPrefix(name))
                }
        }
        guard let network = found.first, found.count == 1 else {
            throw DriverError(.notFound, found.isEmpty ? "no such network: \(name)" : "\(name) names \(found.count) networks")
        }
        return network
    }

    private static func find(_ node: Node, _ text: String, on network: Network) throws(DriverError) -> Meant {
        let endpoints = node.inventory.endpoints(on: network.id)
        let address = IPAddress(text)
        if let exact = endpoints.first(where: { $0.id.text == text }) { return .endpoint(exact) }
        let lower = text.lowercased()
        var found = endpoints.filter { endpoint in
            address.map { endpoint.addresses.contains($0) } ?? endpoint.names.names.contains { $0.lowercased() == lower }
        }
        // The beginning of an id may be the name of a container.
        if found.isEmpty, address == nil, !text.isEmpty { found = endpoints.filter { $0.id.text.hasPrefix(text) } }
        if let endpoint = found.first, found.count == 1 { return .endpoint(endpoint) }
        guard found.isEmpty else {
            let ids = found.map { "\($0.id.short) (\($0.addresses.map { "\($0)" }.joined(separator: ", ")))" }
            throw DriverError(.conflict, "\(text) names \(found.count) endpoints: \(ids.joined(separator: ", "))")
        }
        if let address, let lease = network.subnets.lazy.compactMap({ node.addresses[$0.id]?.lease(at: address) }).first {
            return .lease(lease)
        }
        throw DriverError(
            .notFound,
            "no endpoint of this host on network \(network.title) has the id, name or address \(text); `swift-overlay network inspect "
                + "\(network.title)` lists them with their hosts")
    }
}
