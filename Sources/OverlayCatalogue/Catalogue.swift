public import OverlayModel

/// The report the whole cluster agrees on, as a state machine: the same entries in the same order give the same state on every node.
/// Every uniqueness (names, VNIs, disjoint subnets and blocks) is decided here, in one step, and nowhere else.
public struct Catalogue: Hashable, Sendable {
    /// Index of the last entry applied; 0 before the first.
    public private(set) var index: UInt64 = 0
    public internal(set) var cluster: Cluster?
    public private(set) var members: [NodeID: Member] = [:]
    /// Nodes that were removed and whose addresses rest, with the names that they had. Nobody is given one of those addresses.
    public internal(set) var departed: [NodeID: String] = [:]
    /// Who has a name, and a tunnel address: of a thousand members, each that joins is compared with none.
    private var nodeOfName: [String: NodeID] = [:]
    private var nodeOfVTEP: [IPAddress: NodeID] = [:]
    public internal(set) var networks: [NetworkID: Network] = [:]
    /// Which network a subnet belongs to.
    public internal(set) var networkOfSubnet: [SubnetID: NetworkID] = [:]
    /// Per proposer: its last proposal and what became of it, so that a repeated one gets the same answer.
    var sessions: [NodeID: Session] = [:]
    var nextSubnet: UInt64 = 1
    var nextNetwork: UInt64 = 1
    /// Where the search for a free VNI starts: after the last one given out, so that reuse is as late as can be.
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
    /// By what `--ipam-opt net=` called it, or by what engines do.
    public func network(named name: String) -> Network? {
        networks.values.first { $0.name == name } ?? networks.values.first { $0.description?.name == name }
    }
    public func member(named name: String) -> Member? { nodeOfName[name].flatMap { members[$0] } }

    /// What became of a proposal, when it is the last one of its proposer that was applied.
    public func result(of sequence: UInt64, from proposer: NodeID) -> CommandResult? {
        guard let session = sessions[proposer], session.sequence == sequence else { return nil }
        return session.result
    }

    /// Is a proposal of this sequence too old to be applied?
    public func isApplied(_ sequence: UInt64, from proposer: NodeID) -> Bool {
        lastSequence(from: proposer) >= sequence
    }

    /// Of the last proposal that was applied; 0 before the first.
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

    /// What an engine still has of another cluster must not pass for a pool of this one.
    static func firstSubnet(of cluster: ClusterID) -> SubnetID {
        var generator = SeededGenerator(seed: UInt64(truncatingIfNeeded: cluster.bits))
        return SubnetID(1 + generator.next() >> 32)
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
        case .admit(let member): try admit(member)
        case .remove(let node, let now): try remove(node, isAtOnce: now || node == proposer.id)
        case .endRest(let nodes): endRest(of: Set(nodes))
        case .setJoinSecret(let secret):
            guard secret.secret.count == JoinSecret.bytes else { throw Refusal(.invalid, "a join secret has 16 bytes") }
            cluster?.joinSecret = secret
        case .rotateKey(let key):
            guard key.count == 32 else { throw Refusal(.invalid, "a gossip key has 32 bytes") }
            cluster?.rotate(to: key)
        case .openSubnet(let open): return .opened(try openSubnet(open, user: proposer.id))
        case .closeSubnet(let subnet, let removing):
            // A repetition may come late: who has it no more has no say.
            if removing, let network = networkOfSubnet[subnet], self.subnet(subnet)?.users.contains(proposer.id) == true {
                markRemoved(network)
            }
            closeSubnet(subnet, user: proposer.id)
            forgetRested()
        case .describe(let network, let description): try describe(network, description)
        case .configure(let network, let adopting, let settings): try configure(network, adopting: adopting, settings)
        case .setGateway(let subnet, let gateway): try setGateway(subnet, gateway)
        case .reserve(let subnet, let address): try reserve(subnet, address)
        case .claimBlock(let subnet, let count): try claimBlock(subnet, owner: proposer.id, count: count)
        case .claimAddress(let subnet, let address): try claimAddress(subnet, address, owner: proposer)
        case .giveBack(let subnet, let range): try giveBack(subnet, range, owner: proposer.id)
        case .move(let subnet, let address, let node, let epoch):
            try move(subnet, address, from: proposer, to: node, epoch: epoch)
        case .promote(let term): try promote(proposer.id, termNumber: entry.termNumber, after: term)
        }
        return .accepted
    }

    // MARK: Terms

    /// Who writes it. With ``index`` that is how far it is; none where there is no cluster.
    public var term: Term { cluster.map { Term(number: $0.termNumber, writer: $0.writer) } ?? .none }
    public var position: CataloguePosition { CataloguePosition(term: term, index: index) }

    private mutating func promote(_ node: NodeID, termNumber: UInt64, after last: Term) throws(Refusal) {
        guard last == term, termNumber > term.number, termNumber < Limits.counter else {
            throw Refusal(.conflict, "another node was promoted before; this one follows it")
        }
        cluster?.writer = node
        cluster?.termNumber = termNumber
        // What the old writer may still give out, or another one that was promoted at the same time, nobody sees here. A host that had
        // such a subnet or network must find it missing, and not another one in its place.
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
        // All others are of one family, so any of them will do.
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
        // Sequences of a new life start anew, where the old state was lost.
        if let known = members[member.id], known.epoch < member.epoch { sessions[member.id] = nil }
        // Its life before has ended: it took its links down before it asked to join.
        endRest(of: [member.id])
        setMember(member)
    }

    mutating func setMember(_ member: Member) {
        dropMember(member.id)
        members[member.id] = cluster.map { member.limited(to: $0.addressPool) } ?? member
        nodeOfName[member.name] = member.id
        nodeOfVTEP[member.vtep] = member.id
    }

    /// Has each a name and a tunnel address of its own?
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
            if isAtOnce { endRest(of: [node]) }
            return
        }
        dropMember(node)
        sessions[node] = nil
        let rests = !isAtOnce && departed.count < Limits.members
        for subnet in networkOfSubnet.keys.sorted() { closeSubnet(subnet, user: node, keepingBlocks: rests) }
        if rests { departed[node] = member.name }
        forgetRested()
    }

    private mutating func endRest(of nodes: Set<NodeID>) {
        let gone = nodes.filter { departed.removeValue(forKey: $0) != nil }
        guard !gone.isEmpty else { return }
        for subnet in networkOfSubnet.keys { modify(subnet) { $0.blocks.removeAll { gone.contains($0.owner) } } }
    }

    /// Those with no address that rests are of no account any more.
    private mutating func forgetRested() {
        guard !departed.isEmpty else { return }
        var owners: Set<NodeID> = []
        for network in networks.values {
            for subnet in network.subnets { for block in subnet.blocks { owners.insert(block.owner) } }
        }
        departed = departed.filter { owners.contains($0.key) }
    }

    /// Sets where a snapshot stands.
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
    /// Other than that of every other term, but for chance.
    var seed: UInt64 {
        var generator = SeededGenerator(seed: UInt64(truncatingIfNeeded: writer.bits ^ (writer.bits >> 64)) ^ number)
        return generator.next()
    }
}
