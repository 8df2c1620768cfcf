import OverlayDNS
import OverlayDriver
import OverlayModel

/// Networks of other drivers that containers of ours are on, too, and the names that this host's containers have there. Docker's
/// resolver answers those; here they tell which questions are its to answer.
struct OtherNetworks: Sendable {
    /// Time after which names are taken as they are: nobody may ever tell more.
    static let patience = Interval.seconds(10)
    /// Networks of Docker's own on which names are not answered.
    private static let nameless: Set<String> = ["bridge", "host", "none"]

    /// Network of another driver, with its place among the container's networks.
    struct Place: Hashable, Sendable {
        var network: EngineNetworkID
        var name: String
        var priority: Int
    }

    /// Place of an endpoint's network among all networks of its container.
    struct Standing: Hashable, Sendable {
        var name: String
        var priority: Int
        var others: [Place]
    }

    private struct Known: Sendable {
        /// Names by container.
        var names: [ContainerID: [String]] = [:]
        /// Containers whose names are not known yet.
        var awaited: Set<ContainerID> = []
        var isListed = false
        var deadline: Instant

        var isComplete: Bool { isListed && awaited.isEmpty }
    }

    private var surroundings: [EndpointID: Standing] = [:]
    /// Networks whose names each sandbox needs.
    private var needs: [String: Set<EngineNetworkID>] = [:]
    private var known: [EngineNetworkID: Known] = [:]
    private var changed: Set<EngineNetworkID> = []

    // MARK: Places

    /// Networks of a container that are of other drivers, as far as they have names.
    static func places(of container: EngineContainer, isOurs: (EngineNetworkID) -> Bool) -> [Place] {
        container.attachments.filter { !isOurs($0.network) && !nameless.contains($0.networkName) }
            .map { Place(network: $0.network, name: $0.networkName, priority: $0.priority) }
    }

    func surroundings(of endpoint: EndpointID) -> Standing? { surroundings[endpoint] }

    mutating func set(_ new: Standing?, of endpoint: EndpointID) { surroundings[endpoint] = new }

    // MARK: Names

    func isWatched(_ network: EngineNetworkID) -> Bool { known[network] != nil }
    var watched: [EngineNetworkID] { known.keys.sorted() }

    /// Sets the networks whose names a sandbox needs.
    ///
    /// - Returns: Those of which nothing is known yet.
    mutating func need(_ networks: Set<EngineNetworkID>, in sandbox: String, now: Instant) -> [EngineNetworkID] {
        guard networks != needs[sandbox] ?? [] else { return [] }
        needs[sandbox] = networks.isEmpty ? nil : networks
        let all = Set(needs.values.joined())
        for id in known.keys where !all.contains(id) {
            known[id] = nil
            changed.insert(id)
        }
        let new = networks.filter { known[$0] == nil }.sorted()
        for id in new {
            known[id] = Known(deadline: now + Self.patience)
            changed.insert(id)
        }
        return new
    }

    /// The engine has told which containers are on a network.
    ///
    /// - Returns: Those whose names are not known.
    mutating func listed(_ containers: Set<ContainerID>, on network: EngineNetworkID) -> [ContainerID] {
        guard var new = known[network] else { return [] }
        new.isListed = true
        new.names = new.names.filter { containers.contains($0.key) }
        new.awaited = containers.filter { new.names[$0] == nil }
        set(new, of: network)
        return new.awaited.sorted()
    }

    /// A container was connected to a network.
    mutating func connected(_ container: ContainerID, on network: EngineNetworkID, now: Instant) {
        guard var new = known[network] else { return }
        new.awaited.insert(container)
        new.deadline = now + Self.patience
        set(new, of: network)
    }

    /// A container was inspected.
    mutating func learn(_ container: EngineContainer) {
        for (id, old) in known {
            var new = old
            let attachment = container.attachments.first { $0.network == id && $0.endpoint != nil }
            new.names[container.id] = attachment.map { [container.name] + $0.aliases }
            new.awaited.remove(container.id)
            set(new, of: id)
        }
    }

    /// A container has left a network; nil stands for all.
    mutating func forget(_ container: ContainerID, on network: EngineNetworkID?) {
        for (id, old) in known where network == nil || network == id {
            var new = old
            new.names[container] = nil
            new.awaited.remove(container)
            set(new, of: id)
        }
    }

    private mutating func set(_ new: Known, of network: EngineNetworkID) {
        if known[network]?.names != new.names || known[network]?.isComplete != new.isComplete { changed.insert(network) }
        known[network] = new
    }

    // MARK: Time

    /// Earliest time at which nothing more is waited for.
    var nextDeadline: Instant? { known.values.filter { !$0.isComplete }.map(\.deadline).min() }

    /// Takes as complete what has waited long enough.
    mutating func expire(at now: Instant) {
        for (id, old) in known where !old.isComplete && old.deadline <= now {
            var new = old
            new.isListed = true
            new.awaited = []
            set(new, of: id)
        }
    }

    /// Tells the shell what has changed.
    mutating func tell(into outbox: inout Outbox) {
        guard !changed.isEmpty else { return }
        let tables = tables
        outbox.prepend(changed.sorted().map { .otherNames($0, tables[$0]) })
        changed = []
    }

    /// Names on the networks, as the shell is told.
    var tables: [EngineNetworkID: OtherNames] {
        known.mapValues { OtherNames(names: $0.names.values.joined(), isComplete: $0.isComplete) }
    }
}
