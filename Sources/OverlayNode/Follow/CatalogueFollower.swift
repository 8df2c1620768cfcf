import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Follow-up of catalogue entries: tells the parts what an entry changes, and proposes what this node owes the catalogue. Owns
/// nothing.
enum CatalogueFollower {
    // MARK: Entries

    /// Follows an applied entry.
    static func followEntry(_ node: inout Node, _ entry: Entry, _ result: CommandResult) {
        if case .refused = result {
            if case .admit(let member) = entry.command { HostFollower.refused(&node, member) }
            return
        }
        let isOwn = entry.proposer == node.identity.id
        switch entry.command {
        case .initialise: node.outbox.timers[.follow] = node.now
        case .remove:
            if node.rules.contains(.fencing) { node.outbox.timers[.follow] = node.now }
            // The removed node knows the present key.
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
            if isOwn || Self.concerns(node, subnet) { Self.followSubnets(&node) }
        case .configure(let network, let adopted, _):
            if isOwn || node.following.networks.contains(network) || adopted.contains(where: { Self.concerns(node, $0) }) {
                Self.followSubnets(&node)
            }
            Mirroring.mirrorSoon(&node)
        case .closeSubnet(let subnet, let removing):
            if isOwn || Self.concerns(node, subnet) { Self.followSubnets(&node) }
            if removing { Mirroring.mirrorSoon(&node) }
            AddressExchange.wakeAddressWaits(&node, subnet)
        case .describe(let network, _):
            NameFollower.rename(&node, network)
            Mirroring.mirrorSoon(&node)
        case .setJoinSecret: break
        case .raise(let version):
            node.replication.settings.versionInUse = node.catalogue.versionInUse
            node.outbox.log(
                .info, "every member speaks a later protocol, which is used from now on", [LogKey.version: "\(version)"])
        case .promote:
            // The chores are another node's now.
            Self.followTerm(&node)
            PromotionCalls.logTerm(&node, since: entry.index)
        case .setGateway(let subnet, _), .reserve(let subnet, _), .claimBlock(let subnet, _), .claimAddress(let subnet, _):
            Self.followSubnet(&node, subnet)
        case .giveBack(let subnet, _), .move(let subnet, _, _, _):
            Self.followSubnet(&node, subnet)
            AddressExchange.wakeAddressWaits(&node, subnet)
        }
    }

    /// True if this host uses the subnet or its network. Entries about the others, of which there may be thousands, are skipped.
    private static func concerns(_ node: Node, _ subnet: SubnetID) -> Bool {
        node.addresses[subnet] != nil
            || node.catalogue.networkOfSubnet[subnet].map { node.following.networks.contains($0) } ?? false
    }

    /// Brings everything in line with the catalogue, members first.
    static func followAll(_ node: inout Node) {
        node.outbox.timers[.follow] = nil
        node.following.followed(at: node.now)
        if node.catalogue.cluster != nil, node.catalogue.members[node.identity.id] == nil, node.rules.contains(.fencing) {
            node.outbox.log(
                .warning, "this node was removed from the cluster; its overlay links go down, and it must join again", [:])
            return ClusterCalls.forgetCluster(&node)
        }
        Self.followTerm(&node)
        Self.setPeers(&node)
        // A member's VTEP may have changed.
        KernelFollower.repairSoon(&node)
        node.peers.keepOnly { [members = node.catalogue.members] in members[$0] != nil }
        Self.followSubnets(&node)
        Mirroring.mirrorSoon(&node)
        RouteFollower.makeGateway(&node)
        AddressExchange.wakeAllAddressWaits(&node)
    }

    /// Tells membership, transport and replication who the members are, with their keys.
    static func setPeers(_ node: inout Node) {
        let others = node.catalogue.members.values.filter { $0.id != node.identity.id }.sorted { $0.id < $1.id }
        node.replication.setKeys(node.catalogue.members.mapValues(\.publicKey))
        node.replication.settings.versionInUse = node.catalogue.versionInUse
        node.outbox.append(.peers(others, keys: node.catalogue.cluster?.gossipKeys ?? []))
    }

    /// Brings pools and subscriptions in line with the catalogue; after the first observation of the kernel only. An empty owner
    /// log, told before that, would make others drop the rows of running containers.
    static func followSubnets(_ node: inout Node) {
        guard node.isReady else { return }
        var used: Set<NetworkID> = []
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            for subnet in network.subnets where subnet.users.contains(node.identity.id) {
                used.insert(network.id)
                Self.followSubnet(&node, subnet.id)
            }
        }
        node.addresses.keepOnly { [catalogue = node.catalogue, identity = node.identity] in
            catalogue.subnet($0)?.users.contains(identity.id) == true
        }
        for id in node.following.networks.subtracting(used).sorted() { node.withReplication { $0.unsubscribe(id, into: &$1) } }
        for id in used.sorted() {
            let users = node.catalogue.networks[id]?.users ?? []
            node.withReplication { [now = node.now] in $0.subscribe(id, to: users, now: now, into: &$1) }
        }
        node.following.subscribe(to: used)
        NameFollower.followNames(&node)
        // Rows that were spared for a node go when that has left the network.
        let unknown = node.unsynchronisedVTEPs
        if node.forwarding.sparesTooMuch(unknown) { KernelFollower.repairSoon(&node) }
    }

    /// Brings the pool of a subnet in line with the catalogue, if this host uses it.
    private static func followSubnet(_ node: inout Node, _ id: SubnetID) {
        guard let subnet = node.catalogue.subnet(id) else { return }
        Self.followSubnet(&node, subnet)
    }

    private static func followSubnet(_ node: inout Node, _ subnet: Subnet) {
        let id = subnet.id
        guard node.isReady, subnet.users.contains(node.identity.id) else { return }
        // A subnet that is being given up has no blocks here, so nothing of it is handed out.
        let blocks = node.closings.contains(id) ? [] : subnet.blocks(of: node.identity.id)
        node.addresses.follow(subnet, blocks: blocks, handovers: node.handovers.ranges(of: id), now: node.outbox.now)
    }

    // MARK: Gossip keys

    /// Gives the writer's chores to this node, or takes them, as the catalogue names its writer.
    static func followTerm(_ node: inout Node) {
        node.writer.duties.follow(isWriter: node.isWriter, departed: node.catalogue.departed.keys, into: &node.outbox)
        node.writer.duties.followVersion(canRise: Self.canRaiseVersion(node), into: &node.outbox)
    }

    /// Asks the shell for a new gossip key, at the writer.
    static func requestKey(_ node: inout Node) { node.writer.duties.beginRotation(isWriter: node.isWriter, into: &node.outbox) }

    /// Proposes a new gossip key, at the writer.
    static func rotate(_ node: inout Node, to key: [UInt8]) {
        guard node.isWriter, !node.proposals.contains(where: { if case .rotation = $0 { true } else { false } }) else { return }
        node.propose(.rotateKey(key), for: .rotation, deadline: node.now + Proposals.budget)
    }

    /// Grants a claim of addresses before the catalogue does. Tests that leave out rule R7 need it; the daemon never does this.
    ///
    /// - Returns: The subnet, if the command is a claim and would be granted now.
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
        Self.followSubnet(&node, subnet)
        return id
    }

    // MARK: Versions

    private static func canRaiseVersion(_ node: Node) -> Bool {
        node.isCatalogueWriter && VersionRules.ofAll(node.catalogue) > node.catalogue.versionInUse
    }

    /// Proposes the version of the protocol that every member speaks, at the writer.
    static func raiseVersion(_ node: inout Node) {
        guard Self.canRaiseVersion(node), !node.proposals.contains(where: { if case .version = $0 { true } else { false } }) else {
            return
        }
        node.propose(.raise(to: VersionRules.ofAll(node.catalogue)), for: .version, deadline: node.now + Proposals.budget)
    }

    // MARK: Giving up

    /// Gives subnets up: durably here, then in the catalogue, however long that takes.
    ///
    /// - Parameters:
    ///   - isRemoval: True if a user removed the network, and nobody is on it.
    ///   - others: Rows to write in the same transaction.
    ///   - objects: Objects whose later calls wait for the transaction.
    /// - Returns: The transaction; empty where there is nothing to write.
    static func close(
        _ node: inout Node,
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
        // Proposed when it is durable. If a crash undid it after that, this host would hand out addresses that others own by then.
        if node.rules.contains(.durableHandovers) { node.closings.wait(for: stored) } else { Self.proposeClosing(&node) }
        return [stored]
    }

    /// Proposes this node's own entry anew where it has changed, such as its address, its name or its routes.
    static func proposeOwnChange(_ node: inout Node) {
        // A node that nobody reaches at its old address has no word of the writer either.
        guard !node.isRolledBack, let known = node.catalogue.members[node.identity.id], known != node.member,
            !node.isWriterAway || HostFollower.isElsewhere(node),
            !node.proposals.contains(where: { if case .own = $0 { true } else { false } })
        else { return }
        node.propose(.admit(HostFollower.entry(node, instead: known)), for: .own, deadline: node.now + Proposals.budget)
    }

    /// Gives up subnets that no network was made of: the engine died in between, or gave up waiting.
    static func closeOrphans(_ node: inout Node) {
        let mine = node.catalogue.networks.values.flatMap(\.subnets).filter { $0.users.contains(node.identity.id) }.map(\.id)
        let unbound = Set(mine).subtracting(node.inventory.boundSubnets).subtracting(node.closings.all)
        let old = node.addresses.orphans(unbound, at: node.outbox.now)
        guard !old.isEmpty, !node.isRolledBack else { return }
        node.outbox.log(
            .warning, "pools without a network are given up", [LogKey.pools: old.map(\.description).joined(separator: " ")])
        _ = Self.close(&node, old)
    }

    /// Proposes the closings that are durable and undecided.
    static func proposeClosing(_ node: inout Node) {
        node.outbox.timers[.close] = nil
        guard node.catalogue.cluster != nil, node.closings.isStored, node.outbox.journal.isAssured, !node.isRolledBack else {
            return
        }
        // Only durable closings are proposed.
        guard !node.isWriterAway, node.outbox.storeIsWhole else {
            if !node.closings.isEmpty { node.outbox.timers[.close] = node.now + Closings.retry }
            return
        }
        let proposed = node.proposals.closings
        for id in node.closings.all.subtracting(proposed).sorted() where !node.closings.isHeld(id) {
            Mirroring.confirmRemoval(&node, of: id)
            node.propose(
                .closeSubnet(id, removing: node.closings.isRemoval(id)), for: .close(id), deadline: node.now + Proposals.budget)
        }
    }
}
