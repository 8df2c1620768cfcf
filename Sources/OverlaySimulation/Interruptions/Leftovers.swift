import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayNode

/// State of daemons, their disks and their kernels, compared with what the engines have: nothing may be left over, and nothing lost.
///
/// Engines are the truth. A host outside of a cluster must have nothing at all.
struct Leftovers {
    private let world: World
    /// True if a problem in a node's status is a difference.
    private let hearsProblems: Bool

    init(in world: World, hearsProblems: Bool = true) {
        self.world = world
        self.hearsProblems = hearsProblems
    }

    /// The first difference; nil if there is none.
    var first: String? {
        for index in world.nodes.indices where world.nodes[index].isUp {
            if let text = world.nodes[index].core.catalogue.cluster == nil ? outside(index) : inside(index) {
                return "host\(index + 1) \(text)"
            }
        }
        return catalogueDifference ?? doubleAddress
    }

    private func rows(_ index: Int, _ space: StoreSpace) -> StoredSpace { world.nodes[index].rows[space] ?? [:] }

    private typealias StoredSpace = [[UInt8]: [UInt8]]

    // MARK: Hosts

    /// Spaces of the store that a host outside of a cluster has nothing in.
    private static let spaces: [StoreSpace] = [
        .network, .endpoint, .lease, .closing, .handover, .quarantine, .declined, .claim,
    ]

    private func outside(_ index: Int) -> String? {
        for space in Self.spaces where !rows(index, space).isEmpty {
            return "is in no cluster, and has \(rows(index, space).count) rows of \(space.rawValue)"
        }
        let host = world.nodes[index]
        if !host.kernel.state.networks.isEmpty { return "is in no cluster, and has networks in its kernel" }
        if !host.ears.isEmpty { return "is in no cluster, and listens at \(host.ears.count) ports" }
        return nil
    }

    private func inside(_ index: Int) -> String? {
        let host = world.nodes[index]
        let engine = world.docker.engines[index] ?? VirtualEngine()
        let endpoints = engine.attached.mapValues(\.attached)
        let ids = Set(endpoints.keys)
        func check(_ seen: Set<EndpointID>, _ place: String) -> String? {
            if let lost = ids.subtracting(seen).min() { return "has lost endpoint \(lost.short) in its \(place)" }
            return seen.subtracting(ids).min().map { "has endpoint \($0.short) in its \(place), which no container has" }
        }
        let ports = Set(host.kernel.state.networks.values.flatMap { $0.ports.map(\.key) })
        let joined = engine.attached.values.filter(\.isJoined)
        let wanted = Set(joined.map { KernelName.port($0.attached.endpoint) })
        if let lost = wanted.subtracting(ports).min() { return "has lost port \(lost) in its kernel" }
        if let left = ports.subtracting(wanted).min() { return "has port \(left) in its kernel, which no container has" }
        if let text = check(Set(rows(index, .endpoint).keys.compactMap { try? EndpointID(wire: $0) }), "store")
            ?? check(Set(host.core.localRecords.map(\.endpoint)), "records")
        {
            return text
        }
        return leaseDifference(index, Array(endpoints.values)) ?? networkDifference(index, engine)
            ?? sandboxDifference(index, Array(joined))
    }

    private func leaseDifference(_ index: Int, _ attached: [World.Attached]) -> String? {
        let leases = Set(rows(index, .lease).values.compactMap { try? Lease(wire: $0) })
        let wanted = Set(attached.map { Lease(subnet: $0.pool, address: $0.address, mac: $0.mac) })
        if let lost = wanted.subtracting(leases).first { return "has lost the lease of \(lost.address)" }
        if let left = leases.subtracting(wanted).first { return "has leased \(left.address), which no container has" }
        guard case .status(let status) = ask(index, .status) else { return "does not answer" }
        if status.leases != wanted.count { return "counts \(status.leases) leases, not \(wanted.count)" }
        if status.endpoints != wanted.count { return "counts \(status.endpoints) endpoints, not \(wanted.count)" }
        return status.problems.first { _ in hearsProblems }.map { "has a problem: \($0)" }
    }

    private func networkDifference(_ index: Int, _ engine: VirtualEngine) -> String? {
        let known = Set(rows(index, .network).keys.compactMap { try? EngineNetworkID(wire: $0) })
        let wanted = Set(engine.networks.keys)
        if let lost = wanted.subtracting(known).min() { return "has lost network \(lost.short)" }
        if let left = known.subtracting(wanted).min() { return "has network \(left.short), which its engine has not" }
        let host = world.nodes[index]
        let isHere = Set(engine.networks.values.map(\.name))
        for network in host.core.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            guard let name = network.description?.name, !network.isRemoved, rows(index, .declined)[network.id.wireBytes] == nil,
                !isHere.contains(name)
            else { continue }
            return "has not made network \(name) of other hosts"
        }
        if let idle = host.kernel.state.networks.first(where: { $0.value.ports.isEmpty }) {
            return "has network \(idle.key) in its kernel without a port"
        }
        let pools = Set(engine.pools.filter { engine.networks[$0.key] != nil }.values)
        for network in host.core.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            for subnet in network.subnets where subnet.users.contains(world.nodeID(index)) && !pools.contains(subnet.id) {
                return "uses pool \(subnet.prefix) of \(network.title), which none of its engine's networks has"
            }
        }
        for space in [StoreSpace.closing, .handover] where !rows(index, space).isEmpty {
            return "has \(rows(index, space).count) rows of \(space.rawValue)"
        }
        return nil
    }

    private func sandboxDifference(_ index: Int, _ joined: [EngineAttachment]) -> String? {
        let host = world.nodes[index]
        let paths = Set(joined.map(\.sandbox))
        // The gateway's address answers, too, in the namespace of a network that is in the kernel.
        let gateways = host.kernel.state.networks.keys.map { "/run/netns/swov-\($0)" }
        if let left = Set(host.core.sandboxScopes.keys).subtracting(paths).subtracting(gateways).min() {
            return "answers questions at \(left), which is gone"
        }
        if let lost = paths.subtracting(host.core.sandboxScopes.keys).min() { return "answers no questions at \(lost)" }
        let left = Set(host.ears.keys).subtracting(joined.map(\.attached.endpoint)).min()
        return left.map { "listens at the port of endpoint \($0.short), which no container has" }
    }

    private func ask(_ index: Int, _ request: ControlRequest) -> ControlResponse? {
        var core = world.nodes[index].core
        let id = RequestID(UInt64.max)
        for case .answer(id, let response) in core.handle(.control(id, request), at: world.nodes[index].clock.read(world.now)) {
            return response
        }
        return nil
    }

    // MARK: The cluster

    private var catalogueDifference: String? {
        for index in world.nodes.indices where world.nodes[index].isUp {
            let catalogue = world.nodes[index].core.catalogue
            guard catalogue.cluster != nil else { continue }
            for network in catalogue.networks.values where network.users.isEmpty {
                return "host\(index + 1) knows of network \(network.title), which is nowhere"
            }
        }
        return nil
    }

    /// Checks U: no address of a network is on two containers.
    private var doubleAddress: String? {
        var seen: Set<String> = []
        for (index, engine) in world.docker.engines {
            for attached in engine.attached.values.map(\.attached) {
                let name = engine.networks[attached.network]?.name ?? "\(index)"
                if !seen.insert("\(name) \(attached.address)").inserted { return "\(attached.address) is twice on \(name)" }
            }
        }
        return nil
    }
}
