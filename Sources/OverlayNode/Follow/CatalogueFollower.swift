import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// How the node follows the catalogue.
enum CatalogueFollower {
    // MARK: Following

    static func followEntry(_ node: inout Node, _ entry: Entry, _ result: CommandResult) {
        if case .refused = result { return }
        let isOwn = entry.proposer == node.identity.id
        switch entry.command {
        case .initialise: node.outbox.timers[.follow] = node.now
        case .remove:
            if node.rules.contains(.fencing) { node.outbox.timers[.follow] = node.now }
            // Who is gone knows the present key.
            if node.isWriter { node.outbox.timers[.rotateKey] = node.now }
            RemovalCalls.followQuarantines(&node)
        case .endQuarantine:
            RemovalCalls.followQuarantines(&node)
            AddressExchange.wakeAllAddressWaits(&node)
        case .rotateKey:
            node.outbox.timers[.follow] = node.now
            if node.isWriter { node.outbox.timers[.rotateKey] = node.now + WriterDuties.rotationPeriod }
        case .admit:
            node.following.followSoon(members: node.catalogue.members.count, into: &node.outbox)
        case .openSubnet:
            guard case .opened(let subnet) = result else { return }
            if isOwn || CatalogueFollower.concerns(node, subnet) { CatalogueFollower.followSubnets(&node) }
        case .configure(let network, let adopted, _):
            if isOwn || node.following.networks.contains(network) || adopted.contains(where: { CatalogueFollower.concerns(node, $0) }) { CatalogueFollower.followSubnets(&node) }
            Mirroring.mirrorSoon(&node)
        case .closeSubnet(let subnet, let removing):
            if isOwn || CatalogueFollower.concerns(node, subnet) { CatalogueFollower.followSubnets(&node) }
            if removing { Mirroring.mirrorSoon(&node) }
            AddressExchange.wakeAddressWaits(&node, subnet)
        case .describe(let network, _):
            NameFollower.rename(&node, network)
            Mirroring.mirrorSoon(&node)
        case .setJoinSecret: break
        case .promote: PromotionCalls.logTerm(&node, since: entry.index)
        case .setGateway(let subnet, _), .reserve(let subnet, _), .claimBlock(let subnet, _), .claimAddress(let subnet, _):
            CatalogueFollower.followSubnet(&node, subnet)
        case .giveBack(let subnet, _), .move(let subnet, _, _, _):
            CatalogueFollower.followSubnet(&node, subnet)
            AddressExchange.wakeAddressWaits(&node, subnet)
        }
    }

    /// Does this host use the subnet, or its network? Of others' networks there may be thousands.
    private static func concerns(_ node: Node, _ subnet: SubnetID) -> Bool {
        node.addresses[subnet] != nil || node.catalogue.networkOfSubnet[subnet].map { node.following.networks.contains($0) } ?? false
    }

    /// Members and everything else may be others than before.
    static func followAll(_ node: inout Node) {
        node.outbox.timers[.follow] = nil
        node.following.followed(at: node.now)
        if node.catalogue.cluster != nil, node.catalogue.members[node.identity.id] == nil, node.rules.contains(.fencing) {
            node.outbox.log(.warning, "this node was removed from the cluster; its overlay links go down, and it must join again", [:])
            return ClusterCalls.forgetCluster(&node)
        }
        CatalogueFollower.followTerm(&node)
        CatalogueFollower.tellPeers(&node)
        // A member's tunnel may end elsewhere now.
        KernelFollower.repairSoon(&node)
        node.peers.keepOnly { [members = node.catalogue.members] in members[$0] != nil }
        CatalogueFollower.followSubnets(&node)
        Mirroring.mirrorSoon(&node)
        AddressExchange.wakeAllAddressWaits(&node)
    }

    static func tellPeers(_ node: inout Node) {
        let others = node.catalogue.members.values.filter { $0.id != node.identity.id }.sorted { $0.id < $1.id }
        node.replication.setKeys(node.catalogue.members.mapValues(\.publicKey))
        node.outbox.append(.peers(others, keys: node.catalogue.cluster?.gossipKeys ?? []))
    }

    /// Brings pools and subscriptions in line with the catalogue. Before the first observation nothing is told to others: an empty log
    /// would make them drop the rows of containers that run.
    static func followSubnets(_ node: inout Node) {
        guard node.isReady else { return }
        var used: Set<NetworkID> = []
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            for subnet in network.subnets where subnet.users.contains(node.identity.id) {
                used.insert(network.id)
                CatalogueFollower.followSubnet(&node, subnet.id)
            }
        }
        node.addresses.keepOnly { [catalogue = node.catalogue, identity = node.identity] in catalogue.subnet($0)?.users.contains(identity.id) == true }
        for id in node.following.networks.subtracting(used).sorted() { node.withReplication { $0.unsubscribe(id, into: &$1) } }
        for id in used.sorted() {
            let users = node.catalogue.networks[id]?.users ?? []
            node.withReplication { [now = node.now] in $0.subscribe(id, to: users, now: now, into: &$1) }
        }
        node.following.subscribe(to: used)
        NameFollower.followNames(&node)
        // Who left a network has nothing more to tell of it: what was kept of theirs meanwhile may go.
        let unknown = node.unknownVTEPs
        if node.forwarding.sparesTooMuch(unknown) { KernelFollower.repairSoon(&node) }
    }

    private static func followSubnet(_ node: inout Node, _ id: SubnetID) {
        guard let subnet = node.catalogue.subnet(id) else { return }
        CatalogueFollower.followSubnet(&node, subnet)
    }

    private static func followSubnet(_ node: inout Node, _ subnet: Subnet) {
        let id = subnet.id
        guard node.isReady, subnet.users.contains(node.identity.id) else { return }
        // Until the catalogue knows that the pool was given up, its addresses are not handed out.
        let blocks = node.closings.contains(id) ? [] : subnet.blocks(of: node.identity.id)
        node.addresses.follow(subnet, blocks: blocks, handovers: node.handovers.ranges(of: id), now: node.outbox.now)
    }

    // MARK: Gossip keys

    /// Follows who writes the catalogue.
    static func followTerm(_ node: inout Node) {
        node.writerDuties.follow(isWriter: node.isWriter, departed: node.catalogue.departed.keys, into: &node.outbox)
    }

    static func askForKey(_ node: inout Node) { node.writerDuties.beginRotation(isWriter: node.isWriter, into: &node.outbox) }

    static func rotate(_ node: inout Node, to key: [UInt8]) {
        guard node.isWriter, !node.proposals.contains(where: { if case .rotation = $0 { true } else { false } }) else { return }
        node.propose(.rotateKey(key), for: .rotation, deadline: node.now + Proposals.budget)
    }

    /// Without rule R7: what is claimed is handed out before it is given.
    ///
    /// - Returns: The subnet, where the claim is one of addresses and would be granted now.
    static func anticipate(_ node: inout Node, _ command: Command) -> SubnetID? {
        let id: SubnetID
        switch command {
        case .claimBlock(let subnet, _), .claimAddress(let subnet, _): id = subnet
        default: return nil
        }
        var ahead = node.catalogue
        let entry = Entry(
            index: ahead.index + 1, termNumber: ahead.cluster?.termNumber ?? 0, proposer: node.identity.id, epoch: node.life.epoch,
            sequence: .max, command: command)
        guard case .accepted = ahead.apply(entry), let subnet = ahead.subnet(id) else { return nil }
        CatalogueFollower.followSubnet(&node, subnet)
        return id
    }

    // MARK: Giving up

    /// Gives subnets up: durably here, then in the catalogue, however long that takes.
    ///
    /// - Parameters:
    ///   - isRemoval: Of a network that nobody is on, by a user.
    ///   - with: What is to be durable at the same time.
    /// - Returns: When it is durable.
    static func close(_ node: inout Node, 
        _ subnets: [SubnetID], isRemoval: Bool = false, with others: [StoreWrite] = [], for objects: [ObjectKey] = []
    ) -> Set<EffectID> {
        var writes = others
        for id in subnets where node.catalogue.subnet(id)?.users.contains(node.identity.id) == true && !node.closings.contains(id) {
            let dropped = node.addresses.drop(id)
            writes += dropped.leases + node.handovers.end(of: id) + dropped.quarantine
            writes.append(node.closings.begin(id, isRemoval: isRemoval))
        }
        guard !writes.isEmpty else { return [] }
        let stored = node.outbox.store(writes, for: objects)
        // Proposed when it is durable: were it forgotten, addresses that others own by then would be handed out.
        if node.rules.contains(.durableHandovers) { node.closings.wait(for: stored) } else { CatalogueFollower.proposeClosing(&node) }
        return [stored]
    }

    /// A host that was given another address or name tells the cluster.
    static func proposeOwnChange(_ node: inout Node) {
        guard !node.isStateOld, let known = node.catalogue.members[node.identity.id], known != node.member, !node.isWriterAway,
            !node.proposals.contains(where: { if case .own = $0 { true } else { false } })
        else { return }
        node.propose(.admit(node.member), for: .own, deadline: node.now + Proposals.budget)
    }

    /// Pools that no network came for: the engine died in between, or had lost patience.
    static func closeOrphans(_ node: inout Node) {
        let mine = node.catalogue.networks.values.flatMap(\.subnets).filter { $0.users.contains(node.identity.id) }.map(\.id)
        let unbound = Set(mine).subtracting(node.inventory.boundSubnets).subtracting(node.closings.all)
        let old = node.addresses.orphans(unbound, at: node.outbox.now)
        guard !old.isEmpty, !node.isStateOld else { return }
        node.outbox.log(.warning, "pools without a network are given up", ["pools": old.map(\.description).joined(separator: " ")])
        _ = CatalogueFollower.close(&node, old)
    }

    static func proposeClosing(_ node: inout Node) {
        node.outbox.timers[.close] = nil
        guard node.catalogue.cluster != nil, node.closings.isStored, node.outbox.journal.isAssured, !node.isStateOld else { return }
        // What is not durable is not proposed.
        guard !node.isWriterAway, node.outbox.storeIsWhole else {
            if !node.closings.isEmpty { node.outbox.timers[.close] = node.now + Closings.retry }
            return
        }
        let proposed = node.proposals.closings
        for id in node.closings.all.subtracting(proposed).sorted() {
            Mirroring.confirmRemoval(&node, of: id)
            node.propose(.closeSubnet(id, removing: node.closings.isRemoval(id)), for: .close(id), deadline: node.now + Proposals.budget)
        }
    }
}
