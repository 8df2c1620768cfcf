public import OverlayModel

/// Names of one network, as they are now. It is a value: whoever answers has a copy, and asks nobody.
///
/// The names are held in shards, so that a change copies a small part of a table that somebody else holds, too.
public struct NetworkNames: Sendable {
    private static let shardCount = 64

    /// Name of the network in lower case, empty if it has none: `name.title` is a name, too.
    public let title: String
    /// Sum over all endpoints, by which tables are compared without going through them. It means nothing in another process.
    public private(set) var checksum = 0
    private var byName: [[String: [NamedEndpoint]]]
    private var byAddress: [[IPAddress: [NamedEndpoint]]]

    public init(title: String) {
        self.title = title.lowercased()
        byName = Array(repeating: [:], count: Self.shardCount)
        byAddress = Array(repeating: [:], count: Self.shardCount)
    }

    private static func shard(of key: some Hashable) -> Int { Int(UInt(bitPattern: key.hashValue) % UInt(shardCount)) }

    /// Share of an endpoint in ``checksum``.
    public static func checksum(of endpoint: NamedEndpoint) -> Int { endpoint.hashValue }

    /// - Parameter endpoint: An endpoint that is not in it yet; ``remove(_:)`` takes the same value.
    public mutating func insert(_ endpoint: NamedEndpoint) {
        checksum &+= Self.checksum(of: endpoint)
        for name in Self.keys(of: endpoint) { byName[Self.shard(of: name)][name, default: []].append(endpoint) }
        guard !endpoint.names.isEmpty else { return }
        for address in endpoint.addresses { byAddress[Self.shard(of: address)][address, default: []].append(endpoint) }
    }

    /// - Parameter endpoint: An endpoint as it was inserted.
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

    /// Names of an endpoint in lower case, none twice.
    private static func keys(of endpoint: NamedEndpoint) -> Set<String> { Set(endpoint.names.map { $0.lowercased() }) }

    public var isEmpty: Bool { byName.allSatisfy(\.isEmpty) }

    /// All names with their addresses in order: for tests and `inspect`.
    public var all: [String: [IPAddress]] {
        var all: [String: [IPAddress]] = [:]
        for shard in byName { for (name, holders) in shard { all[name] = holders.flatMap(\.addresses).sorted() } }
        return all
    }

    /// Endpoints that have a name.
    func holders(of key: String) -> [NamedEndpoint]? { byName[Self.shard(of: key)][key] }

    /// Name of an address, with the network's title.
    func name(of address: IPAddress) -> DNSName? {
        byAddress[Self.shard(of: address)][address]?.first.flatMap { fullName(of: $0) }
    }

    /// First name of an endpoint, with the network's title.
    func fullName(of endpoint: NamedEndpoint) -> DNSName? {
        endpoint.names.first.flatMap { DNSName(title.isEmpty ? $0 : "\($0).\(title)") }
    }
}

extension NetworkNames: Equatable {
    /// True if names and addresses are the same, in whatever order they came.
    public static func == (lhs: NetworkNames, rhs: NetworkNames) -> Bool { lhs.title == rhs.title && lhs.all == rhs.all }
}
