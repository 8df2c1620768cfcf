public import OverlayModel

/// Tables that questions are answered from. It is a value: whoever answers has a copy.
public struct NameTables: Sendable {
    /// Names of the networks that this node takes part in.
    public var networks: [NetworkID: NetworkNames] = [:]
    /// Time to live of answers, in seconds.
    public var ttl: UInt32
    /// Subnets of all networks, in order and apart. Questions about their addresses are not forwarded.
    private var subnets: [IPPrefix] = []

    public init(ttl: UInt32 = 2) { self.ttl = ttl }

    /// - Parameter subnets: Subnets in any order. Those of networks that are being removed may lie within others.
    public mutating func setSubnets(_ subnets: [IPPrefix]) {
        self.subnets = []
        for subnet in subnets.sorted(by: { ($0.first, $0.length) < ($1.first, $1.length) })
        where self.subnets.last?.contains(subnet.first) != true { self.subnets.append(subnet) }
    }

    /// True if an address lies in a subnet of ours.
    private func isOurs(_ address: IPAddress) -> Bool {
        subnets.lastElement { $0.first > address }?.contains(address) ?? false
    }

    /// Treatment of a question.
    public enum Decision: Sendable {
        case answer(DNSResponse)
        /// Docker's resolver is asked: the name is not ours.
        case forward
    }

    /// Decides on a question.
    ///
    /// - Parameter generator: Source of the order of several records.
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
            // The name as it stands, and without the network's title.
            guard
                let records = names.records(of: key, query.type)
                    ?? names.shortened(key).flatMap({ names.records(of: $0, query.type) })
            else { continue }
            return .answer(DNSResponse(answers: records.count > 1 ? records.shuffled(using: &generator) : records, ttl: ttl))
        }
        return unknown(key, scope)
    }

    /// Decides on a name that no network has. One that could only be ours does not exist, and nobody else is asked for it.
    private func unknown(_ key: String?, _ scope: SandboxScope) -> Decision {
        if let key {
            let isBelowUs = scope.networks.contains { networks[$0]?.isZone(of: key) ?? false }
            // In a sandbox with internal networks only, a single label can mean nothing but their names.
            if isBelowUs || (!scope.forwards && !key.isEmpty && !key.utf8.contains(UInt8(ascii: "."))) {
                return .answer(DNSResponse(code: .nameError, ttl: ttl))
            }
        }
        return scope.forwards ? .forward : .answer(DNSResponse(code: .refused, ttl: 0))
    }

    /// Address of a reverse name: `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5), or 32 nibbles under `ip6.arpa` (RFC 3596 §2.5).
    static func address(ofReverse key: String) -> IPAddress? {
        guard key.hasSuffix(".arpa") else { return nil }
        let labels = key.split(separator: ".", omittingEmptySubsequences: false)
        if labels.count == 6, key.hasSuffix(".in-addr.arpa") {
            // Each number has one form: no sign, no zero before it.
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
