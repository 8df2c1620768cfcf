public import OverlayModel

/// An endpoint by its names.
public struct NamedEndpoint: Hashable, Sendable {
    public var endpoint: EndpointID
    /// What it is called by, of any case: the first is what its addresses are said to be of (PTR, SRV).
    public var names: [String]
    /// Of one family each.
    public var addresses: [IPAddress]
    /// What SRV records tell of.
    public var ports: [ExposedPort]

    public init(endpoint: EndpointID, names: [String], addresses: [IPAddress], ports: [ExposedPort] = []) {
        self.endpoint = endpoint
        self.names = names
        self.addresses = addresses
        self.ports = ports
    }
}

/// The names of one network, as they are now. A value: whoever answers has one and asks nobody.
///
/// Held in shards, so that a change of one that somebody else holds, too, copies a small part.
public struct NetworkNames: Sendable {
    private static let shardCount = 64

    /// In lower case: `name.title` is a name, too. Empty where the network has no name.
    public let title: String
    /// A sum over all endpoints, by which tables are compared without going through them. It is of this process alone.
    public private(set) var checksum = 0
    private var byName: [[String: [NamedEndpoint]]]
    private var byAddress: [[IPAddress: [NamedEndpoint]]]

    public init(title: String) {
        self.title = title.lowercased()
        byName = Array(repeating: [:], count: Self.shardCount)
        byAddress = Array(repeating: [:], count: Self.shardCount)
    }

    private static func shard(of key: some Hashable) -> Int { Int(UInt(bitPattern: key.hashValue) % UInt(shardCount)) }

    /// What an endpoint adds to ``checksum``.
    public static func checksum(of endpoint: NamedEndpoint) -> Int { endpoint.hashValue }

    /// - Parameter endpoint: Not in it yet; ``remove(_:)`` takes the same value.
    public mutating func insert(_ endpoint: NamedEndpoint) {
        checksum &+= Self.checksum(of: endpoint)
        for name in Self.keys(of: endpoint) { byName[Self.shard(of: name)][name, default: []].append(endpoint) }
        guard !endpoint.names.isEmpty else { return }
        for address in endpoint.addresses { byAddress[Self.shard(of: address)][address, default: []].append(endpoint) }
    }

    /// - Parameter endpoint: As it was inserted.
    public mutating func remove(_ endpoint: NamedEndpoint) {
        checksum &-= Self.checksum(of: endpoint)
        for name in Self.keys(of: endpoint) { Self.drop(endpoint, name, from: &byName[Self.shard(of: name)]) }
        guard !endpoint.names.isEmpty else { return }
        for address in endpoint.addresses { Self.drop(endpoint, address, from: &byAddress[Self.shard(of: address)]) }
    }

    private static func drop<Key>(_ endpoint: NamedEndpoint, _ key: Key, from shard: inout [Key: [NamedEndpoint]]) {
        guard let position = shard[key]?.firstIndex(where: { $0.endpoint == endpoint.endpoint }) else { return }
        shard[key]?.remove(at: position)
        if shard[key]?.isEmpty == true { shard[key] = nil }
    }

    /// In lower case, none twice.
    private static func keys(of endpoint: NamedEndpoint) -> Set<String> { Set(endpoint.names.map { $0.lowercased() }) }

    public var isEmpty: Bool { byName.allSatisfy(\.isEmpty) }

    /// Every name with its addresses in order: for tests and `inspect`.
    public var all: [String: [IPAddress]] {
        var all: [String: [IPAddress]] = [:]
        for shard in byName { for (name, holders) in shard { all[name] = holders.flatMap(\.addresses).sorted() } }
        return all
    }

    func holders(of key: String) -> [NamedEndpoint]? { byName[Self.shard(of: key)][key] }

    /// What an address is called: the name and the network's.
    func name(of address: IPAddress) -> DNSName? {
        byAddress[Self.shard(of: address)][address]?.first.flatMap { fullName(of: $0) }
    }

    func fullName(of endpoint: NamedEndpoint) -> DNSName? {
        endpoint.names.first.flatMap { DNSName(title.isEmpty ? $0 : "\($0).\(title)") }
    }
}

extension NetworkNames: Equatable {
    /// In whatever order they came.
    public static func == (lhs: NetworkNames, rhs: NetworkNames) -> Bool { lhs.title == rhs.title && lhs.all == rhs.all }
}
