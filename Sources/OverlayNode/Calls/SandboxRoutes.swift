import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel

/// Routes for multicast and broadcast in containers: which endpoint of a sandbox has them. Owns nothing.
///
/// Without them what a program sends, that binds no interface, goes the default route's way, through docker_gwbridge, and reaches no
/// container. IPv6 needs none: the kernel gives every interface ff00::/8 in the local table, which comes before all others, and the
/// first one counts, which is never that of docker_gwbridge.
///
/// The engine adds the routes of a Join with NLM_F_EXCL: the same one on two interfaces fails the container. So one endpoint of a
/// sandbox has them at a time, the first one that joined, and none where the container has such a route by itself.
///
/// Engines join the networks of a container in any order when they start it. So that containers of one service have multicast on
/// the same network, the one whose name comes first takes the routes over, as long as the container is being started: they are
/// moved, which cannot collide.
enum SandboxRoutes {
    /// Time from the first Join to the last one of a container that engine 28 starts. Before 28, the namespace tells.
    static let startTime = Interval.seconds(2)

    /// Multicast (RFC 5771), and the limited broadcast (RFC 919).
    static let destinations = [
        IPPrefix(IPAddress(v4: 224, 0, 0, 0), length: 4), IPPrefix(IPAddress(v4: 255, 255, 255, 255), length: 32),
    ].compactMap { $0 }

    /// Answer to the Join of an endpoint.
    static func response(to endpoint: LocalEndpoint, sourceName: String) -> DriverResponse {
        .joined(
            sourceName: sourceName, destinationPrefix: "eth", routes: endpoint.hasMulticastRoute ? Self.destinations : [])
    }

    /// Answer to a Join that comes again. Where other endpoints are in the sandbox, the routes may have come with one of those.
    static func repeatedResponse(_ node: Node, to endpoint: LocalEndpoint, _ sourceName: String) -> DriverResponse {
        var known = endpoint
        if node.inventory.endpoints(in: endpoint.sandbox).count > 1 { known.hasMulticastRoute = false }
        return Self.response(to: known, sourceName: sourceName)
    }

    /// True if a joining endpoint gets the routes.
    static func areDue(_ node: Node, to endpoint: LocalEndpoint) -> Bool {
        Self.mayHave(node, endpoint) && Self.holder(node, beside: endpoint) == nil
    }

    /// Another endpoint of the sandbox that has the routes.
    private static func holder(_ node: Node, beside endpoint: LocalEndpoint) -> LocalEndpoint? {
        node.inventory.endpoints(in: endpoint.sandbox).first { $0.id != endpoint.id && $0.hasMulticastRoute }
    }

    /// True if the network of the first endpoint comes before that of the second one.
    private static func precedes(_ node: Node, _ first: LocalEndpoint, _ second: LocalEndpoint) -> Bool {
        let ranks = [first, second].map { endpoint in
            let network = node.catalogue.networks[endpoint.network]
            return NetworkRank(network, name: network?.title ?? "")
        }
        return (ranks[0], first.network, first.id) < (ranks[1], second.network, second.id)
    }

    private static func mayHave(_ node: Node, _ endpoint: LocalEndpoint) -> Bool {
        // A path that was too long to be kept tells nothing about other endpoints.
        endpoint.v4 != nil && !endpoint.sandbox.isEmpty
            && node.catalogue.networks[endpoint.network]?.settings?.routesMulticast ?? false
    }

    /// Looks whether the sandbox of a joining endpoint has such routes already, made by its container or by another driver.
    ///
    /// - Returns: The effect to wait for; nil where the endpoint gets none.
    static func look(_ node: inout Node, for endpoint: LocalEndpoint) -> EffectID? {
        let mayTakeOver =
            Self.mayHave(node, endpoint) && (Self.holder(node, beside: endpoint).map { Self.precedes(node, endpoint, $0) } ?? false)
        guard endpoint.hasMulticastRoute || mayTakeOver else { return nil }
        let id = node.outbox.newEffect(for: [.endpoint(endpoint.id)])
        node.outbox.append(.lookForRoutes(id, endpoint.sandbox, Self.destinations))
        return id
    }

    /// Handles what was seen in a sandbox: where such a route is there, the endpoint gets none, as it would fail the container.
    static func seen(_ node: inout Node, _ id: EffectID, _ sight: SandboxSight) {
        for (request, undo) in node.requests.waiting(for: id) {
            guard case .join(let id) = undo, var endpoint = node.inventory.endpoint(id) else { continue }
            guard endpoint.hasMulticastRoute else {
                Self.takeOver(&node, endpoint, sight)
                continue
            }
            guard sight == .taken else { continue }
            endpoint.hasMulticastRoute = false
            let row = node.inventory.put(endpoint)
            node.outbox.store([row])
            node.requests.setReply(
                .driver(Self.response(to: endpoint, sourceName: KernelName.containerLink(endpoint.id))), of: request)
            node.outbox.log(
                .info, "a container has a route for multicast of its own, which stays", [LogKey.endpoint: endpoint.id.short])
        }
    }

    /// Moves the routes to an endpoint that joins while its container is being started.
    private static func takeOver(_ node: inout Node, _ endpoint: LocalEndpoint, _ sight: SandboxSight) {
        guard var holder = Self.holder(node, beside: endpoint), Self.precedes(node, endpoint, holder),
            sight == .missing
                || Self.startsWithNamespace(node) && (holder.joinedAt.map { $0 + Self.startTime > node.outbox.now } ?? false)
        else { return }
        var next = endpoint
        next.hasMulticastRoute = true
        holder.hasMulticastRoute = false
        let rows = [node.inventory.put(holder), node.inventory.put(next)]
        node.outbox.store(rows)
        node.outbox.append(.moveRoutes(next.sandbox, next.mac, Self.destinations))
    }

    /// True if the engine makes a container's namespace before its first Join: from 28 on, with API 1.48.
    private static func startsWithNamespace(_ node: Node) -> Bool {
        guard case .connected(let version, _) = node.mirror.state else { return false }
        let numbers = version.split(separator: ".").compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) >= (1, 48)
    }

    /// Hands the routes of an endpoint that leaves on to another one of its sandbox. The interface is still in the container, with
    /// its routes; the other's come behind them.
    static func handOn(_ node: inout Node, from left: LocalEndpoint) {
        guard left.hasMulticastRoute else { return }
        let others = node.inventory.endpoints(in: left.sandbox).filter {
            $0.id != left.id && $0.isJoined && !$0.hasMulticastRoute && Self.mayHave(node, $0)
        }
        guard var next = others.min(by: { Self.precedes(node, $0, $1) }) else { return }
        next.hasMulticastRoute = true
        let row = node.inventory.put(next)
        node.outbox.store([row])
        node.outbox.append(.addRoutes(next.sandbox, next.mac, Self.destinations))
    }
}
