public import OverlayModel

/// Names that a sandbox sees, or those that a network's gateway answers.
public struct SandboxScope: Hashable, Sendable {
    /// Network that the sandbox is on.
    public enum Place: Hashable, Sendable {
        case ours(NetworkID)
        /// Network of another driver, whose names Docker's resolver answers.
        case other(EngineNetworkID)
    }

    /// Networks that it is on, in Docker's order. The first that has a name counts.
    public let places: [Place]
    /// Those of them that are ours.
    public let networks: [NetworkID]
    /// True if unknown names are asked of Docker's resolver; false if all networks of the sandbox are internal.
    public var forwards: Bool
    /// False while not all names and networks of the container are known.
    public var isSettled: Bool
    /// Address at which questions come; nil for that of Docker's resolver, as in every container.
    public let gateway: IPAddress?

    /// - Parameter gateway: An IPv4 address of the namespace.
    public init(places: [Place], forwards: Bool, isSettled: Bool = true, gateway: IPAddress? = nil) {
        self.gateway = gateway
        self.places = places
        networks = places.compactMap { if case .ours(let id) = $0 { id } else { nil } }
        self.forwards = forwards
        self.isSettled = isSettled
    }

    public init(networks: [NetworkID], forwards: Bool) { self.init(places: networks.map { .ours($0) }, forwards: forwards) }
}
