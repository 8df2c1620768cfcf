public import OverlayModel

/// Subnets and networks.
extension Catalogue {
    mutating func openSubnet(_ open: OpenSubnet, user: NodeID) throws(Refusal) -> SubnetID {
        if let prefix = open.prefix { try check(prefix, range: open.range, family: open.family) }
        if let only = open.only {
            guard let network = networks[only], !network.isRemoved else {
                throw Refusal(.notFound, "network \(networks[only]?.title ?? only.short) was removed meanwhile")
            }
            guard let subnet = network.subnets.first(where: { $0.prefix == open.prefix }) else {
                throw Refusal(.notFound, "network \(network.title) has no such subnet any more")
            }
            return try use(subnet, of: network, range: open.range, user: user)
        }
        if let name = open.networkName {
            guard !name.isEmpty, name.utf8.count <= Limits.networkNameBytes else {
                throw Refusal(.invalid, "a network name has 1 to 253 bytes")
            }
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

    /// Frees the name and the subnets of a network, for good. Hosts that still have it are dropping it.
    mutating func markRemoved(_ id: NetworkID) {
        networks[id]?.isRemoved = true
        networks[id]?.name = nil
        networks[id]?.description = nil
    }

    mutating func describe(_ id: NetworkID, _ description: NetworkDescription) throws(Refusal) {
        guard let network = networks[id], !network.isRemoved else { throw Refusal(.notFound, "network \(id.short) is gone") }
        // A host whose network has the subnet, but another name, means another network. One that `--ipam-opt net=` named is itself.
        if let known = network.description {
            guard !network.names.contains(description.name), network.name == known.name else { return }
            throw Refusal(.conflict, "its subnet is that of network \(known.name) of the cluster")
        }
        if let other = networks.values.first(where: { $0.id != id && $0.names.contains(description.name) }) {
            throw Refusal(
                .conflict,
                "the cluster has another network \(description.name), "
                    + other.subnets.map { "\($0.prefix)" }.joined(separator: ", "))
        }
        networks[id]?.description = description
        if network.name == nil { networks[id]?.name = description.name }
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

    mutating func closeSubnet(_ id: SubnetID, user: NodeID, keepingBlocks: Bool = false) {
        guard var subnet = subnet(id), let networkID = networkOfSubnet[id] else { return }
        subnet.users.remove(user)
        if !keepingBlocks { subnet.blocks.removeAll { $0.owner == user } }
        guard subnet.users.isEmpty else { return modify(id) { $0 = subnet } }
        networkOfSubnet[id] = nil
        networks[networkID]?.subnets.removeAll { $0.id == id }
        if networks[networkID]?.subnets.isEmpty == true { networks[networkID] = nil }
    }

    mutating func configure(
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
        if let existing = network.settings, existing != settings {
            throw Refusal(.conflict, difference(of: network, to: settings))
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

    mutating func setGateway(_ id: SubnetID, _ gateway: IPAddress) throws(Refusal) {
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

    mutating func reserve(_ id: SubnetID, _ address: IPAddress) throws(Refusal) {
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
        // Taken out, so that the change is made in place and nothing is copied.
        guard var value = networks.removeValue(forKey: network) else { return }
        change(&value.subnets[position])
        networks[network] = value
    }

    private func subnet(equalTo prefix: IPPrefix) -> (Network, Subnet)? {
        for network in networks.values where !network.isRemoved {
            if let subnet = network.subnets.first(where: { $0.prefix == prefix }) { return (network, subnet) }
        }
        return nil
    }

    private func subnet(overlapping prefix: IPPrefix) -> (Network, Subnet)? {
        let found = networks.values.lazy.filter { !$0.isRemoved && $0.subnets.contains { $0.prefix.overlaps(prefix) } }
            .min { $0.id < $1.id }
        return found.flatMap { network in network.subnets.first { $0.prefix.overlaps(prefix) }.map { (network, $0) } }
    }

    private mutating func makeNetworkID() -> NetworkID {
        // The first term needs no salt: there is none before it.
        let salt = term.number > 1 ? term.seed : 0
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

    /// Lowest free subnet of the pool for IPv4, a /64 of the cluster's own /48 for IPv6 (RFC 4193).
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
        // In order of their first address: an obstacle that was passed concerns no later candidate.
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

    /// Text about the route that takes the largest part of a pool.
    private func widestRoute(in pool: IPPrefix) -> String? {
        let routes = members.values.sorted { $0.id < $1.id }.flatMap { member in
            member.routes.map { (name: member.name, route: $0) }
        }
        let widest = routes.filter { $0.route.overlaps(pool) }.min { $0.route.length < $1.route.length }
        return widest.map { "node \($0.name) has a route for \($0.route)" }
    }
}

extension NetworkSettings {
    /// Options that differ from those asked for here, in words.
    public func differences(to asked: NetworkSettings) -> [String] {
        var all: [String] = []
        func compare(_ option: String, _ there: Bool, _ here: Bool) {
            guard there != here else { return }
            all.append(there ? "\(option) is given there and not here" : "\(option) is given here and not there")
        }
        compare("--internal", isInternal, asked.isInternal)
        compare("-o encrypted", isEncrypted, asked.isEncrypted)
        compare("-o swift-overlay.multicast-route=false", !routesMulticast, !asked.routesMulticast)
        compare("-o swift-overlay.allow-overlap=true", allowsOverlap, asked.allowsOverlap)
        if mtu != asked.mtu {
            func text(_ mtu: UInt32?) -> String { mtu.map { "\($0)" } ?? "not given" }
            all.append("-o com.docker.network.driver.mtu is \(text(mtu)) there and \(text(asked.mtu)) here")
        }
        return all
    }
}

extension Catalogue {
    /// Names of the hosts that have a network, without the one that asks.
    public func hosts(of network: Network, except own: NodeID? = nil) -> String {
        let hosts = network.users.filter { $0 != own }.map { name($0) }.sorted().joined(separator: ", ")
        return hosts.isEmpty ? "the cluster" : hosts
    }

    /// Sentence about options of a network that differ from those asked for.
    public func difference(of network: Network, to settings: NetworkSettings, except own: NodeID? = nil) -> String {
        let options = network.settings?.differences(to: settings).joined(separator: "; ") ?? ""
        return
            "network \(network.title) is on \(hosts(of: network, except: own)) with other options: \(options); give the same options on "
            + "every host, or remove the network there first"
    }
}
