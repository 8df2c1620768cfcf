public import OverlayModel

/// Which names a sandbox sees.
public struct SandboxScope: Hashable, Sendable {
    /// The networks that it is on; of a name that several have, the first one's counts.
    public var networks: [NetworkID]
    /// Whether what is not known here is asked of Docker's resolver. Not so where all networks of a sandbox are internal.
    public var forwards: Bool

    public init(networks: [NetworkID], forwards: Bool) {
        self.networks = networks
        self.forwards = forwards
    }
}

/// All that questions are answered from: a value, of which whoever answers has a copy.
public struct NameTables: Sendable {
    public var networks: [NetworkID: NetworkNames] = [:]
    /// Of answers, in seconds.
    public var ttl: UInt32
    /// Those of all networks, in order: what is asked of their addresses stays on this host.
    private var subnets: [IPPrefix] = []

    public init(ttl: UInt32 = 2) { self.ttl = ttl }

    /// - Parameter subnets: In any order; those of networks that are being removed may be within others.
    public mutating func setSubnets(_ subnets: [IPPrefix]) {
        self.subnets = []
        for subnet in subnets.sorted(by: { ($0.first, $0.length) < ($1.first, $1.length) })
        where self.subnets.last?.contains(subnet.first) != true { self.subnets.append(subnet) }
    }

    private func isOurs(_ address: IPAddress) -> Bool {
        var low = 0
        var high = subnets.count
        while low < high {
            let middle = (low + high) / 2
            if subnets[middle].first <= address { low = middle + 1 } else { high = middle }
        }
        return low > 0 && subnets[low - 1].contains(address)
    }

    /// Who answers a question, and with what.
    public enum Decision: Sendable {
        case answer(DNSResponse)
        /// It is not ours to know: Docker's resolver is asked.
        case forward
    }

    /// - Parameter generator: For the order of what has several.
    public func decide(_ query: DNSQuery, in scope: SandboxScope, using generator: inout some RandomNumberGenerator) -> Decision {
        if let edns = query.edns, edns.version > 0 { return .answer(DNSResponse(code: .badVersion, ttl: 0)) }
        guard query.recordClass == 1 || query.recordClass == 255, let key = query.name.key else { return unknown(nil, scope) }
        if key.utf8.last == UInt8(ascii: "a"), let address = Self.address(ofReverse: key), isOurs(address) {
            for id in scope.networks {
                guard let name = networks[id]?.name(of: address) else { continue }
                let isAsked = query.type == .ptr || query.type == .any
                return .answer(DNSResponse(answers: isAsked ? [.pointer(name)] : [], ttl: ttl))
            }
            return .answer(DNSResponse(code: .nameError, ttl: ttl))
        }
        for id in scope.networks {
            guard let names = networks[id] else { continue }
            // As it stands, and without the network's.
            guard
                let records = names.records(of: key, query.type)
                    ?? names.shortened(key).flatMap({ names.records(of: $0, query.type) })
            else { continue }
            return .answer(DNSResponse(answers: records.count > 1 ? records.shuffled(using: &generator) : records, ttl: ttl))
        }
        return unknown(key, scope)
    }

    /// What is ours alone is not there, then, and nobody else is asked.
    private func unknown(_ key: String?, _ scope: SandboxScope) -> Decision {
        if let key {
            let isBelowUs = scope.networks.contains { networks[$0]?.isZone(of: key) ?? false }
            // Of an internal network nothing of one label can be meant but its own names.
            if isBelowUs || (!scope.forwards && !key.isEmpty && !key.utf8.contains(UInt8(ascii: "."))) {
                return .answer(DNSResponse(code: .nameError, ttl: ttl))
            }
        }
        return scope.forwards ? .forward : .answer(DNSResponse(code: .refused, ttl: 0))
    }

    /// `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5) or 32 nibbles under `ip6.arpa` (RFC 3596 §2.5).
    static func address(ofReverse key: String) -> IPAddress? {
        guard key.hasSuffix(".arpa") else { return nil }
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

extension NetworkNames {
    /// A name without the network's behind it; nil where that is not there.
    fileprivate func shortened(_ key: String) -> String? {
        guard !title.isEmpty, key.utf8.count > title.utf8.count + 1, key.hasSuffix(title) else { return nil }
        let name = key.utf8.dropLast(title.utf8.count)
        return name.last == UInt8(ascii: ".") ? String(name.dropLast()) : nil
    }

    /// The records of a name by type; nil where there is no such name.
    fileprivate func records(of name: String, _ type: RecordType) -> [RecordData]? {
        if let holders = holders(of: name) {
            switch type {
            case .a: return Self.addresses(of: holders, .v4)
            case .aaaa: return Self.addresses(of: holders, .v6)
            case .any: return Self.addresses(of: holders, nil)
            default: return []
            }
        }
        guard name.utf8.first == UInt8(ascii: "_"), let (port, transport, holders) = service(name) else { return nil }
        let asked = type == .srv || type == .any
        let exposing = holders.filter { $0.ports.contains(ExposedPort(number: port, transport: transport)) }
        guard !exposing.isEmpty else { return nil }
        return asked
            ? exposing.compactMap { fullName(of: $0).map { .service(priority: 0, weight: 0, port: port, target: $0) } } : []
    }

    private static func addresses(of holders: [NamedEndpoint], _ family: IPAddress.Family?) -> [RecordData] {
        var records: [RecordData] = []
        records.reserveCapacity(holders.count)
        for holder in holders {
            for address in holder.addresses where family == nil || address.family == family { records.append(.address(address)) }
        }
        return records
    }

    /// `_80._tcp.web` (RFC 2782, with a number for the service).
    private func service(_ name: String) -> (UInt16, ExposedPort.Transport, [NamedEndpoint])? {
        let labels = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        guard labels.count == 3, let port = UInt16(labels[0].dropFirst()), String(port) == labels[0].dropFirst(),
            labels[1].first == "_", let transport = ExposedPort.Transport(name: labels[1].dropFirst()),
            let holders = holders(of: String(labels[2]))
        else { return nil }
        return (port, transport, holders)
    }

    /// Is a name one that only this network could have? Where the network is called like a domain of the Internet may be (its last label
    /// is letters alone, RFC 3696 §2), what it does not know may be found there: a network `dev` must not hide `go.dev`.
    fileprivate func isZone(of key: String) -> Bool {
        guard !title.isEmpty, key.utf8.count > title.utf8.count, key.hasSuffix("." + title) else { return false }
        let last = title.utf8.split(separator: UInt8(ascii: ".")).last ?? []
        return !last.allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
    }
}
