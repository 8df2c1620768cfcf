import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Adoption of a network of another host by one of this engine: both were made at one moment, under one name and with subnets of the
/// cluster's choice. The engine's network stays, as whoever made it goes on with its id, and stands for the cluster's network: containers
/// get addresses of that one's subnets, whatever pool the engine asks. Engines take any address that an IPAM driver gives. When nothing
/// uses it any more, it is made anew with the right subnets. Owns nothing.
enum Adoptions {
    /// Time for which an engine's network stays that stands for another one and that nothing is on.
    static let idleTime = Interval.seconds(30)

    /// Makes an address wait until it is clear which network its pool stands for.
    ///
    /// - Returns: The step by which the call waits; nil where it need not.
    static func wait(_ node: inout Node, for pool: SubnetID, _ id: RequestID) throws(DriverError) -> Step? {
        guard let local = node.inventory.network(with: pool), local.isAutomatic, local.admission == .undecided,
            let network = node.catalogue.networks[local.network]
        else { return nil }
        return try Admissions.check(&node, local, network, id)
    }

    /// Begins to adopt a network, or goes on with it.
    ///
    /// - Returns: False where that cannot be.
    static func begin(_ node: inout Node, _ local: LocalNetwork, of other: Network) -> Bool {
        guard local.isAutomatic, local.admission == .undecided, !node.inventory.hasEndpoints(of: local.id),
            node.inventory.networks(of: other.id).allSatisfy({ node.mirror.isMadeHere($0.id) }),
            let aliases = Self.aliases(node, local, other)
        else { return false }
        guard !Self.isProposed(node, local.id), !node.isWriterAway, !node.isRolledBack else { return true }
        guard !other.subnets.contains(where: { node.closings.contains($0.id) }) else {
            if node.outbox.timers[.close] == nil { CatalogueFollower.proposeClosing(&node) }
            return true
        }
        let missing = other.subnets.filter { !$0.users.contains(node.identity.id) }
        guard missing.isEmpty else {
            for subnet in missing {
                let open = OpenSubnet(
                    networkName: nil, family: subnet.prefix.family, prefix: subnet.prefix, range: subnet.range, only: other.id)
                node.propose(.openSubnet(open), for: .adoption(local.id), deadline: node.now + Proposals.budget)
            }
            return true
        }
        Self.adopt(&node, local, other, aliases)
        return true
    }

    /// Subnets that the pools of a network stand for; nil where there is none of a family.
    private static func aliases(_ node: Node, _ local: LocalNetwork, _ other: Network) -> [PoolAlias]? {
        var aliases: [PoolAlias] = []
        for pool in local.subnets {
            guard let family = node.catalogue.subnet(pool)?.prefix.family,
                let subnet = other.subnets.first(where: { $0.prefix.family == family })
            else { return nil }
            aliases.append(PoolAlias(pool: pool, subnet: subnet.id))
        }
        return aliases
    }

    private static func isProposed(_ node: Node, _ id: EngineNetworkID) -> Bool {
        node.proposals.contains { if case .adoption(id) = $0 { true } else { false } }
    }

    /// True if a network of this engine with the name is about to adopt another one.
    static func isUnderWay(_ node: Node, named name: String) -> Bool {
        node.inventory.allNetworks.contains { $0.name == name && $0.isAutomatic && $0.admission == .undecided }
    }

    private static func adopt(_ node: inout Node, _ local: LocalNetwork, _ other: Network, _ aliases: [PoolAlias]) {
        var next = local
        next.network = other.id
        next.subnets = other.subnets.map(\.id)
        next.aliases = aliases
        next.isAutomatic = false
        next.admission = .open
        node.outbox.log(
            .info, "a network of this engine stands for the one of its name that another host made at the same moment",
            [LogKey.network: local.name ?? local.id.short])
        Mirroring.wantNetwork(&node, other)
        let row = node.inventory.put(next)
        _ = CatalogueFollower.close(
            &node, local.subnets.filter { !node.inventory.isBound($0) }, with: [row], for: [.network(local.id)])
        for subnet in next.subnets { AddressExchange.prefetchBlock(&node, of: subnet) }
        node.mirror.keep(local.id, for: Self.idleTime, into: &node.outbox)
        Admissions.wake(&node, local.id)
        Mirroring.mirrorSoon(&node)
    }

    /// Handles the outcome of a proposal to use a subnet of the network that is to be adopted.
    static func settled(_ node: inout Node, _ id: EngineNetworkID, _ outcome: CatalogueNode.Outcome) {
        guard case .decided(.opened(let subnet)) = outcome else {
            node.outbox.timers.set(.mirror, noLaterThan: node.now + Mirror.retryPause)
            return
        }
        // The engine's network may have been removed meanwhile.
        if node.inventory.network(id)?.isAutomatic != true, !node.inventory.isBound(subnet) {
            _ = CatalogueFollower.close(&node, [subnet])
        }
        Mirroring.mirrorSoon(&node)
    }

    // MARK: The end

    /// Removes a network of the engine that has to go: one that this node made beside a user's, or one that stands for another and that
    /// nothing uses any more.
    static func leaveOne(_ node: inout Node, _ local: LocalNetwork, _ network: Network) {
        guard !node.inventory.hasEndpoints(of: local.id), !node.mirror.isKept(local.id, at: node.now) else { return }
        let others = node.inventory.networks(of: network.id).filter { $0.id != local.id && $0.name == local.name }
        if !others.isEmpty, node.mirror.isMadeHere(local.id), !others.contains(where: { node.mirror.isMadeHere($0.id) }) {
            EngineNews.callEngine(&node, .removeNetwork(local.id))
        } else if !local.aliases.isEmpty {
            node.mirror.askIdle(local.id)
            node.mirror.keep(local.id, for: Self.idleTime, into: &node.outbox)
            EngineNews.callEngine(&node, .configured)
        }
    }

    /// Removes what stands for another network, and that no container uses or names. It is made anew as the cluster has it.
    static func replaceIdle(_ node: inout Node, _ all: [ConfiguredContainer]) {
        for id in node.mirror.takeMaybeIdle().sorted() {
            guard let local = node.inventory.network(id), !local.aliases.isEmpty, !node.inventory.hasEndpoints(of: id),
                !NetworkRemovals.isNamed(local.name, id, by: all)
            else { continue }
            EngineNews.callEngine(&node, .removeNetwork(id))
        }
    }
}
