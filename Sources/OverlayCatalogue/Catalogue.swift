public import OverlayModel

/// State that the whole cluster agrees on, as a state machine: the same entries in the same order give the same state on every node. What
/// must be unique (names, VNIs, disjoint subnets and blocks) is decided here, in one step, and nowhere else.
public struct Catalogue: Hashable, Sendable {
    /// Index of the last entry applied; 0 before the first.
    public private(set) var index: UInt64 = 0
    public internal(set) var cluster: Cluster?
    /// Version of the protocol in use. Every member speaks it, and no node joins that does not. It never falls within a history.
    public internal(set) var versionInUse = ProtocolVersions.unannounced
    public private(set) var members: [NodeID: Member] = [:]
    /// Removed nodes whose addresses are in quarantine, with the names that they had. None of those addresses is given to anybody.
    public internal(set) var departed: [NodeID: String] = [:]
    /// Indices of members by name and by tunnel address, so that a joining node need not be compared with a thousand members.
    private var nodeOfName: [String: NodeID] = [:]
    private var nodeOfVTEP: [IPAddress: NodeID] = [:]
    public internal(set) var networks: [NetworkID: Network] = [:]
    /// Network of each subnet.
    public internal(set) var networkOfSubnet: [SubnetID: NetworkID] = [:]
    /// Last proposal of each proposer with its result, so that a repeated one gets the same answer.
    var sessions: [NodeID: Session] = [:]
    var nextSubnet: UInt64 = 1
    var nextNetwork: UInt64 = 1
    /// Start of the search for a free VNI: after the last one given out, so that VNIs are reused as late as possible.
    var nextVNI: UInt32 = VNI.all.lowerBound

    struct Session: Hashable, Sendable {
        var sequence: UInt64
        var result: CommandResult
    }

    public init() {}

    public func subnet(_ id: SubnetID) -> Subnet? {
        guard let network = networkOfSubnet[id] else { return nil }
        return networks[network]?.subnets.first { $0.id == id }
    }

    public func network(holding subnet: SubnetID) -> Network? { networkOfSubnet[subnet].flatMap { networks[$0] } }
    /// Network with a name, from `--ipam-opt net=` or else as engines call it.
    public func network(named name: String) -> Network? {
        networks.values.first { $0.name == name } ?? networks.values.first { $0.description?.name == name }
    }
    public func member(named name: String) -> Member? { nodeOfName[name].flatMap { members[$0] } }

    /// Result of a proposal, if it is the last one of its proposer that was applied.
    public func result(of sequence: UInt64, from proposer: NodeID) -> CommandResult? {
        guard let session = sessions[proposer], session.sequence == sequence else { return nil }
        return session.result
    }

    /// True if a proposal with this sequence is too old to be applied.
    public func isApplied(_ sequence: UInt64, from proposer: NodeID) -> Bool {
        lastSequence(from: proposer) >= sequence
    }

    /// Sequence of the last proposal that was applied; 0 before the first.
    func lastSequence(from proposer: NodeID) -> UInt64 { sessions[proposer]?.sequence ?? 0 }

    /// Applies the next entry.
    ///
    /// - Precondition: `entry.index` is `index` + 1; the log protocol keeps gaps away.
    @discardableResult
    public mutating func apply(_ entry: Entry) -> CommandResult {
        precondition(entry.index == index + 1, "entry \(entry.index) after \(index)")
        index = entry.index
        if let session = sessions[entry.proposer], session.sequence >= entry.sequence {
            return session.sequence == entry.sequence
                ? session.result : .refused(Refusal(.conflict, "the proposal is older than one that was applied"))
        }
        let result: CommandResult
        do throws(Refusal) {
            result = try perform(entry)
        } catch {
            result = .refused(error)
        }
        if members[entry.proposer] != nil {
            sessions[entry.proposer] = Session(sequence: entry.sequence, result: result)
        }
        return result
    }

    /// First subnet id. It differs between clusters: a pool that an engine still has from another one must not pass for one of this
    /// cluster.
    static func firstSubnet(of cluster: ClusterID) -> SubnetID {
        SubnetID(1 + SplitMix.hash(UInt64(truncatingIfNeeded: cluster.bits)) >> 32)
    }

    private mutating func perform(_ entry: Entry) throws(Refusal) -> CommandResult {
        if case .initialise(let cluster, let member) = entry.command {
            guard self.cluster == nil else { throw Refusal(.conflict, "the cluster exists already") }
            self.cluster = cluster
            nextSubnet = Self.firstSubnet(of: cluster.id).value
            setMember(member)
            return .accepted
        }
        guard cluster != nil else { throw Refusal(.notFound, "there is no cluster") }
        guard let proposer = members[entry.proposer], proposer.epoch == entry.epoch else {
            throw Refusal(.notFound, "node \(entry.proposer.short) is no member, or of an earlier life")
        }
        switch entry.command {
        case .initialise: return .accepted
        case .admit(let member):
            // Members of the first version have no such rule, and all must come to the same.
            if versionInUse > ProtocolVersions.unannounced, let reason = VersionRules.obstacle(to: member, in: self) {
                throw Refusal(.conflict, reason)
            }
            try admit(member)
        case .remove(let node, let now): try remove(node, isAtOnce: now || node == proposer.id)
        case .endQuarantine(let nodes): endQuarantine(of: Set(nodes))
        case .setJoinSecret(let secret):
            guard secret.secret.count == JoinSecret.bytes else { throw Refusal(.invalid, "a join secret has 16 bytes") }
            cluster?.joinSecret = secret
        case .rotateKey(let key):
            guard key.count == 32 else { throw Refusal(.invalid, "a gossip key has 32 bytes") }
            cluster?.rotate(to: key)
        case .openSubnet(let open): return .opened(try openSubnet(open, user: proposer.id))
        case .closeSubnet(let subnet, let removing):
            // A repeated proposal may come late: a node that no longer uses the subnet has no say.
            if removing, let network = networkOfSubnet[subnet], self.subnet(subnet)?.users.contains(proposer.id) == true {
                markRemoved(network)
            }
            closeSubnet(subnet, user: proposer.id)
            forgetReleased()
        case .describe(let network, let description): try describe(network, description)
        case .configure(let network, let adopting, let settings): try configure(network, adopting: adopting, settings)
        case .setGateway(let subnet, let gateway): try setGateway(subnet, gateway)
        case .reserve(let subnet, let address): try reserve(subnet, address)
        case .claimBlock(let subnet, let count): try claimBlock(subnet, owner: proposer.id, count: count)
        case .claimAddress(let subnet, let address): try claimAddress(subnet, address, owner: proposer)
        case .giveBack(let subnet, let range): try giveBack(subnet, range, owner: proposer.id)
        case .move(let subnet, let address, let node, let epoch):
            try move(subnet, address, from: proposer, to: node, epoch: epoch)
        case .raise(let version): versionInUse = try VersionRules.raised(to: version, in: self)
        case .promote(let term): try promote(proposer.id, termNumber: entry.termNumber, after: term)
        }
        return .accepted
    }

    // MARK: Terms

    /// Term of the writer; none without a cluster. With ``index`` it is the position.
    public var term: Term { cluster.map { Term(number: $0.termNumber, writer: $0.writer) } ?? .none }
    public var position: CataloguePosition { CataloguePosition(term: term, index: index) }

    private mutating func promote(_ node: NodeID, termNumber: UInt64, after last: Term) throws(Refusal) {
        guard last == term, termNumber > term.number, termNumber < Limits.counter else {
            throw Refusal(.conflict, "another node was promoted before; this one follows it")
        }
        cluster?.writer = node
        cluster?.termNumber = termNumber
        // Ids that the old writer still gives out, or another node that was promoted at the same time, are not known here. A host
        // that had such a subnet or network must find it missing, and not another one in its place.
        var generator = SeededGenerator(seed: term.seed)
        nextSubnet = min(nextSubnet + 1 << 16 + generator.next() >> 32, max(nextSubnet, Limits.counter / 4))
        nextVNI = VNI.all.lowerBound + UInt32(generator.next() % UInt64(VNI.all.count))
    }

    // MARK: Members

    private mutating func admit(_ member: Member) throws(Refusal) {
        if let known = members[member.id] {
            guard known.epoch <= member.epoch else {
                throw Refusal(.conflict, "node \(member.id.short) was admitted in a later life")
            }
        } else if members.count >= Limits.members {
            throw Refusal(.exhausted, "the cluster has \(Limits.members) members, which is the most it can have")
        }
        if let other = nodeOfName[member.name].flatMap({ members[$0] }), other.id != member.id {
            throw Refusal(
                .conflict,
                "the name \(member.name) is taken by node \(other.id.short) at \(other.address); give this host another hostname, "
                    + "or, if it is this one before it lost its state, run `swift-overlay node rm --force --now \(member.name)` on a member"
            )
        }
        if let other = nodeOfVTEP[member.vtep].flatMap({ members[$0] }), other.id != member.id {
            throw Refusal(
                .conflict,
                "the tunnel address \(member.vtep) is that of node \(other.name); give this host another one with --data-path-addr, "
                    + "or, if it is this one before it lost its state, run `swift-overlay node rm --force --now \(other.name)` on a member"
            )
        }
        guard member.port != 0, member.address.isHost, member.vtep.isHost else {
            throw Refusal(
                .invalid, "\(member.address):\(member.port) and \(member.vtep) are no addresses that a host is reached at")
        }
        // All other members have one family, so any of them will do.
        let other = members.values.first { $0.id != member.id }
        if let other, other.address.family != member.address.family {
            throw Refusal(
                .invalid,
                "the address \(member.address) is not of the family of the others', such as \(other.address) of node \(other.name); "
                    + "give this host one with --advertise-addr")
        }
        if let other, other.vtep.family != member.vtep.family {
            throw Refusal(
                .invalid,
                "the tunnel address \(member.vtep) is not of the family of the others', such as \(other.vtep) of node \(other.name); "
                    + "tunnels do not mix: give this host one with --data-path-addr")
        }
        // Sequences of a new life start anew, because the old state was lost.
        if let known = members[member.id], known.epoch < member.epoch { sessions[member.id] = nil }
        // The life before has ended: the node took its links down before it asked to join.
        endQuarantine(of: [member.id])
        setMember(member)
    }

    mutating func setMember(_ member: Member) {
        dropMember(member.id)
        members[member.id] = cluster.map { member.limited(to: $0.addressPool) } ?? member
        nodeOfName[member.name] = member.id
        nodeOfVTEP[member.vtep] = member.id
    }

    /// True if every member has a name and a tunnel address of its own.
    var hasUniqueMembers: Bool { nodeOfName.count == members.count && nodeOfVTEP.count == members.count }

    mutating func dropMember(_ node: NodeID) {
        guard let known = members.removeValue(forKey: node) else { return }
        if nodeOfName[known.name] == node { nodeOfName[known.name] = nil }
        if nodeOfVTEP[known.vtep] == node { nodeOfVTEP[known.vtep] = nil }
    }

    private mutating func remove(_ node: NodeID, isAtOnce: Bool) throws(Refusal) {
        guard node != cluster?.writer || members.count == 1 else {
            throw Refusal(
                .conflict,
                "node \(members[node]?.name ?? node.short) is the catalogue writer; the others must leave before it does, or one of them "
                    + "take its place: stop the daemon there, and run `swift-overlay promote` on another node")
        }
        guard let member = members[node] else {
            if isAtOnce { endQuarantine(of: [node]) }
            return
        }
        dropMember(node)
        sessions[node] = nil
        let isQuarantined = !isAtOnce && departed.count < Limits.members
        for subnet in networkOfSubnet.keys.sorted() { closeSubnet(subnet, user: node, keepingBlocks: isQuarantined) }
        if isQuarantined { departed[node] = member.name }
        forgetReleased()
    }

    private mutating func endQuarantine(of nodes: Set<NodeID>) {
        let gone = nodes.filter { departed.removeValue(forKey: $0) != nil }
        guard !gone.isEmpty else { return }
        for subnet in networkOfSubnet.keys { modify(subnet) { $0.blocks.removeAll { gone.contains($0.owner) } } }
    }

    /// Forgets removed nodes that have no address in quarantine any more.
    private mutating func forgetReleased() {
        guard !departed.isEmpty else { return }
        var owners: Set<NodeID> = []
        for network in networks.values {
            for subnet in network.subnets { for block in subnet.blocks { owners.insert(block.owner) } }
        }
        departed = departed.filter { owners.contains($0.key) }
    }

    /// Sets the index of a snapshot.
    mutating func restore(index: UInt64) { self.index = index }

    /// Derives ``networkOfSubnet`` after a snapshot was read.
    mutating func indexSubnets() {
        networkOfSubnet = [:]
        for network in networks.values {
            for subnet in network.subnets { networkOfSubnet[subnet.id] = network.id }
        }
    }
}

extension Term {
    /// Seed that differs from that of every other term, except by chance.
    var seed: UInt64 { SplitMix.hash(UInt64(truncatingIfNeeded: writer.bits ^ (writer.bits >> 64)) ^ number) }
}
