import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Decision which network of the cluster a network of this engine means, and whether endpoints are let on it. The name says so, and
/// the engine tells it only after the network was made. Owns nothing.
enum Admissions {
    /// Time that CreateEndpoint waits for the name of its network.
    static let patience = Interval.seconds(3)
    /// Pause until the name of a network that other hosts may be on is proposed again.
    private static let pause = Interval.milliseconds(50)

    // MARK: Creates

    /// Admission of a network that is made now.
    ///
    /// - Parameter isNamed: True if `--ipam-opt net=` named it.
    static func first(_ node: Node, of network: Network, named isNamed: Bool) -> Admission {
        isNamed || !node.mirror.mirrors ? .open : .undecided
    }

    /// Throws if a subnet that is asked for without a name is surely that of another network: one that is on this engine has
    /// another name, as engines have no name twice.
    static func checkSubnet(_ node: inout Node, of call: RequestPool) throws(DriverError) {
        guard node.mirror.mirrors, call.networkName == nil, let pool = call.pool,
            Mirroring.networkBeingMade(node, with: pool) == nil,
            let network = node.catalogue.networks.values.first(where: {
                !$0.isRemoved && $0.subnets.contains { $0.prefix == pool }
            })
        else { return }
        if let local = node.inventory.network(of: network.id) {
            throw DriverError(
                .conflict,
                "subnet \(pool) is that of network \(local.name ?? network.title), which is on this host already; give another "
                    + "--subnet, or use that network")
        }
        guard case .none = node.mirror.state, network.users.contains(where: { $0 != node.identity.id }) else { return }
        _ = CatalogueFollower.close(&node, network.subnets.map(\.id).filter { !node.inventory.isBound($0) })
        throw DriverError(
            .conflict,
            "subnet \(pool) is that of network \(network.title) on \(Self.hosts(node, network)), and without a link to the engine "
                + "(--engine none) the name of the network that is made here cannot be known; \(Self.advice(network)) if that one is "
                + "meant, or give another --subnet")
    }

    /// Checks whether an endpoint is let on a network.
    ///
    /// - Returns: The step by which the call waits for the name; nil where the endpoint is let on.
    static func check(_ node: inout Node, _ local: LocalNetwork, _ network: Network, _ id: RequestID) throws(DriverError) -> Step? {
        if let refusal = Self.refusal(node, local) { throw refusal }
        guard local.admission == .undecided else { return nil }
        if node.mirror.conflicts[local.id] != nil {
            throw DriverError(
                .conflict,
                "network \(local.name ?? local.id.short) of this engine gives way to the cluster's network of that name; start the "
                    + "container again in a moment")
        }
        if node.mirror.isConnected, let deadline = node.requests[id]?.deadline {
            let end = Instant(nanoseconds: deadline.nanoseconds - Requests.budget.nanoseconds + Self.patience.nanoseconds)
            if node.now < end {
                node.requests.resetRounds(id)
                node.requests.wait(id, for: .admission(local.id))
                node.outbox.timers.set(.admission, noLaterThan: end)
                if local.name == nil { EngineNews.callEngine(&node, .network(local.id)) } else { Mirroring.mirrorSoon(&node) }
                return .wait
            }
        }
        guard Self.isAlone(node, network), local.name.map({ node.catalogue.network(named: $0) == nil }) ?? true else {
            throw DriverError(.unavailable, Self.undecidedText(node, local, network))
        }
        Self.open(&node, local)
        return nil
    }

    /// True if nothing speaks against the network being of this host alone.
    private static func isAlone(_ node: Node, _ network: Network) -> Bool {
        network.name == nil && network.description == nil && network.users.isSubset(of: [node.identity.id])
    }

    // MARK: Decisions

    /// Decides about a network of the engine whose name is known.
    ///
    /// - Returns: False where it is none of the cluster's.
    static func decide(_ node: inout Node, _ local: LocalNetwork, _ shown: EngineNetwork, _ network: Network) -> Bool {
        guard local.admission != .foreign else { return false }
        if local.admission == .undecided, !network.isRemoved, network.name != nil || network.description != nil {
            guard network.name == shown.name || network.description?.name == shown.name else {
                Self.makeForeign(&node, local, network)
                return false
            }
            Self.open(&node, local)
            return true
        }
        let other = node.catalogue.network(named: shown.name).flatMap { $0.id == network.id ? nil : $0 }
        guard let other, network.description == nil, !network.isRemoved else {
            // The network that had the same name may be gone.
            node.mirror.setConflict(nil, of: local.id)
            if local.admission == .different { Self.set(&node, .undecided, of: local) }
            return true
        }
        // The other one is being removed from here, and a user who makes one of its name anew says what was meant.
        if node.closings.holds[other.id] != nil || other.subnets.contains(where: { node.closings.isRemoval($0.id) }) {
            NetworkRemovals.hurry(&node, other.id)
            return false
        }
        guard other.settings != nil else { return true }
        guard Self.differences(node, network, other).isEmpty else {
            if local.admission != .different {
                Self.log(&node, "the cluster has a network of this name with other options; no endpoint is let on this one", local)
                node.mirror.setConflict(nil, of: local.id)
                Self.set(&node, .different, of: local)
            }
            return true
        }
        guard node.mirror.conflicts[local.id] == nil else { return true }
        if Adoptions.begin(&node, local, of: other) { return false }
        if local.admission == .different { Self.set(&node, .undecided, of: local) }
        Self.log(&node, "a network has the name of another one", local)
        node.mirror.setConflict(
            "the cluster has another network \(shown.name), \(other.subnets.map { "\($0.prefix)" }.joined(separator: ", "))",
            of: local.id)
        // A user who creates a network of this name here wants the cluster's network of that name.
        Mirroring.wantNetwork(&node, other)
        Self.wake(&node, local.id)
        return true
    }

    /// True if the name of a network may be proposed. Another host that has made a network of the same subnet may be faster, and
    /// one whose name nobody knows may have containers on it.
    static func mayDescribe(_ node: inout Node, _ local: LocalNetwork, _ network: Network) -> Bool {
        guard local.admission == .undecided, !network.users.isSubset(of: [node.identity.id]),
            !Mirroring.possibleUsers(node, of: network).isEmpty
        else { return true }
        let isWaitedFor = !node.requests.waiting { if case .admission(local.id) = $0 { true } else { false } }.isEmpty
        node.outbox.timers.set(.mirror, noLaterThan: node.now + (isWaitedFor ? Self.pause : Mirror.retryPause))
        return false
    }

    private static func open(_ node: inout Node, _ local: LocalNetwork) {
        if let network = node.catalogue.networks[local.network] { Mirroring.wantNetwork(&node, network) }
        Self.set(&node, .open, of: local)
    }

    /// Takes a network that has the subnet of another one out of the cluster.
    private static func makeForeign(_ node: inout Node, _ local: LocalNetwork, _ network: Network) {
        Self.log(&node, "a network has the subnet of another one; no endpoint is let on it", local)
        let rows = [node.inventory.setAdmission(.foreign, of: local.id)].compactMap { $0 }
        if node.inventory.hasEndpoints(of: local.id) {
            node.outbox.store(rows, for: [.network(local.id)])
        } else {
            _ = CatalogueFollower.close(
                &node, local.subnets.filter { !node.inventory.isBound($0) }, with: rows, for: [.network(local.id)])
        }
        Self.wake(&node, local.id)
    }

    private static func set(_ node: inout Node, _ admission: Admission, of local: LocalNetwork) {
        if let row = node.inventory.setAdmission(admission, of: local.id) { node.outbox.store([row], for: [.network(local.id)]) }
        Self.wake(&node, local.id)
    }

    private static func log(_ node: inout Node, _ message: StaticString, _ local: LocalNetwork) {
        node.outbox.log(.warning, "\(message)", [LogKey.network: local.name ?? local.id.short])
    }

    // MARK: Calls that wait

    /// Goes on with the calls that wait for the decision about a network.
    static func wake(_ node: inout Node, _ id: EngineNetworkID) {
        for request in node.requests.waiting(where: { if case .admission(id) = $0 { true } else { false } }) {
            node.perform(request)
        }
    }

    /// Goes on with all calls that wait for such a decision.
    static func wakeAll(_ node: inout Node) {
        for request in node.requests.waiting(where: { if case .admission = $0 { true } else { false } }) { node.perform(request) }
    }

    // MARK: Words

    /// Options of two networks that differ, in words.
    private static func differences(_ node: Node, _ own: Network, _ other: Network) -> [String] {
        guard let asked = own.settings, let known = other.settings else { return [] }
        let (here, there) = (own.hasIPv6, other.hasIPv6)
        let families = here == there ? [] : ["--ipv6 is given \(there ? "there and not here" : "here and not there")"]
        return known.differences(to: asked) + families
    }

    private static func hosts(_ node: Node, _ network: Network) -> String {
        node.catalogue.hosts(of: network, except: node.identity.id)
    }

    /// Option by which a create means a network.
    private static func advice(_ network: Network) -> String {
        (network.name ?? network.description?.name).map { "give --ipam-opt net=\($0)" }
            ?? "give --ipam-opt net=NAME on every host"
    }

    /// Reason why no endpoint is let on a network for good, with the ways out; nil where that is not so.
    static func refusal(_ node: Node, _ local: LocalNetwork) -> DriverError? {
        let name = local.name ?? local.id.short
        switch local.admission {
        case .open, .undecided: return nil
        case .foreign:
            guard let network = node.catalogue.networks[local.network], !network.isRemoved else {
                return DriverError(
                    .conflict,
                    "no container is let on network \(name) (\(local.id.short)) of this host: its subnet was that of another network; "
                        + "`docker network rm \(name)`, and create it again")
            }
            let subnets = network.subnets.map { "\($0.prefix)" }.joined(separator: ", ")
            return DriverError(
                .conflict,
                "no container is let on network \(name) (\(local.id.short)) of this host: its subnet is that of network "
                    + "\(network.title) on \(Self.hosts(node, network)), \(subnets); `docker network rm \(name)`, and create it with "
                    + "another --subnet, or \(Self.advice(network)) to join that network")
        case .different:
            guard let own = node.catalogue.networks[local.network], let other = node.catalogue.network(named: name),
                other.id != own.id
            else { return nil }
            let hosts = Self.hosts(node, other)
            return DriverError(
                .conflict,
                "no container is let on network \(name) (\(local.id.short)) of this host: network \(name) is on \(hosts) with other "
                    + "options: \(Self.differences(node, own, other).joined(separator: "; ")); either `docker network rm \(name)` here, "
                    + "and `swift-overlay network create \(name)` brings that one, or remove that one and its containers on \(hosts), "
                    + "and this one takes its place")
        }
    }

    /// Reason why no address is given out from a subnet: that of the network of this engine that has it.
    static func refusal(_ node: Node, of subnet: SubnetID) -> DriverError? {
        node.inventory.allNetworks.lazy.filter { $0.subnets.contains(subnet) }.compactMap { Self.refusal(node, $0) }.first
    }

    private static func undecidedText(_ node: Node, _ local: LocalNetwork, _ network: Network) -> String {
        "no container is let on network \(local.name ?? local.id.short) (\(local.id.short)) of this host yet: it has the subnet of "
            + "network \(network.title) on \(Self.hosts(node, network)), and whether that one is meant is not known before the engine's "
            + "API and the cluster have told its name; try again, or create it anew and \(Self.advice(network))"
    }

    /// Sentences about networks of this engine that no endpoint is let on.
    static func problems(_ node: Node) -> [String] {
        node.inventory.allNetworks.compactMap { local in
            if let refusal = Self.refusal(node, local) { return refusal.message }
            guard local.admission == .undecided, !node.mirror.isConnected, let network = node.catalogue.networks[local.network],
                !network.isRemoved, !Self.isAlone(node, network)
            else { return nil }
            return Self.undecidedText(node, local, network)
        }
    }
}

extension Network {
    fileprivate var hasIPv6: Bool { subnets.contains { $0.prefix.family == .v6 } }
}
