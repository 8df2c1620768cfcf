public import OverlayModel

/// The facts the whole cluster agrees on, as a state machine: the same entries in the same order give the same state on every node.
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
    public private(set) var networkOfSubnet: [SubnetID: NetworkID] = [:]
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
    public func network(named name: String) -> Network? { networks.values.first { $0.name == name } }
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

    private mutating func perform(_ entry: Entry) throws(Refusal) -> CommandResult {
        if case .initialise(let cluster, let member) = entry.command {
            guard self.cluster == nil else { throw Refusal(.conflict, "the cluster exists already") }
            self.cluster = cluster
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
        case .closeSubnet(let subnet):
            closeSubnet(subnet, user: proposer.id)
            forgetRested()
        case .configure(let network, let adopting, let settings): try configure(network, adopting: adopting, settings)
        case .setGateway(let subnet, let gateway): try setGateway(subnet, gateway)
        case .reserve(let subnet, let address): try reserve(subnet, address)
        case .claimBlock(let subnet, let count): try claimBlock(subnet, owner: proposer.id, count: count)
        case .claimAddress(let subnet, let address): try claimAddress(subnet, address, owner: proposer)
        case .giveBack(let subnet, let range): try giveBack(subnet, range, owner: proposer.id)
        case .move(let subnet, let address, let node, let epoch):
            try move(subnet, address, from: proposer, to: node, epoch: epoch)
        case .promote(let reign): try promote(proposer.id, generation: entry.generation, after: reign)
        }
        return .accepted
    }

    // MARK: Reigns

    /// Who writes it. With ``index`` that is how far it is; none where there is no cluster.
    public var reign: Reign { cluster.map { Reign(generation: $0.generation, writer: $0.writer) } ?? .none }
    public var position: CataloguePosition { CataloguePosition(reign: reign, index: index) }

    private mutating func promote(_ node: NodeID, generation: UInt64, after last: Reign) throws(Refusal) {
        guard last == reign, generation > reign.generation, generation < Limits.counter else {
            throw Refusal(.conflict, "another node was promoted before; this one follows it")
        }
        cluster?.writer = node
        cluster?.generation = generation
        // What the old writer may still give out, or another one that was promoted at the same time, nobody sees here. A host that had
        // such a subnet or network must find it missing, and not another one in its place.
        var generator = SeededGenerator(seed: reign.seed)
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

    // MARK: Subnets and networks

    private mutating func openSubnet(_ open: OpenSubnet, user: NodeID) throws(Refusal) -> SubnetID {
        if let prefix = open.prefix { try check(prefix, range: open.range, family: open.family) }
        if let name = open.networkName {
            guard !name.isEmpty, name.utf8.count <= 253 else { throw Refusal(.invalid, "a network name has 1 to 253 bytes") }
            if let network = network(named: name) { return try openSubnet(open, of: network, user: user) }
        } else if let prefix = open.prefix, let (network, subnet) = subnet(equalTo: prefix) {
            return try use(subnet, of: network, range: open.range, user: user)
        }
        guard networks.count < Limits.networks else {
            throw Refusal(.exhausted, "the cluster has \(Limits.networks) networks, the most it can have")
        }
        let made = try makeSubnet(open, user: user)
        let network = Network(
            id: makeNetworkID(), name: open.networkName, vni: try makeVNI(), subnets: [made], settings: nil)
        networks[network.id] = network
        networkOfSubnet[made.id] = network.id
        return made.id
    }

    private mutating func openSubnet(_ open: OpenSubnet, of network: Network, user: NodeID) throws(Refusal) -> SubnetID {
        let candidates = network.subnets.filter { $0.prefix.family == open.family }
        if let prefix = open.prefix {
            if let subnet = candidates.first(where: { $0.prefix == prefix }) {
                return try use(subnet, of: network, range: open.range, user: user)
            }
        } else if let subnet = candidates.first(where: { !$0.users.contains(user) }) ?? candidates.first {
            return try use(subnet, of: network, range: open.range, user: user)
        }
        // A network takes further subnets until its first CreateNetwork has told that they are complete.
        guard network.settings == nil else {
            let has = network.subnets.map { "\($0.prefix)" }.joined(separator: ", ")
            throw Refusal(
                .conflict,
                "network \(network.title) has the subnets \(has), not \(open.prefix.map { "\($0)" } ?? "an \(open.family) one"); "
                    + "use one of them, or another network name")
        }
        guard network.subnets.count < Limits.subnetsPerNetwork else {
            throw Refusal(.exhausted, "network \(network.title) has \(Limits.subnetsPerNetwork) subnets, the most it can have")
        }
        let made = try makeSubnet(open, user: user)
        networks[network.id]?.subnets.append(made)
        networkOfSubnet[made.id] = network.id
        return made.id
    }

    private mutating func use(_ subnet: Subnet, of network: Network, range: IPPrefix?, user: NodeID) throws(Refusal) -> SubnetID {
        if let range, range != subnet.range {
            throw Refusal(
                .conflict,
                "subnet \(subnet.prefix) of network \(network.title) has "
                    + (subnet.range.map { "the --ip-range \($0)" } ?? "no --ip-range") + ", not \(range)")
        }
        modify(subnet.id) { $0.users.insert(user) }
        return subnet.id
    }

    private mutating func makeSubnet(_ open: OpenSubnet, user: NodeID) throws(Refusal) -> Subnet {
        let prefix: IPPrefix
        if let asked = open.prefix {
            prefix = asked
        } else {
            prefix = try freeSubnet(family: open.family)
        }
        if let (network, other) = subnet(overlapping: prefix) {
            throw Refusal(
                .conflict,
                "subnet \(prefix) overlaps \(other.prefix) of network \(network.title); give another --subnet"
                    + (other.prefix == prefix ? ", or --ipam-opt net=\(network.title) to join that network" : ""))
        }
        if let range = open.range { try check(range, in: prefix) }
        let id = SubnetID(nextSubnet)
        nextSubnet += 1
        return Subnet(
            id: id, prefix: prefix, range: open.range, gateway: prefix.usable.first, auxiliary: [], users: [user], blocks: [])
    }

    private func check(_ prefix: IPPrefix, range: IPPrefix?, family: IPAddress.Family) throws(Refusal) {
        guard prefix.family == family else { throw Refusal(.invalid, "\(prefix) is not an IP\(family) subnet") }
        guard prefix.isNetwork else {
            throw Refusal(.invalid, "\(prefix) has host bits set; the subnet would be \(prefix.network)")
        }
        guard prefix.length > 0, prefix.hostBits >= 1 else {
            throw Refusal(
                .invalid,
                "a subnet of \(prefix) leaves no address for a container; /\(family == .v4 ? 30 : 126) is the least of use")
        }
        if let range { try check(range, in: prefix) }
    }

    private func check(_ range: IPPrefix, in prefix: IPPrefix) throws(Refusal) {
        guard range.family == prefix.family, prefix.contains(range) else {
            throw Refusal(.invalid, "the --ip-range \(range) is not within the subnet \(prefix)")
        }
        guard Subnet.dynamic(range, in: prefix) != nil else {
            throw Refusal(.invalid, "the --ip-range \(range) holds no host address of the subnet \(prefix)")
        }
    }

    private mutating func closeSubnet(_ id: SubnetID, user: NodeID, keepingBlocks: Bool = false) {
        guard var subnet = subnet(id), let networkID = networkOfSubnet[id] else { return }
        subnet.users.remove(user)
        if !keepingBlocks { subnet.blocks.removeAll { $0.owner == user } }
        guard subnet.users.isEmpty else { return modify(id) { $0 = subnet } }
        networkOfSubnet[id] = nil
        networks[networkID]?.subnets.removeAll { $0.id == id }
        if networks[networkID]?.subnets.isEmpty == true { networks[networkID] = nil }
    }

    private mutating func configure(
        _ id: NetworkID, adopting: [SubnetID], _ settings: NetworkSettings
    ) throws(Refusal) {
        guard let network = networks[id] else { throw Refusal(.notFound, "network \(id.short) is gone") }
        for subnet in adopting {
            guard let other = self.network(holding: subnet) else { throw Refusal(.notFound, "\(subnet) is gone") }
            guard other.id == id || (other.name == nil && other.settings == nil && network.settings == nil) else {
                throw Refusal(
                    .conflict, "a subnet of network \(other.title) cannot be given to network \(network.title) as well")
            }
        }
        guard network.subnets.count + adopting.count(where: { networkOfSubnet[$0] != id }) <= Limits.subnetsPerNetwork else {
            throw Refusal(.exhausted, "a network has at most \(Limits.subnetsPerNetwork) subnets")
        }
        if let existing = network.settings {
            guard existing == settings else {
                throw Refusal(
                    .conflict,
                    "network \(network.title) has \(existing.text) on this cluster, and was now asked for with \(settings.text); "
                        + "give the same options on every host")
            }
        }
        for id in adopting where networkOfSubnet[id] != network.id {
            guard let subnet = subnet(id), let from = networkOfSubnet[id] else { continue }
            networks[from]?.subnets.removeAll { $0.id == id }
            if networks[from]?.subnets.isEmpty == true { networks[from] = nil }
            networks[network.id]?.subnets.append(subnet)
            networkOfSubnet[id] = network.id
        }
        networks[id]?.settings = settings
    }

    private mutating func setGateway(_ id: SubnetID, _ gateway: IPAddress) throws(Refusal) {
        let (network, subnet) = try find(id)
        guard subnet.gateway != gateway else { return }
        guard network.settings == nil, subnet.blocks.isEmpty else {
            throw Refusal(
                .conflict,
                "the gateway of subnet \(subnet.prefix) of network \(network.title) is \(subnet.gateway) on every host, not \(gateway)"
            )
        }
        guard subnet.prefix.usable.contains(gateway), !subnet.auxiliary.contains(gateway) else {
            throw Refusal(.invalid, "\(gateway) cannot be the gateway of subnet \(subnet.prefix)")
        }
        modify(id) { $0.gateway = gateway }
    }

    private mutating func reserve(_ id: SubnetID, _ address: IPAddress) throws(Refusal) {
        let (network, subnet) = try find(id)
        guard !subnet.auxiliary.contains(address) else { return }
        guard subnet.prefix.usable.contains(address), address != subnet.gateway else {
            throw Refusal(.invalid, "\(address) cannot be an aux address of subnet \(subnet.prefix)")
        }
        if let block = subnet.block(holding: address) {
            throw Refusal(
                .conflict,
                "\(address) of network \(network.title) is among the addresses that node \(name(block.owner)) hands out; aux addresses "
                    + "are to be given when the network is first created")
        }
        guard subnet.auxiliary.count < Limits.auxiliaryAddresses else {
            throw Refusal(
                .exhausted, "subnet \(subnet.prefix) has \(Limits.auxiliaryAddresses) aux addresses, the most it can have")
        }
        modify(id) { $0.auxiliary.insert(address) }
    }

    func find(_ id: SubnetID) throws(Refusal) -> (Network, Subnet) {
        guard let network = network(holding: id), let subnet = subnet(id) else {
            throw Refusal(.notFound, "the pool \(id) is gone")
        }
        return (network, subnet)
    }

    public func name(_ node: NodeID) -> String { members[node]?.name ?? departed[node] ?? node.short }

    mutating func modify(_ id: SubnetID, _ change: (inout Subnet) -> Void) {
        guard let network = networkOfSubnet[id], let position = networks[network]?.subnets.firstIndex(where: { $0.id == id })
        else { return }
        // Taken out, so that the change is made in place.
        guard var value = networks.removeValue(forKey: network) else { return }
        change(&value.subnets[position])
        networks[network] = value
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

    private func subnet(equalTo prefix: IPPrefix) -> (Network, Subnet)? {
        for network in networks.values {
            if let subnet = network.subnets.first(where: { $0.prefix == prefix }) { return (network, subnet) }
        }
        return nil
    }

    private func subnet(overlapping prefix: IPPrefix) -> (Network, Subnet)? {
        let found = networks.values.lazy.filter { $0.subnets.contains { $0.prefix.overlaps(prefix) } }.min { $0.id < $1.id }
        return found.flatMap { network in network.subnets.first { $0.prefix.overlaps(prefix) }.map { (network, $0) } }
    }

    private mutating func makeNetworkID() -> NetworkID {
        // Of the first generation no salt is needed: there is nothing before it.
        let salt = reign.generation > 1 ? reign.seed : 0
        var generator = SeededGenerator(seed: UInt64(truncatingIfNeeded: cluster?.id.bits ?? 0) ^ nextNetwork ^ salt)
        nextNetwork += 1
        while true {
            let id = NetworkID(bits: UInt128(generator.next()) << 64 | UInt128(generator.next()))
            if networks[id] == nil { return id }
        }
    }

    private mutating func makeVNI() throws(Refusal) -> VNI {
        let used = Set(networks.values.map(\.vni.value))
        guard used.count < VNI.all.count else { throw Refusal(.exhausted, "no VNI is free") }
        var value = nextVNI
        while used.contains(value) { value = value == VNI.all.upperBound ? VNI.all.lowerBound : value + 1 }
        nextVNI = value == VNI.all.upperBound ? VNI.all.lowerBound : value + 1
        guard let vni = VNI(value) else { throw Refusal(.exhausted, "no VNI is free") }
        return vni
    }

    /// For IPv4 the lowest subnet of the pool that is free, for IPv6 a /64 of the cluster's own /48 (RFC 4193).
    private func freeSubnet(family: IPAddress.Family) throws(Refusal) -> IPPrefix {
        guard let cluster else { throw Refusal(.notFound, "there is no cluster") }
        let pool: IPPrefix
        let length: Int
        switch family {
        case .v4:
            pool = cluster.addressPool
            length = cluster.subnetLength
        case .v6:
            let bits = UInt128(0xFD) << 120 | (cluster.id.bits >> 88) << 80
            guard let ula = IPPrefix(IPAddress(family: .v6, bits: bits), length: 48) else {
                throw Refusal(.invalid, "no IPv6 pool")
            }
            pool = ula
            length = 64
        }
        let taken = networks.values.flatMap { $0.subnets.map(\.prefix) } + members.values.flatMap(\.routes)
        var start = pool.first
        // In order of where they begin: what is passed concerns no later candidate.
        for obstacle in taken.filter({ $0.overlaps(pool) }).sorted(by: { $0.first < $1.first }) where obstacle.last >= start {
            guard let candidate = IPPrefix(start, length: length) else { break }
            guard obstacle.first <= candidate.last else { return candidate }
            // Behind the obstacle or the candidate, whichever ends later: both ends are subnet boundaries.
            guard let next = max(obstacle.last, candidate.last).advanced(by: 1) else { throw noSubnet(pool, length) }
            start = next
        }
        if pool.contains(start), let candidate = IPPrefix(start, length: length) { return candidate }
        throw noSubnet(pool, length)
    }

    private func noSubnet(_ pool: IPPrefix, _ length: Int) -> Refusal {
        Refusal(
            .exhausted,
            "the address pool \(pool) has no free /\(length) left"
                + (widestRoute(in: pool).map { ", as \($0)" } ?? "") + "; give a --subnet")
    }

    /// Whose route takes most of a pool?
    private func widestRoute(in pool: IPPrefix) -> String? {
        let routes = members.values.sorted { $0.id < $1.id }.flatMap { member in
            member.routes.map { (name: member.name, route: $0) }
        }
        let widest = routes.filter { $0.route.overlaps(pool) }.min { $0.route.length < $1.route.length }
        return widest.map { "node \($0.name) has a route for \($0.route)" }
    }
}

extension NetworkSettings {
    /// For messages.
    var text: String {
        "mtu \(mtu.map(String.init) ?? "by default")" + (isEncrypted ? ", encrypted" : ", not encrypted")
            + (isInternal ? ", internal" : ", not internal")
    }
}

extension Reign {
    /// Other than that of every other reign, but for chance.
    fileprivate var seed: UInt64 {
        var generator = SeededGenerator(seed: UInt64(truncatingIfNeeded: writer.bits ^ (writer.bits >> 64)) ^ generation)
        return generator.next()
    }
}
