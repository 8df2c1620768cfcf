import OverlayModel

/// Endpoints of this host whose names and networks the engine's API has not told yet. What their containers ask for may be theirs.
struct Settling: Sendable {
    /// Time after which an endpoint is taken as it is known: nobody may ever tell more.
    static let patience = Interval.seconds(10)

    private struct Awaited: Sendable {
        var network: NetworkID
        var deadline: Instant
    }

    private var endpoints: [EndpointID: Awaited] = [:]

    func isSettled(_ endpoint: EndpointID) -> Bool { endpoints[endpoint] == nil }

    /// Networks of these endpoints.
    var networks: Set<NetworkID> { Set(endpoints.values.map(\.network)) }

    /// Earliest time at which an endpoint is given up.
    var nextDeadline: Instant? { endpoints.values.map(\.deadline).min() }

    mutating func begin(_ endpoint: EndpointID, on network: NetworkID, now: Instant) {
        endpoints[endpoint] = Awaited(network: network, deadline: now + Self.patience)
    }

    /// - Returns: True if more was awaited.
    @discardableResult
    mutating func end(_ endpoint: EndpointID) -> Bool { endpoints.removeValue(forKey: endpoint) != nil }

    /// Ends what has waited long enough.
    mutating func expire(at now: Instant) -> [EndpointID] {
        let due = endpoints.filter { $0.value.deadline <= now }.keys.sorted()
        for endpoint in due { end(endpoint) }
        return due
    }
}
