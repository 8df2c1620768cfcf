import OverlayCatalogue
import OverlayDNS
import OverlayDatapath
import OverlayMembership
public import OverlayModel
import OverlayNode

/// Invariants (see Rules): C after quiet, F always, P after every heal; U, N and L along the way.
extension World {
    // MARK: F

    /// Time after the trouble of a node or a link in which others may still be wrong about it.
    static let leniency = Interval.seconds(10)

    /// Checks F: no healthy member declares a healthy one down.
    func checkDeclarations(_ observer: Int) {
        let declared = nodes[observer].core.membership.counters.declared
        guard declared != nodes[observer].declared else { return }
        nodes[observer].declared = declared
        for peer in nodes[observer].core.membership.away {
            let subject = index(of: peer)
            onDeclaration?(observer, subject)
            guard isHealthy(observer), isHealthy(subject), !wasCut(observer, subject) else { continue }
            violate("F", "host\(observer + 1) declares host\(subject + 1) down, which is well")
        }
    }

    func isHealthy(_ index: Int) -> Bool {
        nodes[index].isUp && nodes[index].stalledUntil == nil && now - nodes[index].trouble > Self.leniency
            && network.ingressLoss[index, default: 0] < 0.5
    }

    /// True if the way to a node is cut, in either direction, or was so a moment ago, or it does not know the other one.
    private func wasCut(_ a: Int, _ b: Int) -> Bool {
        nodes[b].core.catalogue.members[nodeID(a)] == nil
            || [VirtualNetwork.Link(a, b), .init(b, a)].contains { faults.trouble(of: $0).map { now < $0 + Self.leniency } == true }
    }

    // MARK: C, N and L

    private var invariants: Invariants { Invariants(nodes: nodes) }

    /// First difference between a running node's kernel or names and the live endpoints; nil if there is none.
    public func difference() -> String? { invariants.difference() }

    /// Checks U, N and L in the catalogues of all running nodes.
    public func checkCatalogues() { invariants.checkCatalogues { violate($0, $1) } }

    /// Lets time pass until all kernels are right; records a violation of `letter` if that takes longer than the limit.
    ///
    /// - Returns: The time that it took.
    @discardableResult
    public func expectConvergence(within limit: Interval, letter: String = "C", _ context: String = "") -> Interval {
        let start = now
        if !run(atMost: limit, step: .milliseconds(5), until: { difference() == nil }) {
            violate(letter, "\(context) after \(limit.nanoseconds / 1_000_000) ms: \(difference() ?? "")")
        }
        return now - start
    }

    // MARK: Views

    /// True if the nodes have the same view of who is reachable.
    public func agree(_ indices: some Collection<Int>) -> Bool {
        guard let first = indices.first else { return true }
        return indices.allSatisfy { nodes[$0].core.membership.view == nodes[first].core.membership.view }
    }
}

/// Invariants C, U, N and L, checked over the nodes of a world as they are at one moment.
struct Invariants {
    let nodes: [VirtualHost]

    private func nodeID(_ index: Int) -> NodeID { nodes[index].core.identity.id }

    // MARK: C

    /// Compares the kernels and names of all running nodes with the live endpoints.
    ///
    /// - Returns: The first difference; nil if there is none.
    func difference() -> String? {
        let up = nodes.indices.filter { nodes[$0].isUp && nodes[$0].core.catalogue.cluster != nil }
        guard let newest = up.map({ nodes[$0].core.catalogue.position }).max() else { return nil }
        for index in up where nodes[index].core.catalogue.position != newest {
            let position = nodes[index].core.catalogue.position
            return "host\(index + 1) is at catalogue index \(position.index) of term \(position.term.number), not at "
                + "\(newest.index) of \(newest.term.number)"
        }
        // Live endpoints by network, with their host.
        var live: [VNI: [(host: Int, records: [LocalRecord])]] = [:]
        // An endpoint whose network is not in the kernel was created but never joined, so nobody forwards to it.
        for index in up {
            for (vni, records) in Dictionary(grouping: nodes[index].core.localRecords, by: \.vni)
            where nodes[index].kernel.state.networks[vni] != nil {
                live[vni, default: []].append((index, records))
            }
        }
        let told = announcedNames(by: up)
        let claimed = ClaimedThings(of: nodes, among: up)
        if let text = claimed.conflict() { return text }
        for index in up {
            if let text = nameDifference(index, among: up, told) { return text }
            for (vni, state) in nodes[index].kernel.state.networks.sorted(by: { $0.key < $1.key }) {
                if let text = difference(index, vni, state, live[vni] ?? [], claimed) { return text }
                if let text = localDifference(index, vni, state, claimed) { return text }
            }
            for (vni, hosts) in live where hosts.contains(where: { $0.host == index }) {
                if nodes[index].kernel.state.networks[vni] == nil { return "host\(index + 1) has no network \(vni) in its kernel" }
            }
        }
        return nil
    }

    private struct AnnouncedNames {
        var byHost: [Int: [String: [IPAddress]]] = [:]
        var all: [String: [IPAddress]] = [:]
    }

    /// Names of the running nodes' containers, by network.
    private func announcedNames(by up: [Int]) -> [VNI: AnnouncedNames] {
        var told: [VNI: AnnouncedNames] = [:]
        for index in up {
            for record in nodes[index].core.localRecords {
                for name in record.names {
                    told[record.vni, default: AnnouncedNames()].byHost[index, default: [:]][name, default: []] += record.addresses
                    told[record.vni, default: AnnouncedNames()].all[name, default: []] += record.addresses
                }
            }
        }
        return told.mapValues { one in
            AnnouncedNames(byHost: one.byHost, all: one.all.mapValues { $0.sorted() })
        }
    }

    /// Compares a node's names with those of the containers of all nodes that it thinks reachable.
    private func nameDifference(_ index: Int, among up: [Int], _ told: [VNI: AnnouncedNames]) -> String? {
        let engine = nodes[index].core
        let away = up.filter { $0 != index && engine.state(of: nodeID($0)) == .unreachable }
        for (id, table) in engine.nameTables.sorted(by: { $0.key < $1.key }) {
            let all = engine.catalogue.networks[id].flatMap { told[$0.vni] } ?? AnnouncedNames()
            var names = all.all
            if !away.isEmpty {
                names = [:]
                for (host, own) in all.byHost where !away.contains(host) { names.merge(own) { $0 + $1 } }
                names = names.mapValues { $0.sorted() }
            }
            // Others may still announce names of a node that is down.
            let known = up.count == nodes.count ? table.all : table.all.filter { names[$0.key] != nil }
            guard known == names else {
                let missing = names.filter { known[$0.key] != $0.value }.keys.sorted()
                let extra = known.filter { names[$0.key] != $0.value }.keys.sorted()
                return "host\(index + 1), names of \(id.short): missing \(missing.prefix(3)), too many \(extra.prefix(3))"
            }
        }
        return nil
    }

    private func difference(
        _ index: Int, _ vni: VNI, _ state: NetworkState, _ live: [(host: Int, records: [LocalRecord])],
        _ claimed: ClaimedThings
    ) -> String? {
        var forwarding: [MACAddress: IPAddress] = [:]
        var neighbours: [IPAddress: MACAddress] = [:]
        var flood: Set<IPAddress> = []
        for (host, records) in live where host != index {
            flood.insert(nodes[host].vtep)
            for record in records {
                forwarding[record.mac] = nodes[host].vtep
                for address in record.addresses { neighbours[address] = record.mac }
            }
        }
        for (mac, places) in claimed.macs[vni] ?? [:] {
            for place in places where place.host != index { forwarding[mac] = nodes[place.host].vtep }
        }
        let own = Set(live.filter { $0.host == index }.flatMap { $0.records.flatMap(\.addresses) })
        for (address, places) in claimed.addresses[vni] ?? [:] where !own.contains(address) {
            for place in places { neighbours[address] = place.mac }
        }
        var seen: [MACAddress: IPAddress] = [:]
        for case (let mac, .vtep(let vtep)) in state.forwarding { seen[mac] = vtep }
        guard seen == forwarding else {
            let missing = forwarding.filter { seen[$0.key] != $0.value }.map { "\($0.key) at \($0.value)" }.sorted()
            let extra = seen.filter { forwarding[$0.key] != $0.value }.map { "\($0.key) at \($0.value)" }.sorted()
            return "host\(index + 1), VNI \(vni): rows missing \(missing.prefix(3)), too many \(extra.prefix(3))"
        }
        let known = state.neighbours.filter { !own.contains($0.key) }
        guard known == neighbours else {
            let wrong = Set(known.keys).union(neighbours.keys).filter { known[$0] != neighbours[$0] }.sorted()
            return "host\(index + 1), VNI \(vni): \(known.count) neighbours, not \(neighbours.count): \(wrong.prefix(3))"
        }
        guard state.flood == flood else {
            return "host\(index + 1), VNI \(vni): floods to \(state.flood.sorted()), not \(flood.sorted())"
        }
        return nil
    }

    /// Compares the rows of what local endpoints claim.
    private func localDifference(_ index: Int, _ vni: VNI, _ state: NetworkState, _ claimed: ClaimedThings) -> String? {
        for (mac, places) in claimed.macs[vni] ?? [:] {
            for place in places where place.host == index {
                guard state.forwarding[mac] == .port(KernelName.port(place.endpoint)) else {
                    return "host\(index + 1), VNI \(vni): claimed \(mac) is not at its port"
                }
            }
        }
        for (address, places) in claimed.addresses[vni] ?? [:] {
            for place in places where place.host == index && state.neighbours[address] != place.mac {
                return "host\(index + 1), VNI \(vni): claimed \(address) is not at \(place.mac)"
            }
        }
        let ports = Set(state.ports.map(\.value.mac))
        for case (let mac, .port(let name)) in state.forwarding where !ports.contains(mac) {
            let places = claimed.macs[vni]?[mac] ?? []
            guard places.contains(where: { $0.host == index && KernelName.port($0.endpoint) == name }) else {
                return "host\(index + 1), VNI \(vni): nobody claims \(mac), which is at \(name)"
            }
        }
        return nil
    }

    // MARK: N and L

    /// Checks that names, VNIs and subnets are unique in every catalogue (N), that no address has two owners (U), and that two
    /// nodes know the same at one index of one writer's term (L).
    ///
    /// - Parameter violate: Called with the letter of each broken invariant, and what broke it.
    func checkCatalogues(_ violate: (_ letter: String, _ text: String) -> Void) {
        var byPosition: [CataloguePosition: (host: Int, catalogue: Catalogue)] = [:]
        for index in nodes.indices where nodes[index].isUp {
            let catalogue = nodes[index].core.catalogue
            if let other = byPosition[catalogue.position] {
                if other.catalogue != catalogue {
                    violate("L", "host\(index + 1) and host\(other.host + 1) know different things at index \(catalogue.index)")
                }
                continue
            }
            byPosition[catalogue.position] = (index, catalogue)
            let networks = catalogue.networks.values
            let names = networks.compactMap(\.name)
            if Set(names).count != names.count { violate("N", "host\(index + 1): a name is given twice: \(names.sorted())") }
            if Set(networks.map(\.vni)).count != networks.count { violate("N", "host\(index + 1): a VNI is given twice") }
            let subnets = networks.filter { !$0.isRemoved }.flatMap(\.subnets).sorted { $0.prefix.first < $1.prefix.first }
            for (one, next) in zip(subnets, subnets.dropFirst()) where one.prefix.overlaps(next.prefix) {
                violate("N", "host\(index + 1): subnets \(one.prefix) and \(next.prefix) overlap")
            }
            for subnet in networks.flatMap(\.subnets) {
                for (one, next) in zip(subnet.blocks, subnet.blocks.dropFirst()) where one.range.last >= next.range.first {
                    violate("U", "host\(index + 1): blocks \(one.range) and \(next.range) overlap")
                }
            }
        }
    }
}
