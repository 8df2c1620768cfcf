import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Removals of networks that nobody is on. One that a user removed goes from all engines; one that was pruned, or that containers of
/// other hosts have in their configuration, goes from this engine alone, until a container of it needs the network. Owns nothing.
enum NetworkRemovals {
    /// Time from the last removal of any network until a removal counts as a user's. Engines tell of a prune after its last removal.
    static let window = Interval.seconds(2)
    /// Time that other hosts have to say whether they need a network.
    static let answerTime = Interval.seconds(3)
    /// Pause until the question is asked again.
    private static let pause = Interval.milliseconds(300)

    // MARK: Removals of this engine

    /// Holds back the end of a network that this engine removed, until it is clear what it means for the others.
    static func begin(_ node: inout Node, _ local: LocalNetwork, _ subnets: [SubnetID]) {
        guard let network = node.catalogue.networks[local.network] else { return }
        let handedOver = Set(node.proposals.handovers.map(\.subnet))
        let isWhole = subnets.allSatisfy { node.handovers.ranges(of: $0).isEmpty && !handedOver.contains($0) }
        let others = network.users.subtracting([node.identity.id])
        node.closings.hold(
            network.id,
            Closings.Hold(
                subnets: subnets, until: node.mirror.isCommanded(local.id) ? nil : node.now + Self.window, others: others,
                answersUntil: node.now + Self.answerTime, isWhole: isWhole))
        Self.prolong(&node)
        Self.ask(&node, network.id, others)
    }

    /// Another network was removed: this may be a prune that goes on.
    static func prolong(_ node: inout Node) {
        for (id, var hold) in node.closings.holds where hold.until != nil {
            hold.until = node.now + Self.window
            node.closings.hold(id, hold)
        }
        Self.schedule(&node)
    }

    /// The engine told of a prune. What it removed goes from this engine alone, and not even from that where its containers need it.
    static func pruned(_ node: inout Node) {
        for (id, var hold) in node.closings.holds where hold.until != nil {
            hold.isPruned = true
            node.closings.hold(id, hold)
        }
        if EngineNews.callEngine(&node, .configured) == nil, !node.mirror.isAsking(.configured) { Self.learn(&node, nil) }
        let next = node.mirror.restarts.begin(at: node.now)
        node.outbox.timers.set(.restarts, noLaterThan: next)
    }

    /// Counts a removal as a user's at once, as a network in its place is being made.
    static func hurry(_ node: inout Node, _ subnet: SubnetID) {
        if let network = node.catalogue.networkOfSubnet[subnet] { Self.hurry(&node, network) }
    }

    static func hurry(_ node: inout Node, _ network: NetworkID) {
        guard var hold = node.closings.holds[network], !hold.isPruned else { return }
        hold.until = nil
        node.closings.hold(network, hold)
        Self.conclude(&node, network)
    }

    /// Ends the hold: the network goes from this engine alone.
    static func end(_ node: inout Node, _ network: NetworkID) {
        guard node.closings.holds[network] != nil else { return }
        node.closings.hold(network, nil)
        CatalogueFollower.proposeClosing(&node)
    }

    /// Ends the hold if all is known.
    static func conclude(_ node: inout Node, _ id: NetworkID) {
        guard var hold = node.closings.holds[id], hold.until == nil, hold.asked.isEmpty else { return }
        guard let network = node.catalogue.networks[id], !network.isRemoved else { return Self.end(&node, id) }
        // Hosts that came onto it meanwhile: their own networks stand for it now, or they only mirrored it.
        let newcomers = network.users.subtracting(hold.others).subtracting([node.identity.id])
        guard newcomers.isEmpty else {
            hold.others.formUnion(newcomers)
            hold.asked = newcomers
            hold.answersUntil = node.now + Self.answerTime
            node.closings.hold(id, hold)
            Self.ask(&node, id, newcomers)
            return Self.schedule(&node)
        }
        guard hold.needing.isEmpty, Mirroring.isEmpty(node, network) else {
            let hosts = hold.needing.union(Mirroring.possibleUsers(node, of: network)).map { node.name(of: $0) }.sorted()
            node.outbox.log(
                .info, "a network is removed from this engine alone, as containers of other hosts have it, or may",
                [LogKey.network: network.title, LogKey.hosts: hosts.joined(separator: " ")])
            return Self.end(&node, id)
        }
        node.closings.hold(id, nil)
        // Proposed when it is durable that a user removed it.
        node.closings.wait(for: node.outbox.store(hold.subnets.map { node.closings.begin($0, isRemoval: true) }))
    }

    /// Goes on with removals whose time has come.
    static func advance(_ node: inout Node) {
        for (id, var hold) in node.closings.holds.sorted(by: { $0.key < $1.key }) {
            if let until = hold.until, until <= node.now, !hold.isPruned {
                // A prune is not told while the engine is away.
                guard node.mirror.isConnected else {
                    Self.end(&node, id)
                    continue
                }
                hold.until = nil
            }
            if hold.answersUntil <= node.now {
                hold.needing.formUnion(hold.asked)
                hold.asked = []
            }
            node.closings.hold(id, hold)
            Self.ask(&node, id, hold.asked)
            Self.conclude(&node, id)
        }
        Self.schedule(&node)
    }

    private static func schedule(_ node: inout Node) {
        for hold in node.closings.holds.values {
            if let until = hold.until { node.outbox.timers.set(.removal, noLaterThan: max(until, node.now + Self.pause)) }
            if !hold.asked.isEmpty { node.outbox.timers.set(.removal, noLaterThan: node.now + Self.pause) }
        }
    }

    // MARK: Questions between hosts

    private static func ask(_ node: inout Node, _ network: NetworkID, _ peers: Set<NodeID>) {
        for peer in peers.sorted() { AddressExchange.send(&node, .isNeeded(network), to: peer) }
    }

    /// Answers whether containers of this engine have a network in their configuration.
    static func answer(_ node: inout Node, about id: NetworkID, to peer: NodeID) {
        guard node.catalogue.networks[id]?.users.contains(peer) == true else { return }
        let isHere = node.inventory.network(of: id) != nil
        guard isHere || node.inventory.declined.contains(id) else {
            return AddressExchange.send(&node, .needed(id, false), to: peer)
        }
        // One that just came to stand for the network, or may: its user has not started a container yet.
        let isFresh = node.inventory.networks(of: id).contains {
            $0.admission == .undecided && !node.mirror.isMaking(id) && !node.mirror.isMadeHere($0.id)
                || !$0.aliases.isEmpty && node.mirror.isKept($0.id, at: node.now)
        }
        guard !isFresh, !node.inventory.hasEndpoints(on: id), node.mirror.isConnected else {
            return AddressExchange.send(&node, .needed(id, true), to: peer)
        }
        node.mirror.ask(about: id, for: peer)
        EngineNews.callEngine(&node, .configured)
    }

    /// Handles the answer of another host.
    static func answered(_ node: inout Node, about id: NetworkID, by peer: NodeID, isNeeded: Bool) {
        guard var hold = node.closings.holds[id], hold.asked.remove(peer) != nil else { return }
        if isNeeded { hold.needing.insert(peer) }
        node.closings.hold(id, hold)
        Self.conclude(&node, id)
    }

    // MARK: Configurations of this engine's containers

    /// Learns which networks the containers of this engine have in their configuration.
    ///
    /// - Parameter all: All containers; nil where the engine does not say.
    static func learn(_ node: inout Node, _ all: [ConfiguredContainer]?) {
        for (id, peers) in node.mirror.takeAskers() {
            let local = node.inventory.network(of: id)
            let isNeeded =
                all.map { all in
                    local.map { Self.isNamed($0.name, $0.id, by: all) } ?? Self.isNeeded(node, id, by: all)
                } ?? true
            for peer in peers.sorted() { AddressExchange.send(&node, .needed(id, isNeeded), to: peer) }
        }
        let references = all ?? []
        for (id, hold) in node.closings.holds.sorted(by: { $0.key < $1.key }) where hold.isPruned {
            if hold.isWhole, Self.isNeeded(node, id, by: references) { Self.takeBack(&node, id, hold) } else { Self.end(&node, id) }
        }
        for id in node.inventory.declined.sorted() where node.closings.holds[id] == nil {
            guard let network = node.catalogue.networks[id], Self.isNeeded(node, id, by: references) else { continue }
            node.outbox.log(
                .info, "a container of this engine needs a network that was removed from it", [LogKey.network: network.title])
            // Known again after a restart of this node, too.
            if let former = node.inventory.declinedIDs[id] { node.mirror.setFormer(former) }
            Mirroring.wantNetwork(&node, network)
            Mirroring.mirrorSoon(&node)
        }
        Self.findOutdated(&node, references)
        if let all { Adoptions.replaceIdle(&node, all) }
        if !node.mirror.restarts.isOver { Self.inspectEnded(&node, references) }
    }

    /// True if a container needs a network that is not on this engine any more.
    private static func isNeeded(_ node: Node, _ id: NetworkID, by all: [ConfiguredContainer]) -> Bool {
        guard let name = node.catalogue.networks[id]?.description?.name,
            !node.mirror.networks.values.contains(where: { $0.name == name })
        else { return false }
        return all.contains { container in
            container.references.contains {
                $0.name == name && ($0.network == nil || $0.network == node.inventory.declinedIDs[id])
            }
        }
    }

    /// True if a container has a network of the engine in its configuration.
    static func isNamed(_ name: String?, _ id: EngineNetworkID, by all: [ConfiguredContainer]) -> Bool {
        all.contains { $0.references.contains { $0.network == id || $0.name == name } }
    }

    /// Takes a pruned network back, whose subnets were not given up yet: it is made again at once.
    private static func takeBack(_ node: inout Node, _ id: NetworkID, _ hold: Closings.Hold) {
        node.closings.hold(id, nil)
        node.outbox.store(hold.subnets.map { node.closings.end($0) } + [node.inventory.want(id)].compactMap { $0 })
        CatalogueFollower.followSubnets(&node)
        for subnet in hold.subnets { for request in node.requests.waitForClosing(of: subnet) { node.perform(request) } }
        Mirroring.mirrorSoon(&node)
    }

    /// Finds containers that name a network by the id that it had before it was made anew. Their engine would not find it.
    private static func findOutdated(_ node: inout Node, _ all: [ConfiguredContainer]) {
        let present = node.mirror.networks.filter { id, _ in
            node.inventory.network(id).map { $0.admission == .open || $0.admission == .undecided } ?? false
        }
        let ids = Dictionary(present.map { ($0.value.name, $0.key) }, uniquingKeysWith: min)
        for container in all {
            var isOutdated = false
            for reference in container.references {
                guard let known = reference.network, let id = ids[reference.name], node.mirror.isFormer(known) else { continue }
                node.mirror.setOutdated(container.id, reference.name, now: id)
                isOutdated = true
            }
            if isOutdated { EngineNews.callEngine(&node, .interfaces(container.id)) }
        }
    }

    /// Gives a container's configuration the present id of its networks, with everything else as it was.
    static func reconnect(_ node: inout Node, _ container: ContainerID, _ interfaces: [String: EngineInterface]) {
        for (name, id) in node.mirror.takeOutdated(container).sorted(by: { $0.key < $1.key }) {
            guard let interface = interfaces[name], node.inventory.network(id) != nil else { continue }
            node.outbox.log(
                .info, "the configuration of a container follows its network, which was made anew", [LogKey.network: name])
            EngineNews.callEngine(&node, .connect(id, container, interface))
        }
    }

    // MARK: Containers that were given up

    /// Looks for containers that were given up, until nothing more of the last prune can show.
    static func lookForEnded(_ node: inout Node) {
        guard let next = node.mirror.restarts.look(at: node.now) else { return }
        node.outbox.timers.set(.restarts, at: next)
        EngineNews.callEngine(&node, .configured)
    }

    /// Asks how containers of our networks ended.
    private static func inspectEnded(_ node: inout Node, _ all: [ConfiguredContainer]) {
        let names = Set(node.inventory.allNetworks.compactMap(\.name))
        let ended = all.filter { $0.hasEnded && $0.references.contains { names.contains($0.name) } }.map(\.id)
        for id in node.mirror.restarts.candidates(ended) { EngineNews.callEngine(&node, .lastStart(id)) }
    }

    /// Starts a container that its restart policy wants to run, and that the engine gave up as its network, or docker_gwbridge, was
    /// away: an attempt came between the prune and its return. One that its user stopped has no such error.
    static func startAgain(_ node: inout Node, _ container: ContainerID, _ start: ContainerStart) {
        guard start.hasEnded else { return }
        guard start.isRestarted, Self.wasGivenUp(node, start.error) else {
            return node.mirror.restarts.endedOtherwise(container)
        }
        node.outbox.log(
            .info, "a container is started that ended as its network was away", [LogKey.container: container.short])
        EngineNews.callEngine(&node, .start(container))
    }

    /// True if an error of a start is about a network that was pruned.
    private static func wasGivenUp(_ node: Node, _ error: String) -> Bool {
        // In the engine's errors about its own bridge (libnetwork's `createGWNetwork` and `setupDefaultGW`).
        if [EngineNetwork.gatewayName, "GW Network"].contains(where: error.contains) { return true }
        guard error.hasSuffix("not found") else { return false }
        let names = Set(node.inventory.allNetworks.compactMap(\.name))
        return error.split(separator: " ").contains { word in
            EngineNetworkID(String(word)).map { node.mirror.isFormer($0) } ?? names.contains(String(word))
        }
    }
}
