/// Kinds of durable rows. The store file holds the raw values: never change one.
public enum StoreSpace: String, CaseIterable, Sendable {
    /// Single facts about the node: identity, boot counter, cluster.
    case node
    /// Catalogue log entries by index.
    case catalogueEntry
    /// The catalogue snapshot the entries continue.
    case catalogueSnapshot
    /// Networks of this host's engine.
    case network
    /// Endpoints of this host's engine.
    case endpoint
    /// Addresses that this host handed out.
    case lease
    /// Pools that this host closed but could not yet report to the catalogue writer.
    case closing
    /// Addresses that this host hands over but could not yet report to the catalogue writer.
    case handover = "ceded"
    /// Addresses in this host's blocks that may be in use: its state was found to be an old copy, and they are in quarantine.
    case quarantine = "setAside"
    /// Networks that this host's user removed while others went on using them. They are not created here again by themselves.
    case declined
    /// Addresses and MACs that endpoints of this host claim by using them.
    case claim
}

/// One change of the durable state. A batch of them is one transaction.
public enum StoreWrite: Hashable, Sendable {
    case put(StoreSpace, key: [UInt8], value: [UInt8])
    case delete(StoreSpace, key: [UInt8])
    /// Deletes every row whose key is at most `key`, in byte order.
    case deleteThrough(StoreSpace, key: [UInt8])
    /// Deletes every row of a space.
    case clear(StoreSpace)
}

/// Version of the forms of all rows, and the way to it from earlier ones.
public struct StoreSchema: Sendable {
    /// Number that the store's file carries, from 1.
    public var version: Int
    /// Returns the writes that make rows of an earlier version such of this one. They are one transaction.
    public var migrate: @Sendable (_ rows: StoredRows, _ version: Int) throws(DecodeError) -> [StoreWrite]

    public init(
        version: Int, migrate: @escaping @Sendable (_ rows: StoredRows, _ version: Int) throws(DecodeError) -> [StoreWrite]
    ) {
        self.version = version
        self.migrate = migrate
    }
}

/// All durable rows, as read at start.
public typealias StoredRows = [StoreSpace: [[UInt8]: [UInt8]]]

extension StoredRows {
    /// Applies a batch to a value, as the store does to its file.
    public mutating func apply(_ writes: [StoreWrite]) {
        for write in writes {
            switch write {
            case .put(let space, let key, let value): self[space, default: [:]][key] = value
            case .delete(let space, let key): self[space]?[key] = nil
            case .deleteThrough(let space, let limit):
                self[space] = self[space]?.filter { !$0.key.lexicographicallyPrecedes(limit) && $0.key != limit }
            case .clear(let space): self[space] = nil
            }
        }
    }
}
