/// Keys of the rows of ``StoreSpace/node`` that the core reads and writes. They are on disks: never change one.
enum NodeRow {
    static let epoch = Array("epoch".utf8)
    static let boot = Array("boot".utf8)
    /// Number of durable changes.
    static let writes = Array("writes".utf8)
    /// The number last announced to peers, where it is not the one above.
    static let announcedWrites = Array("assured".utf8)
    /// Present while the state is known to be an old copy.
    static let rollback = Array("rebind".utf8)
}
