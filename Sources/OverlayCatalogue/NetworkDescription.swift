public import OverlayModel

/// A network as `docker network inspect` shows it, without what the catalogue has anyway. Other engines create it from this.
public struct NetworkDescription: Hashable, Sendable {
    /// One pair of a map, such as a label.
    public struct Pair: Hashable, Comparable, Sendable {
        public var key: String
        public var value: String

        public init(key: String, value: String) {
            self.key = key
            self.value = value
        }

        public static func < (lhs: Pair, rhs: Pair) -> Bool { (lhs.key, lhs.value) < (rhs.key, rhs.value) }
    }

    /// Name that `docker` shows.
    public var name: String
    /// Labels in order of their keys, so that equal values have equal bytes.
    public private(set) var labels: [Pair]
    /// `-o`
    public private(set) var options: [Pair]
    /// `--ipam-opt`
    public private(set) var ipamOptions: [Pair]
    /// `--aux-address` by name of the host.
    public private(set) var auxiliary: [Pair]
    public var isIPv6: Bool
    public var isAttachable: Bool

    /// Nil if it is larger than ``Limits/descriptionBytes`` or ``Limits/descriptionPairs``, or has no name.
    public init?(
        name: String, labels: [String: String], options: [String: String], ipamOptions: [String: String],
        auxiliary: [String: String], isIPv6: Bool, isAttachable: Bool
    ) {
        self.init(
            name: name, labels: Self.pairs(labels), options: Self.pairs(options), ipamOptions: Self.pairs(ipamOptions),
            auxiliary: Self.pairs(auxiliary), isIPv6: isIPv6, isAttachable: isAttachable)
    }

    private static func pairs(_ map: [String: String]) -> [Pair] { map.map { Pair(key: $0.key, value: $0.value) }.sorted() }

    fileprivate init?(
        name: String, labels: [Pair], options: [Pair], ipamOptions: [Pair], auxiliary: [Pair], isIPv6: Bool, isAttachable: Bool
    ) {
        self.name = name
        self.labels = labels
        self.options = options
        self.ipamOptions = ipamOptions
        self.auxiliary = auxiliary
        self.isIPv6 = isIPv6
        self.isAttachable = isAttachable
        let all = [labels, options, ipamOptions, auxiliary]
        guard (1...Limits.networkNameBytes).contains(name.utf8.count), all.allSatisfy({ $0.count <= Limits.descriptionPairs }),
            all.joined().reduce(0, { $0 + $1.key.utf8.count + $1.value.utf8.count }) <= Limits.descriptionBytes,
            all.allSatisfy({ pairs in zip(pairs, pairs.dropFirst()).allSatisfy { $0.key < $1.key } })
        else { return nil }
    }
}

extension [NetworkDescription.Pair] {
    public var map: [String: String] { reduce(into: [:]) { $0[$1.key] = $1.value } }
}

extension NetworkDescription.Pair: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(
            key: try reader.string(limit: Limits.descriptionBytes), value: try reader.string(limit: Limits.descriptionBytes))
    }

    public func encode(to writer: inout ByteWriter) {
        writer.string(key)
        writer.string(value)
    }
}

extension NetworkDescription: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let name = try reader.string(limit: Limits.networkNameBytes)
        let lists = try (0..<4).map { _ throws(DecodeError) in try reader.list(Pair.self, limit: Limits.descriptionPairs) }
        guard
            let value = NetworkDescription(
                name: name, labels: lists[0], options: lists[1], ipamOptions: lists[2], auxiliary: lists[3],
                isIPv6: try reader.bool(), isAttachable: try reader.bool())
        else { throw .invalid("network description") }
        self = value
    }

    public func encode(to writer: inout ByteWriter) {
        writer.string(name)
        for list in [labels, options, ipamOptions, auxiliary] { writer.list(list) }
        writer.bool(isIPv6)
        writer.bool(isAttachable)
    }
}
