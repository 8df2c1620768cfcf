public import OverlayModel

/// Tables that questions are answered from. It is a value: whoever answers has a copy.
public struct NameTables: Sendable {
    /// Names of the networks that this node takes part in.
    public var networks: [NetworkID: NetworkNames] = [:]
    /// Names of networks of other drivers, for those on which a container of ours is, too.
    public var others: [EngineNetworkID: OtherNames] = [:]
    /// Networks on which a container of this host is whose names are not all known yet.
    public var unsettled: Set<NetworkID> = []
    /// Owners that may be away: their addresses come last.
    public var suspects: Set<NodeID> = []
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
        /// More will be known in a moment.
        case wait
    }

    /// Decides on a question.
    ///
    /// - Parameters:
    ///   - mayWait: False if the question has waited long enough.
    ///   - generator: Source of the order of several records.
    public func decide(
        _ query: DNSQuery, in scope: SandboxScope, mayWait: Bool, using generator: inout some RandomNumberGenerator
    ) -> Decision {
        if let edns = query.edns, edns.version > 0 { return .answer(DNSResponse(code: .badVersion, ttl: 0)) }
        guard query.recordClass == 1 || query.recordClass == 255, let key = query.name.key else {
            return scope.forwards ? .forward : Self.refusal
        }
        if key.utf8.last == UInt8(ascii: "a"), let address = Self.address(ofReverse: key), isOurs(address) {
            for id in scope.networks {
                guard let name = networks[id]?.name(of: address) else { continue }
                let isAsked = query.type == .ptr || query.type == .any
                return .answer(DNSResponse(answers: isAsked ? [.pointer(name)] : [], ttl: ttl))
            }
            return mayWait && !isSettled(scope) ? .wait : .answer(DNSResponse(code: .nameError, ttl: ttl))
        }
        // The name as it stands in any network, and then without a network's title, as libnetwork's ResolveName does.
        var isDoubtful = !scope.isSettled
        for place in scope.places {
            switch place {
            case .other(let id):
                guard let other = others[id] else { continue }
                if other.names.contains(key) { return .forward }
                if !other.isComplete { isDoubtful = true }
            case .ours(let id):
                guard let answers = networks[id]?.answers(to: key, query.type) else { continue }
                // A network that is not known yet may come first.
                return mayWait && isDoubtful ? .wait : answer(answers, &generator)
            }
        }
        for id in scope.networks {
            guard let names = networks[id], let name = names.shortened(key) else { continue }
            if let answers = names.answers(to: name, query.type) { return answer(answers, &generator) }
        }
        return unknown(key, scope, mayWait: mayWait)
    }

    private static let refusal = Decision.answer(DNSResponse(code: .refused, ttl: 0))

    /// True if all containers of this host on the sandbox's networks are known with all their names.
    private func isSettled(_ scope: SandboxScope) -> Bool {
        scope.isSettled && (unsettled.isEmpty || !scope.networks.contains { unsettled.contains($0) })
    }

    private func answer(_ answers: [NetworkNames.Answer], _ generator: inout some RandomNumberGenerator) -> Decision {
        guard answers.count > 1 else { return .answer(DNSResponse(answers: answers.map(\.record), ttl: ttl)) }
        let shuffled = answers.shuffled(using: &generator)
        guard !suspects.isEmpty else { return .answer(DNSResponse(answers: shuffled.map(\.record), ttl: ttl)) }
        let isSuspect: (NetworkNames.Answer) -> Bool = { $0.owner.map(suspects.contains) ?? false }
        let ordered = shuffled.filter { !isSuspect($0) } + shuffled.filter(isSuspect)
        return .answer(DNSResponse(answers: ordered.map(\.record), ttl: ttl))
    }

    /// Decides on a name that no network has. One that could only be ours does not exist, and nobody else is asked for it, unless it
    /// may be a name that is not known yet: that waits, and is then asked of Docker, which knows this host's containers.
    private func unknown(_ key: String, _ scope: SandboxScope, mayWait: Bool) -> Decision {
        let isBelowUs = scope.networks.contains { networks[$0]?.isZone(of: key) ?? false }
        // In a sandbox with internal networks only, a single label can mean nothing but their names.
        let isOurs = isBelowUs || (!scope.forwards && !key.isEmpty && !key.utf8.contains(UInt8(ascii: ".")))
        guard isOurs || !scope.forwards else { return .forward }
        if !isSettled(scope) {
            if mayWait { return .wait }
            if isOurs { return .forward }
        }
        return isOurs ? .answer(DNSResponse(code: .nameError, ttl: ttl)) : Self.refusal
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
