public import OverlayModel

/// Fact about an endpoint, of a kind that only some releases know. It counts for an endpoint that the log has, and goes with it.
///
/// A node keeps facts of kinds that it does not know, signs for nothing, and gives them on as they came, so that the digest of the log is
/// the same on every node. A new kind therefore needs no new version of the protocol; no kind is in use yet.
public struct EndpointFact: Hashable, Sendable {
    /// Endpoint and kind of a fact. An endpoint has one of each kind.
    public struct Key: Hashable, Comparable, Sendable {
        public var endpoint: EndpointID
        public var kind: UInt8

        public static func < (lhs: Key, rhs: Key) -> Bool { (lhs.endpoint, lhs.kind) < (rhs.endpoint, rhs.kind) }
    }

    public let key: Key
    /// Value in the form of the kind, at most ``Limits/factBytes``; empty withdraws the fact.
    public let value: [UInt8]

    /// - Precondition: The value is no longer than ``Limits/factBytes``.
    public init(_ kind: UInt8, of endpoint: EndpointID, _ value: [UInt8]) {
        precondition(value.count <= Limits.factBytes, "a fact of \(value.count) bytes")
        key = Key(endpoint: endpoint, kind: kind)
        self.value = value
    }
}

extension EndpointFact: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        key = Key(endpoint: try reader.value(), kind: try reader.byte())
        value = try reader.sized(limit: Limits.factBytes)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(key.endpoint)
        writer.byte(key.kind)
        writer.sized(value)
    }
}

/// Facts of the endpoints of one log.
struct EndpointFacts: Hashable, Sendable {
    private(set) var values: [EndpointFact.Key: [UInt8]] = [:]
    /// Digest of the facts in their order; empty where there are none.
    private(set) var digest: [UInt8] = []

    var isEmpty: Bool { values.isEmpty }

    /// Facts in order.
    var sorted: [EndpointFact] {
        values.sorted { $0.key < $1.key }.map { EndpointFact($0.key.kind, of: $0.key.endpoint, $0.value) }
    }

    init() {}

    init(_ facts: [EndpointFact], _ signing: any RecordSigning) {
        for fact in facts { values[fact.key] = fact.value }
        rehash(signing)
    }

    /// Sets a fact. Those beyond ``Limits/factsPerLog`` are not kept, on any node.
    mutating func set(_ fact: EndpointFact) {
        guard values[fact.key] != nil || values.count < Limits.factsPerLog else { return }
        values[fact.key] = fact.value.isEmpty ? nil : fact.value
    }

    mutating func remove(_ endpoint: EndpointID) {
        guard !values.isEmpty else { return }
        values = values.filter { $0.key.endpoint != endpoint }
    }

    mutating func rehash(_ signing: any RecordSigning) {
        guard !values.isEmpty else {
            digest = []
            return
        }
        var writer = ByteWriter()
        for fact in sorted { writer.value(fact) }
        digest = signing.hash(writer.bytes)
    }

    /// True if the facts are in their order, each once, and none is withdrawn.
    static func areInOrder(_ facts: [EndpointFact]) -> Bool {
        zip(facts, facts.dropFirst()).allSatisfy { $0.key < $1.key } && facts.allSatisfy { !$0.value.isEmpty }
    }
}
