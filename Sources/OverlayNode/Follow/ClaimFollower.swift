import OverlayCatalogue
import OverlayDatapath
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// Follow-up for claims: addresses and MACs that belong to the endpoint that announced them last, wherever it is. Owns nothing.
///
/// A claim has a number above those that its owner knew for the same thing, so the last one counts on all nodes, and its former
/// holder withdraws. What an endpoint has by lease is nobody else's, whoever announces it.
enum ClaimFollower {
    // MARK: Hearing

    /// Greatest number of frames of a port that are looked at together.
    private static let framesAtOnce = 64

    /// Handles what was heard at the port of an endpoint of this host.
    static func heard(_ node: inout Node, _ id: EndpointID, _ all: [Heard]) {
        for heard in all.prefix(Self.framesAtOnce) {
            guard let endpoint = node.inventory.endpoint(id), let network = Self.network(node, listenedAt: endpoint) else { return }
            Self.take(&node, .mac(heard.source), heard.source, for: endpoint, on: network)
            guard let claim = heard.claim else { continue }
            if claim.mac != heard.source { Self.take(&node, .mac(claim.mac), claim.mac, for: endpoint, on: network) }
            Self.take(&node, .address(claim.address), claim.mac, for: endpoint, on: network)
        }
    }

    /// The shell cannot listen at a port. It is asked again with the next look at the kernel.
    static func deaf(_ node: inout Node, _ id: EndpointID, _ reason: String) {
        let known = node.claims.deafness[id]
        node.claims.deaf(id, reason)
        guard known != reason, node.claims.deafness[id] != nil else { return }
        node.outbox.log(
            .warning, "a container's port is not listened at; addresses that it takes over are not noticed",
            [LogKey.endpoint: id.short, LogKey.reason: reason])
    }

    /// Network of an endpoint whose port is listened at; nil if it is not.
    private static func network(_ node: Node, listenedAt endpoint: LocalEndpoint) -> Network? {
        guard endpoint.isJoined, endpoint.hasPort, let network = node.catalogue.networks[endpoint.network],
            node.forwarding.isUp(network.vni)
        else { return nil }
        return network
    }

    /// Gives a thing to an endpoint of this host, which has announced it.
    private static func take(
        _ node: inout Node, _ thing: Claims.Thing, _ mac: MACAddress, for endpoint: LocalEndpoint, on network: Network
    ) {
        var claims = node.claims.own(endpoint.id, on: network.id)
        guard Self.isNews(node, thing, mac, claims, of: endpoint, on: network) else { return }
        guard node.claims.admit(thing, of: endpoint.id, on: network.id, now: node.outbox.now) else { return }
        // Above all that are known, whether they count or not; a number at its bound stays there.
        let highest = node.claims.claims(of: thing, on: network.id).last?.number ?? 0
        let number = min(highest + 1, Limits.counter - 1)
        switch thing {
        case .mac(let mac): claims.insert(EndpointClaims.Hardware(mac, number: number))
        case .address(let address) where mac == endpoint.mac && endpoint.addresses.contains(address): claims.remove(address)
        case .address(let address):
            if claims[address] == nil, !claims.hasRoomForAddress, let oldest = node.claims.oldest(of: endpoint.id) {
                claims.remove(oldest)
            }
            claims.insert(EndpointClaims.Address(address, at: mac, number: number))
            node.outbox.log(
                .info, "an address is used by another endpoint from now on",
                [LogKey.address: "\(address)", LogKey.endpoint: endpoint.id.short, LogKey.network: network.title])
        }
        Self.set(&node, claims, on: network.id)
    }

    /// True if an endpoint of this host may have a thing and has it not yet.
    private static func isNews(
        _ node: Node, _ thing: Claims.Thing, _ mac: MACAddress, _ claims: EndpointClaims, of endpoint: LocalEndpoint,
        on network: Network
    ) -> Bool {
        let current = Self.claim(node, of: thing, on: network)
        let isHolder = current?.holder == Claims.Holder(owner: node.identity.id, endpoint: endpoint.id)
        switch thing {
        case .mac(let mac):
            return mac != endpoint.mac && !isHolder && claims.hasRoomForMAC && Self.mayClaim(node, mac, on: network)
        case .address(let address):
            guard mac == endpoint.mac || claims[mac] != nil else { return false }
            if endpoint.addresses.contains(address) { return (current?.mac ?? endpoint.mac) != mac }
            return !(isHolder && current?.mac == mac) && Self.mayClaim(node, address, on: network)
                && Self.isOwnerKnown(node, of: address, on: network)
        }
    }

    // MARK: Rules

    /// True if the MAC is free for claims: it is of an interface, and neither the gateway's nor that of any endpoint.
    private static func mayClaim(_ node: Node, _ mac: MACAddress, on network: Network) -> Bool {
        !mac.isMulticast && mac != .zero && mac != KernelName.gatewayMAC(network.vni)
            && !node.forwarding.hasEndpoint(mac, on: network.vni) && node.inventory.endpoint(with: mac, on: network.id) == nil
    }

    /// True if the address is free for claims: a host of a subnet may have it, and neither is it the gateway's nor leased to anybody.
    /// Aux addresses are free: they are set aside for uses of this kind.
    private static func mayClaim(_ node: Node, _ address: IPAddress, on network: Network) -> Bool {
        guard let subnet = network.subnets.first(where: { $0.prefix.contains(address) }), address != subnet.gateway,
            subnet.prefix.usable.contains(address)
        else { return false }
        return !node.forwarding.hasEndpoint(address, on: network.vni)
            && node.inventory.endpoint(with: address, on: network.id) == nil
            && node.addresses[subnet.id]?.lease(at: address) == nil
    }

    /// True unless the address is of a block whose owner's endpoints are not known in this life: it may have leased it.
    private static func isOwnerKnown(_ node: Node, of address: IPAddress, on network: Network) -> Bool {
        guard let owner = network.subnets.lazy.compactMap({ $0.block(holding: address)?.owner }).first,
            owner != node.identity.id, network.users.contains(owner)
        else { return true }
        return node.replication.isSynchronised(with: owner, on: network.id)
    }

    /// MAC and addresses that a claimant has by lease; nil where there is no such endpoint.
    private static func leased(_ node: Node, _ holder: Claims.Holder, on network: NetworkID) -> (
        mac: MACAddress, addresses: [IPAddress]
    )? {
        if holder.owner == node.identity.id {
            guard let endpoint = node.inventory.endpoint(holder.endpoint), endpoint.isJoined else { return nil }
            return (endpoint.mac, endpoint.addresses)
        }
        return node.replication.record(of: holder.endpoint, of: holder.owner, on: network).map { ($0.mac, $0.addresses) }
    }

    /// True if the address is the claimant's own by lease. That an owner says so of another host's endpoint does not count against
    /// an endpoint of this host, which is never moved elsewhere, nor against the gateway.
    private static func isOwn(
        _ node: Node, _ address: IPAddress, _ leased: [IPAddress], of holder: Claims.Holder, on network: Network
    ) -> Bool {
        guard leased.contains(address), !network.subnets.contains(where: { $0.gateway == address }) else { return false }
        return node.inventory.endpoint(with: address, on: network.id).map { $0.id == holder.endpoint } ?? true
    }

    /// Claim of a thing that counts; nil if there is none.
    private static func claim(_ node: Node, of thing: Claims.Thing, on network: Network) -> Claims.Claim? {
        node.claims.claims(of: thing, on: network.id).last { claim in
            guard let leased = Self.leased(node, claim.holder, on: network.id) else { return false }
            switch thing {
            case .mac(let mac): return Self.mayClaim(node, mac, on: network)
            case .address(let address):
                return (claim.mac == leased.mac || Self.mayClaim(node, claim.mac, on: network))
                    && (Self.isOwn(node, address, leased.addresses, of: claim.holder, on: network)
                        || Self.mayClaim(node, address, on: network))
            }
        }
    }

    // MARK: Following

    /// Claims of another owner's endpoint have changed.
    ///
    /// - Returns: The things to settle.
    static func follow(
        _ node: inout Node, _ claims: EndpointClaims, of owner: NodeID, on network: NetworkID
    ) -> Set<Claims.Thing> {
        node.claims.set(claims, of: Claims.Holder(owner: owner, endpoint: claims.endpoint), on: network)
    }

    /// Things that an endpoint has by lease. Claims of them count while it is not there.
    static func things(of record: EndpointRecord) -> Set<Claims.Thing> {
        Set([.mac(record.mac)] + record.addresses.map { .address($0) })
    }

    /// Sets all claims of an endpoint of this host, durably, and tells others.
    private static func set(_ node: inout Node, _ claims: EndpointClaims, on network: NetworkID) {
        let id = claims.endpoint
        let touched = node.claims.set(claims, of: Claims.Holder(owner: node.identity.id, endpoint: id), on: network)
        guard !touched.isEmpty else { return }
        node.outbox.store([
            claims.isEmpty ? .delete(.claim, key: id.wireBytes) : .put(.claim, key: id.wireBytes, value: claims.wireBytes)
        ])
        node.withReplication { [now = node.now] in $0.put(claims, on: network, now: now, into: &$1) }
        Self.settle(&node, touched, on: network)
        Self.listen(&node, id)
    }

    /// Tells others what an endpoint of this host claims, as it is announced.
    static func announce(_ node: inout Node, _ endpoint: LocalEndpoint) {
        let claims = node.claims.own(endpoint.id, on: endpoint.network)
        if !claims.isEmpty {
            node.withReplication { [now = node.now] in $0.put(claims, on: endpoint.network, now: now, into: &$1) }
        }
        Self.settle(&node, Self.things(of: KernelFollower.record(node, of: endpoint)), on: endpoint.network)
    }

    /// Ends what an endpoint of this host claims, as it is withdrawn, and listens at its port no more.
    static func withdraw(_ node: inout Node, _ endpoint: LocalEndpoint) {
        node.claims.listen(endpoint.id, for: nil, into: &node.outbox)
        Self.set(&node, EndpointClaims(of: endpoint.id), on: endpoint.network)
        Self.settle(&node, Self.things(of: KernelFollower.record(node, of: endpoint)), on: endpoint.network)
    }

    /// Brings the kernel in line with the claims of things, and withdraws those of this host that do not count any more.
    static func settle(_ node: inout Node, _ things: Set<Claims.Thing>, on id: NetworkID) {
        guard !things.isEmpty, let network = node.catalogue.networks[id],
            !node.claims.isEmpty(on: id) || node.forwarding.hasClaims(on: network.vni)
        else { return }
        var lost: [EndpointID: Set<Claims.Thing>] = [:]
        var operations: [KernelOperation] = []
        for thing in things.sorted() {
            operations += Self.row(&node, thing, on: network)
            let winner = Self.claim(node, of: thing, on: network)?.holder
            for claim in node.claims.claims(of: thing, on: id) where claim.holder.owner == node.identity.id {
                if claim.holder != winner { lost[claim.holder.endpoint, default: []].insert(thing) }
            }
        }
        node.outbox.apply(operations)
        for (endpoint, things) in lost.sorted(by: { $0.key < $1.key }) {
            var claims = node.claims.own(endpoint, on: id)
            for thing in things { claims.remove(thing) }
            Self.set(&node, claims, on: id)
        }
    }

    /// Sets the row of a thing by the claim that counts.
    private static func row(_ node: inout Node, _ thing: Claims.Thing, on network: Network) -> [KernelOperation] {
        let claim = Self.claim(node, of: thing, on: network)
        switch thing {
        case .mac(let mac):
            return node.forwarding.claim(mac, claim.flatMap { Self.place(node, of: $0.holder, on: network.id) }, on: network.vni)
        case .address(let address): return node.forwarding.claim(address, claim?.mac, on: network.vni)
        }
    }

    /// Place of a claimant; nil while it has none.
    private static func place(_ node: Node, of holder: Claims.Holder, on network: NetworkID) -> Destination? {
        if holder.owner == node.identity.id {
            return node.inventory.endpoint(holder.endpoint)?.hasPort == true ? .port(KernelName.port(holder.endpoint)) : nil
        }
        return node.replication.attachment(of: holder.owner, on: network).map { .vtep($0.vtep) }
    }

    /// Rows of all claims on a network, as it is put up or computed anew.
    static func rows(_ node: inout Node, on network: Network) -> [KernelOperation] {
        node.claims.things(on: network.id).sorted().flatMap { Self.row(&node, $0, on: network) }
    }

    // MARK: Ports

    /// Listens at the port of an endpoint of this host for what is not known of it.
    static func listen(_ node: inout Node, _ id: EndpointID) {
        guard let endpoint = node.inventory.endpoint(id), let network = Self.network(node, listenedAt: endpoint) else {
            return node.claims.listen(id, for: nil, into: &node.outbox)
        }
        let claims = node.claims.own(id, on: network.id)
        var known = Set(claims.addresses.map { Hearing.Known($0.address, at: $0.mac) })
        for address in endpoint.addresses where claims[address] == nil { known.insert(Hearing.Known(address, at: endpoint.mac)) }
        let hearing = Hearing(
            macs: Set(claims.macs.map(\.mac) + [endpoint.mac]), known: known, isFull: !claims.hasRoomForMAC)
        node.claims.listen(id, for: (network.vni, hearing), into: &node.outbox)
    }

    /// Settles all claims, and listens at the ports of all endpoints of this host.
    static func settleEverywhere(_ node: inout Node) {
        for id in node.claims.networks { Self.settle(&node, node.claims.things(on: id), on: id) }
        for endpoint in node.inventory.allEndpoints { Self.listen(&node, endpoint.id) }
    }
}
