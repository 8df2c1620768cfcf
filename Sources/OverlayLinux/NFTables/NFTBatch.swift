/// Netlink messages that change nf_tables in one transaction: all of them or none (linux/netfilter/nf_tables.h, nfnetlink.h).
///
/// They are written by hand, because a context of libnftables holds some 600 kB, and each sandbox would need one as long as it is
/// served.
public struct NFTBatch: Sendable {
    /// NFNL_SUBSYS_NFTABLES.
    static let subsystem: UInt16 = 10

    /// Kind of a message (enum nf_tables_msg_types).
    public enum Kind: UInt16, Sendable {
        case newTable = 0
        case getTable = 1
        case deleteTable = 2
        case newChain = 3
        case getChain = 4
        case newRule = 6
        case getRule = 7
        case newSet = 9
        case newElements = 12
        case getElements = 13
        case deleteElements = 14
    }

    /// Address family of a table (NFPROTO_IPV4, NFPROTO_INET, NFPROTO_BRIDGE).
    public enum Family: UInt8, Sendable {
        case ipv4 = 2
        case inet = 1
        case bridge = 7
    }

    /// Flags of a message, beside NLM_F_REQUEST and NLM_F_ACK.
    public struct Flags: OptionSet, Sendable {
        public let rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// The object is made if it is not there (NLM_F_CREATE).
        public static let create = Flags(rawValue: 0x400)
        /// The object goes behind those that are there (NLM_F_APPEND).
        public static let append = Flags(rawValue: 0x800)
        /// All objects are wanted (NLM_F_DUMP).
        public static let dump = Flags(rawValue: 0x300)
    }

    public let family: Family
    private(set) var bytes: [UInt8] = []
    /// Number of messages, each of which is acknowledged.
    private(set) var requests = 0

    /// Begins a transaction (NFNL_MSG_BATCH_BEGIN).
    public init(_ family: Family) {
        self.family = family
        Self.append(0x10, 0, 0, resource: Self.subsystem, flags: 0x1, [], to: &bytes)
    }

    /// True if the transaction would change nothing.
    public var isEmpty: Bool { requests == 0 }

    /// Appends a message.
    public mutating func add(_ kind: Kind, _ flags: Flags = .create, _ fill: (inout NFTAttributes) -> Void) {
        var attributes = NFTAttributes()
        fill(&attributes)
        requests += 1
        Self.append(
            Self.subsystem << 8 | kind.rawValue, family.rawValue, UInt32(requests), resource: 0, flags: 0x1 | 0x4 | flags.rawValue,
            attributes.bytes, to: &bytes)
    }

    /// Appends a rule at the end of a chain.
    public mutating func addRule(to chain: String, of table: String, _ expressions: (inout NFTAttributes) -> Void) {
        add(.newRule, [.create, .append]) { rule in
            rule.text(1, table)
            rule.text(2, chain)
            rule.nest(4, expressions)
        }
    }

    /// Whole transaction (with NFNL_MSG_BATCH_END), to be sent at once.
    var whole: [UInt8] {
        var all = bytes
        Self.append(0x11, 0, UInt32(requests + 1), resource: Self.subsystem, flags: 0x1, [], to: &all)
        return all
    }

    /// One request for a list, which needs no transaction.
    static func list(_ kind: Kind, _ family: Family, sequence: UInt32, _ fill: (inout NFTAttributes) -> Void) -> [UInt8] {
        var attributes = NFTAttributes()
        fill(&attributes)
        var bytes: [UInt8] = []
        append(
            Self.subsystem << 8 | kind.rawValue, family.rawValue, sequence, resource: 0, flags: 0x1 | Flags.dump.rawValue,
            attributes.bytes, to: &bytes)
        return bytes
    }

    /// Appends `nlmsghdr` and `nfgenmsg`, and the attributes.
    private static func append(
        _ type: UInt16, _ family: UInt8, _ sequence: UInt32, resource: UInt16, flags: UInt16, _ attributes: [UInt8],
        to bytes: inout [UInt8]
    ) {
        func host(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value) { bytes += $0 } }
        host(UInt32(20 + attributes.count))
        host(type)
        host(flags)
        host(sequence)
        host(UInt32(0))
        bytes += [family, 0, UInt8(resource >> 8), UInt8(resource & 0xFF)]
        bytes += attributes
    }
}
