public import OverlayModel

/// A change of the catalogue that a node proposes. The state machine accepts or refuses it when it is applied.
public enum Command: Hashable, Sendable {
    /// The first entry of a cluster.
    case initialise(Cluster, Member)
    case admit(Member)
    /// Ends a member's identity and its use of networks (rule R5). If another node asks, its addresses go into quarantine:
    /// containers that do not know of the removal may still have them. With `now`, or if the member itself asks, they are free at
    /// once.
    case remove(NodeID, now: Bool)
    /// Ends the quarantine of removed nodes' addresses. They are free.
    case endQuarantine([NodeID])
    case setJoinSecret(JoinSecret)
    /// Adds a gossip key, 32 bytes, and drops the oldest.
    case rotateKey([UInt8])
    /// RequestPool: finds or creates the subnet that is meant, and makes the proposer a user of it.
    case openSubnet(OpenSubnet)
    /// ReleasePool and DeleteNetwork: the proposer no longer uses the subnet, and its blocks are free. The last user's closing
    /// deletes it. `removing`: a user removed the network, and it has no endpoints.
    case closeSubnet(SubnetID, removing: Bool = false)
    /// Description by which engines create the network. The first one counts.
    case describe(NetworkID, NetworkDescription)
    /// CreateNetwork: fixes the settings, and takes subnets that were opened without a network name into one network.
    case configure(NetworkID, adopting: [SubnetID], NetworkSettings)
    /// `--gateway`
    case setGateway(SubnetID, IPAddress)
    /// `--aux-address`
    case reserve(SubnetID, IPAddress)
    /// A block for the proposer, of at most `count` addresses.
    case claimBlock(SubnetID, count: UInt32)
    /// `--ip`: a single address for the proposer.
    case claimAddress(SubnetID, IPAddress)
    /// Addresses of the proposer's blocks that it no longer wants. It gives them up durably before it proposes (rule R2).
    case giveBack(SubnetID, AddressRange)
    /// Hands one address of the proposer's blocks over to another node with this epoch, for `--ip` on that node (rule R2).
    case move(SubnetID, IPAddress, to: NodeID, epoch: UInt32)
    /// The proposer writes the catalogue from now on, in the entry's term. `after` is the term of the entry before it.
    case promote(after: Term)
    /// Version of the protocol that is used from now on. Every member speaks it.
    case raise(to: UInt16)
}

/// Subnet that an engine asks for.
public struct OpenSubnet: Hashable, Sendable {
    public var networkName: String?
    public var family: IPAddress.Family
    /// Nil asks for the next free one of the pool.
    public var prefix: IPPrefix?
    public var range: IPPrefix?
    /// The network that the subnet must belong to, for a network of other engines that is created on this one, too.
    public var only: NetworkID?

    public init(
        networkName: String?, family: IPAddress.Family, prefix: IPPrefix?, range: IPPrefix?, only: NetworkID? = nil
    ) {
        self.only = only
        self.networkName = networkName
        self.family = family
        self.prefix = prefix
        self.range = range
    }
}

/// Result of a command.
public enum CommandResult: Hashable, Sendable {
    case accepted
    /// Result of ``Command/openSubnet(_:)``.
    case opened(SubnetID)
    case refused(Refusal)
}

/// Reason why a command was refused. `message` is for the user of the engine.
public struct Refusal: Error, Hashable, Sendable {
    public enum Code: UInt8, Sendable {
        case conflict = 1
        case notFound = 2
        case exhausted = 3
        case invalid = 4
    }

    public var code: Code
    public var message: String

    static let messageBytes = 4096

    /// Cuts a message that would be too long to decode.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message.utf8.count <= Self.messageBytes ? message : String(message.prefix(Self.messageBytes / 4 - 1)) + "…"
    }
}

/// An entry of the log. Every node applies entries in order of their index, with the same result.
public struct Entry: Hashable, Sendable {
    public var index: UInt64
    public var termNumber: UInt64
    public var proposer: NodeID
    /// Epoch of the proposer (rule R3).
    public var epoch: UInt32
    /// Number that grows with every proposal of a node, across its restarts. An entry that was proposed twice counts once.
    public var sequence: UInt64
    public var command: Command

    public init(index: UInt64, termNumber: UInt64, proposer: NodeID, epoch: UInt32, sequence: UInt64, command: Command) {
        self.index = index
        self.termNumber = termNumber
        self.proposer = proposer
        self.epoch = epoch
        self.sequence = sequence
        self.command = command
    }
}

extension Command: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .initialise(try reader.value(), try reader.value())
        case 2: self = .admit(try reader.value())
        case 3: self = .remove(try reader.value(), now: try reader.bool())
        case 4: self = .setJoinSecret(try reader.value())
        case 5: self = .openSubnet(try reader.value())
        case 6: self = .closeSubnet(try reader.value(), removing: try reader.bool())
        case 7:
            self = .configure(
                try reader.value(), adopting: try reader.list(limit: Limits.subnetsPerNetwork), try reader.value())
        case 8: self = .setGateway(try reader.value(), try reader.value())
        case 9: self = .reserve(try reader.value(), try reader.value())
        case 10: self = .claimBlock(try reader.value(), count: try reader.integer())
        case 11: self = .claimAddress(try reader.value(), try reader.value())
        case 12: self = .giveBack(try reader.value(), try reader.value())
        case 13: self = .move(try reader.value(), try reader.value(), to: try reader.value(), epoch: try reader.integer())
        case 14: self = .endQuarantine(try reader.list(limit: Limits.members))
        case 17: self = .rotateKey(try reader.sized(limit: 32))
        case 15: self = .promote(after: try reader.value())
        case 18: self = .describe(try reader.value(), try reader.value())
        case 19: self = .raise(to: try reader.integer())
        default: throw .invalid("command")
        }
    }

    public func encode(to writer: inout ByteWriter) {
        switch self {
        case .initialise(let cluster, let member):
            writer.byte(1)
            writer.value(cluster)
            writer.value(member)
        case .admit(let member):
            writer.byte(2)
            writer.value(member)
        case .remove(let node, let now):
            writer.byte(3)
            writer.value(node)
            writer.bool(now)
        case .setJoinSecret(let secret):
            writer.byte(4)
            writer.value(secret)
        case .openSubnet(let open):
            writer.byte(5)
            writer.value(open)
        case .closeSubnet(let subnet, let removing):
            writer.byte(6)
            writer.value(subnet)
            writer.bool(removing)
        case .configure(let network, let adopting, let settings):
            writer.byte(7)
            writer.value(network)
            writer.list(adopting)
            writer.value(settings)
        case .setGateway(let subnet, let address):
            writer.byte(8)
            writer.value(subnet)
            writer.value(address)
        case .reserve(let subnet, let address):
            writer.byte(9)
            writer.value(subnet)
            writer.value(address)
        case .claimBlock(let subnet, let count):
            writer.byte(10)
            writer.value(subnet)
            writer.integer(count)
        case .claimAddress(let subnet, let address):
            writer.byte(11)
            writer.value(subnet)
            writer.value(address)
        case .giveBack(let subnet, let range):
            writer.byte(12)
            writer.value(subnet)
            writer.value(range)
        case .move(let subnet, let address, let node, let epoch):
            writer.byte(13)
            writer.value(subnet)
            writer.value(address)
            writer.value(node)
            writer.integer(epoch)
        case .endQuarantine(let nodes):
            writer.byte(14)
            writer.list(nodes)
        case .rotateKey(let key):
            writer.byte(17)
            writer.sized(key)
        case .promote(let term):
            writer.byte(15)
            writer.value(term)
        case .describe(let network, let description):
            writer.byte(18)
            writer.value(network)
            writer.value(description)
        case .raise(let version):
            writer.byte(19)
            writer.integer(version)
        }
    }
}

extension OpenSubnet: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        networkName = try reader.optional()
        guard let family = IPAddress.Family(rawValue: try reader.byte()) else { throw .invalid("address family") }
        self.family = family
        prefix = try reader.optional()
        range = try reader.optional()
        only = try reader.optional()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.optional(networkName)
        writer.byte(family.rawValue)
        writer.optional(prefix)
        writer.optional(range)
        writer.optional(only)
    }
}

extension CommandResult: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .accepted
        case 2: self = .opened(try reader.value())
        case 3:
            guard let code = Refusal.Code(rawValue: try reader.byte()) else { throw .invalid("refusal") }
            self = .refused(Refusal(code, try reader.string(limit: Refusal.messageBytes)))
        default: throw .invalid("command result")
        }
    }

    public func encode(to writer: inout ByteWriter) {
        switch self {
        case .accepted: writer.byte(1)
        case .opened(let subnet):
            writer.byte(2)
            writer.value(subnet)
        case .refused(let refusal):
            writer.byte(3)
            writer.byte(refusal.code.rawValue)
            writer.string(refusal.message)
        }
    }
}

extension Entry: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        index = try reader.counter()
        termNumber = try reader.counter()
        proposer = try reader.value()
        epoch = try reader.integer()
        sequence = try reader.integer()
        command = try reader.value()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(index)
        writer.integer(termNumber)
        writer.value(proposer)
        writer.integer(epoch)
        writer.integer(sequence)
        writer.value(command)
    }
}
