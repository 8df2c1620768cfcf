/// The kinds of durable rows. The raw value is what the store file holds: never change one.
public enum StoreSpace: String, CaseIterable, Sendable {
    /// Single report of the node: identity, boot counter, cluster.
    case node
    /// Catalogue log entries by index.
    case catalogueEntry
    /// The catalogue snapshot the entries continue.
    case catalogueSnapshot
    /// Networks of this host's engine.
    case network
    /// Endpoints of this host's engine.
    case endpoint
    /// Addresses this host handed out.
    case lease
    /// Pools this host gave up but could not yet tell the catalogue writer about.
    case closing
    /// Addresses this host gave up but could not yet tell the catalogue writer about.
    case handover = "ceded"
    /// Addresses of this host's blocks that may be in use, for all that is known since its state was found to be an old copy.
    case quarantine = "setAside"
    /// Networks that this host's user removed while others went on using them: they are not made here again by themselves.
    case declined
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

/// All durable rows, as read at start.
public typealias StoredRows = [StoreSpace: [[UInt8]: [UInt8]]]

extension StoredRows {
    /// Applies a batch; what the store does, on a value.
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
