public import OverlayModel

/// What a name stands for on one network.
public struct NameRecords: Hashable, Sendable {
    public var addresses: [IPAddress]
    public var services: [RecordData]

    public init(addresses: [IPAddress] = [], services: [RecordData] = []) {
        self.addresses = addresses
        self.services = services
    }
}

/// The names of one network, as they are now. A value: whoever answers has one and asks nobody.
public struct NetworkNames: Hashable, Sendable {
    /// In lower case: `name.title` is a name, too.
    public let title: String
    private let records: [String: NameRecords]
    private let reverse: [IPAddress: DNSName]

    /// - Parameters:
    ///   - records: By name, of any case.
    ///   - reverse: The name that an address has.
    public init(title: String, records: [String: NameRecords], reverse: [IPAddress: String]) {
        self.title = title.lowercased()
        var folded: [String: NameRecords] = [:]
        for (name, value) in records.sorted(by: { $0.key < $1.key }) {
            folded[name.lowercased(), default: NameRecords()].addresses += value.addresses
            folded[name.lowercased(), default: NameRecords()].services += value.services
        }
        self.records = folded
        self.reverse = reverse.compactMapValues { DNSName($0) }
    }

    func records(of key: String) -> NameRecords? {
        if let found = records[key] { return found }
        guard key.utf8.count > title.utf8.count + 1, key.hasSuffix("." + title) else { return nil }
        return records[String(key.dropLast(title.count + 1))]
    }

    func name(of address: IPAddress) -> DNSName? { reverse[address] }
}

/// What one sandbox sees: the names of the networks that it is on, the first of which has precedence, and nobody else's.
public struct NameView: Sendable {
    public var networks: [NetworkNames]
    /// Those of all networks: what is asked of their addresses stays on this host.
    public var subnets: [IPPrefix]
    /// Seconds.
    public var ttl: UInt32

    public init(networks: [NetworkNames], subnets: [IPPrefix], ttl: UInt32 = 2) {
        self.networks = networks
        self.subnets = subnets
        self.ttl = ttl
    }

    public enum Decision: Sendable {
        case answer(DNSResponse)
        /// It is not ours to know: Docker's resolver is asked.
        case forward
    }

    /// - Parameter generator: For the order of what has several.
    public func decide(_ query: DNSQuery, using generator: inout some RandomNumberGenerator) -> Decision {
        if let edns = query.edns, edns.version > 0 { return .answer(DNSResponse(code: .badVersion, ttl: 0)) }
        guard query.recordClass == 1 || query.recordClass == 255, let key = query.name.key else { return .forward }
        if let address = Self.address(ofReverse: key), subnets.contains(where: { $0.contains(address) }) {
            guard let name = networks.lazy.compactMap({ $0.name(of: address) }).first else {
                return .answer(DNSResponse(code: .nameError, ttl: ttl))
            }
            let isAsked = query.type == .ptr || query.type == .any
            return .answer(DNSResponse(answers: isAsked ? [.pointer(name)] : [], ttl: ttl))
        }
        guard let found = networks.lazy.compactMap({ $0.records(of: key) }).first else { return .forward }
        let all = found.addresses.map { RecordData.address($0) } + found.services
        let asked = query.type == .any ? all : all.filter { $0.type == query.type }
        return .answer(DNSResponse(answers: asked.shuffled(using: &generator), ttl: ttl))
    }

    /// `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5) or 32 nibbles under `ip6.arpa` (RFC 3596 §2.5).
    static func address(ofReverse key: String) -> IPAddress? {
        let labels = key.split(separator: ".", omittingEmptySubsequences: false)
        if labels.count == 6, key.hasSuffix(".in-addr.arpa") {
            // Of each number one form counts: no sign, no zero before it.
            let bytes = labels.prefix(4).compactMap { label in UInt8(label).flatMap { String($0) == label ? $0 : nil } }
            return bytes.count == 4 ? IPAddress(networkBytes: bytes.reversed()) : nil
        }
        guard labels.count == 34, key.hasSuffix(".ip6.arpa") else { return nil }
        var bits: UInt128 = 0
        for label in labels.prefix(32).reversed() {
            guard label.count == 1, let nibble = UInt8(label, radix: 16) else { return nil }
            bits = bits << 4 | UInt128(nibble)
        }
        return IPAddress(family: .v6, bits: bits)
    }
}
