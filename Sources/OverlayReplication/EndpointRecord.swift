public import OverlayModel

/// What every node of a network knows of one endpoint.
public struct EndpointRecord: Hashable, Sendable {
    public var endpoint: EndpointID
    public var mac: MACAddress
    public var v4: IPAddress?
    public var v6: IPAddress?

    public init(endpoint: EndpointID, mac: MACAddress, v4: IPAddress?, v6: IPAddress?) {
        self.endpoint = endpoint
        self.mac = mac
        self.v4 = v4
        self.v6 = v6
    }

    public var addresses: [IPAddress] { [v4, v6].compactMap { $0 } }
}

extension EndpointRecord: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        endpoint = try reader.value()
        mac = try reader.value()
        v4 = try reader.optional()
        v6 = try reader.optional()
        guard !mac.isMulticast, mac != .zero else { throw .invalid("endpoint MAC") }
        guard v4?.family ?? .v4 == .v4, v6?.family ?? .v6 == .v6 else { throw .invalid("endpoint address") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(endpoint)
        writer.value(mac)
        writer.optional(v4)
        writer.optional(v6)
    }
}

/// Where a log stands. A later boot of the owner starts anew and is above every earlier one.
public struct LogPosition: Hashable, Comparable, Sendable, Wire {
    public var boot: UInt32
    public var sequence: UInt64

    public init(boot: UInt32, sequence: UInt64) {
        self.boot = boot
        self.sequence = sequence
    }

    public static func < (lhs: LogPosition, rhs: LogPosition) -> Bool { (lhs.boot, lhs.sequence) < (rhs.boot, rhs.sequence) }

    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(boot: try reader.integer(), sequence: try reader.counter())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(boot)
        writer.integer(sequence)
    }
}

/// One numbered change of an owner log.
enum LogChange: Hashable, Sendable, Wire {
    case endpoint(EndpointRecord)
    case gone(EndpointID)

    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .endpoint(try reader.value())
        case 2: self = .gone(try reader.value())
        default: throw .invalid("log change")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .endpoint(let record):
            writer.byte(1)
            writer.value(record)
        case .gone(let endpoint):
            writer.byte(2)
            writer.value(endpoint)
        }
    }
}

/// What owners and subscribers say to one another.
enum ReplicationMessage: Hashable, Sendable {
    /// The changes after sequence `after`, in order.
    case changes(NetworkID, boot: UInt32, after: UInt64, [LogChange])
    /// Everything that is live at a position: what is not in it is gone. This is how deletions need no tombstones.
    case snapshot(NetworkID, LogPosition, [EndpointRecord])
    /// All up to the position has arrived.
    case acknowledge(NetworkID, LogPosition)
}

extension ReplicationMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1:
            self = .changes(
                try reader.value(), boot: try reader.integer(), after: try reader.counter(), try reader.list(limit: 4096))
        case 2:
            self = .snapshot(try reader.value(), try reader.value(), try reader.list(limit: Limits.endpointsPerLog))
        case 3: self = .acknowledge(try reader.value(), try reader.value())
        default: throw .invalid("replication message")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .changes(let network, let boot, let after, let changes):
            writer.byte(1)
            writer.value(network)
            writer.integer(boot)
            writer.integer(after)
            writer.list(changes)
        case .snapshot(let network, let position, let records):
            writer.byte(2)
            writer.value(network)
            writer.value(position)
            writer.list(records)
        case .acknowledge(let network, let position):
            writer.byte(3)
            writer.value(network)
            writer.value(position)
        }
    }
}
