import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Follow-up of what changes on the host under a running daemon: its addresses, the MTU of its link, and who else has its name. Owns
/// nothing.
enum HostFollower {
    // MARK: Events

    /// Reads the host's addresses.
    static func look(_ node: inout Node) {
        let identity = node.identity
        node.surroundings.own.read(mayChoose: identity.choosesAddress || identity.choosesVTEP, into: &node.outbox)
    }

    /// Follows the host's addresses.
    static func wasRead(_ node: inout Node, _ id: EffectID, _ view: HostView?) {
        let old = node.identity
        guard node.surroundings.own.wereRead(id, view, address: old.address, vtep: old.vtep, into: &node.outbox), let view else {
            return
        }
        var new = old
        if let choice = view.choice {
            // Members of one cluster have addresses of one family.
            if old.choosesAddress, view.mtus[old.address] == nil, choice.family == old.address.family { new.address = choice }
            if old.choosesVTEP, view.mtus[old.vtep] == nil, choice.family == old.vtep.family { new.vtep = choice }
        }
        if let mtu = view.mtus[new.vtep] { new.underlayMTU = mtu }
        if new != old { Self.follow(&node, new) }
        // A refused entry is proposed again once a minute.
        if Self.isElsewhere(node), new != old || node.surroundings.own.refusal == nil { CatalogueFollower.proposeOwnChange(&node) }
    }

    /// Takes over other addresses, or another MTU: others are told at once, and the kernel follows.
    private static func follow(_ node: inout Node, _ new: NodeIdentity) {
        node.outbox.log(
            .warning, "the host's address or MTU changed, and this node follows",
            [
                LogKey.address: "\(new.address)", LogKey.dataPath: "\(new.vtep)", LogKey.underlayMTU: "\(new.underlayMTU)",
            ])
        if new.address != node.identity.address || new.vtep != node.identity.vtep { node.surroundings.own.moved() }
        node.identity = new
        guard node.isReady else { return }
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id }) where node.forwarding.isUp(network.vni) {
            guard let attachment = Attachment(vtep: new.vtep, mtu: KernelFollower.base(node, of: network).mtu) else { continue }
            node.withReplication { [now = node.now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        node.forwarding.repair(into: &node.outbox)
    }

    /// Takes the outcome of the proposal of this node's own entry.
    static func settled(_ node: inout Node, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)):
            if node.surroundings.own.refusal != refusal.message {
                node.outbox.log(
                    .error, "the cluster does not accept this host's new address or name", [LogKey.reason: refusal.message])
            }
            node.surroundings.own.refusal = refusal.message
        case .decided: node.surroundings.own.refusal = nil
        // Nobody reaches this node at its old address, so it asks again soon.
        default: if Self.isElsewhere(node) { node.outbox.timers.set(.host, noLaterThan: node.now + OwnAddresses.settling) }
        }
    }

    /// True if others look for this node where it is not any more.
    static func isElsewhere(_ node: Node) -> Bool {
        guard let known = node.catalogue.members[node.identity.id] else { return false }
        return known.address != node.identity.address || known.vtep != node.identity.vtep
    }

    /// This node's entry as it is to be proposed. A name that another member has is refused, and with it all else, so what else has
    /// changed goes first, under the name of before.
    static func entry(_ node: Node, instead known: Member) -> Member {
        var member = node.member
        guard Self.holder(node, of: member.name) != nil else { return member }
        member.name = known.name
        return member == known ? node.member : member
    }

    /// Other member that has a name.
    private static func holder(_ node: Node, of name: String) -> Member? {
        node.catalogue.members.values.first { $0.id != node.identity.id && $0.name == name }
    }

    /// Takes note of a member that wanted to be called like this node.
    static func refused(_ node: inout Node, _ member: Member) {
        let id = node.identity.id
        guard member.id != id, node.catalogue.members[member.id] != nil, node.catalogue.members[id]?.name == member.name else {
            return
        }
        node.surroundings.own.meet(namesakeAt: member.address, at: node.now)
    }

    // MARK: MTU

    /// Least MTU that a network can do with: IPv6 ends below 1280 bytes (RFC 8200 §5), and the kernel takes its addresses away.
    static func leastMTU(of network: Network) -> UInt32 {
        network.subnets.contains { $0.prefix.family == .v6 } ? 1280 : 68
    }

    /// Lets ports, and the interfaces at their other ends, follow the MTU of their networks.
    static func followMTUs(_ node: inout Node, of endpoints: [LocalEndpoint], _ state: ObservedState) {
        var misfits: [EndpointID: UInt32] = [:]
        for endpoint in endpoints where endpoint.hasPort {
            guard let vni = node.catalogue.networks[endpoint.network]?.vni, let base = node.forwarding.base(of: vni),
                let mtu = state.portMTUs[vni]?[KernelName.port(endpoint.id)], mtu != base.mtu
            else { continue }
            misfits[endpoint.id] = mtu
            // By itself: what cannot follow stops no other.
            node.outbox.apply([
                .setPortMTU(vni, name: KernelName.port(endpoint.id), sandbox: endpoint.sandbox, from: mtu, to: base.mtu)
            ])
        }
        node.forwarding.setMisfits(misfits, among: Set(endpoints.map(\.id)), into: &node.outbox)
    }

    // MARK: Reports

    /// Sentences about what does not fit on this host.
    static func problems(_ node: Node) -> [String] {
        Self.addressProblems(node) + Self.nameProblems(node) + Self.mtuProblems(node)
    }

    private static func addressProblems(_ node: Node) -> [String] {
        let own = node.surroundings.own
        let identity = node.identity
        func text(_ what: String, _ address: IPAddress, _ since: Instant, isChosen: Bool, flag: String, effect: String) -> String? {
            guard node.now - since >= OwnAddresses.settling else { return nil }
            let way =
                isChosen
                ? "no other address can be chosen: give the host one, or start the daemon with \(flag)"
                : "give it back to a link, or start the daemon with another \(flag)"
            return "my address is gone: no link of this host has \(address) any more, \(what), so \(effect); \(way)"
        }
        var problems: [String?] = []
        if let since = own.addressGoneAt {
            problems.append(
                text(
                    "at which other nodes look for this one", identity.address, since, isChosen: identity.choosesAddress,
                    flag: "--advertise-addr", effect: "nobody hears of changes here"))
        }
        if let since = own.vtepGoneAt {
            problems.append(
                text(
                    "the tunnel address", identity.vtep, since, isChosen: identity.choosesVTEP, flag: "--data-path-addr",
                    effect: "containers here reach no other host"))
        }
        return problems.compactMap { $0 }
    }

    private static func nameProblems(_ node: Node) -> [String] {
        let own = node.surroundings.own
        var problems: [String] = []
        let known = node.catalogue.members[node.identity.id]
        if let known, let other = Self.holder(node, of: node.identity.name) {
            problems.append(
                "the name \(other.name) is taken by node \(other.id.short) at \(other.address), and this host has it, too: the "
                    + "cluster goes on to know this one as \(known.name); give it another hostname, and start its daemon anew")
        } else if let refusal = own.refusal, known != node.member {
            problems.append("the cluster does not accept this host's new address or name: \(refusal)")
        }
        if let namesake = own.namesake, node.now - namesake.at < OwnAddresses.namesakeAge {
            problems.append(
                "the host at \(namesake.address) is called \(node.identity.name), like this one, and is a member under another name; give "
                    + "one of the two another host name, and start its daemon anew")
        }
        return problems
    }

    private static func mtuProblems(_ node: Node) -> [String] {
        let fitting = node.identity.fittingMTU
        let link =
            "the link of \(node.identity.vtep) carries \(node.identity.underlayMTU) bytes, which leaves \(fitting) to containers"
        var problems: [String] = []
        for network in node.catalogue.networks.values.sorted(by: { ($0.title, $0.id) < ($1.title, $1.id) }) {
            guard let base = node.forwarding.base(of: network.vni) else { continue }
            if base.mtu > fitting {
                let why = network.settings?.mtu == nil ? "needs" : "was made with"
                problems.append(
                    "network \(network.title) \(why) an MTU of \(base.mtu), and \(link): larger packets are lost; raise the link's MTU, or "
                        + "make the network anew with a smaller -o \(OptionName.mtu)")
            }
            for endpoint in node.inventory.endpoints(on: network.id) {
                guard let mtu = node.forwarding.misfits[endpoint.id] else { continue }
                problems.append(
                    "the interface of endpoint \(endpoint.id.short) on network \(network.title) has an MTU of \(mtu) and not \(base.mtu), "
                        + "as \(link); restart its container")
            }
        }
        return problems
    }
}
