public import OverlayEngine
public import OverlayMembership
public import OverlayModel
public import OverlayNode

/// A machine of the simulation: a node with its disk, its kernel and its clock.
public struct VirtualHost {
    public internal(set) var core: Node
    /// What a crash leaves.
    public var rows: StoredRows = [:]
    public var kernel = VirtualKernel()
    public internal(set) var isUp = true
    /// Whether the machine itself runs; without it nothing even refuses a connection.
    public internal(set) var isHostUp = true
    /// Starts of the daemon, whatever its state says of them.
    public internal(set) var boot: UInt32 = 1
    /// Keys that the host has had before the present one.
    var lostKeys: UInt32 = 0
    /// What counts its packets: the boot counter of its state.
    var seal: UInt32 = 1
    /// The newest that was opened of each other node's in this life; what is older is taken for a replay.
    var opened: [Int: UInt32] = [:]
    /// Refuse whatever is to be stored.
    public var failsStores = false
    public var underlayMTU: UInt32
    public var vtep: IPAddress
    /// Whom its transport speaks with.
    var peers: Set<NodeID> = []
    /// Written, but not synced yet: a crash loses it, or the end of it.
    var unsynced: [(EffectID, [StoreWrite])] = []
    var storedAt = Instant(nanoseconds: 0)
    /// Of its own disk; nil for one like the others'.
    public var storeTime: Interval?
    var timer: Instant?
    var stalledUntil: Instant?
    /// What arrives while the process is stopped.
    var inbox: [NodeEvent] = []
    /// The node's clock beside the world's.
    var clock = VirtualClock()
    /// Until when something was wrong with the node.
    var trouble = Instant(nanoseconds: Int64.min / 2)
    var declared = 0

    public var engine: Engine { core.engine }
    public var membership: Membership { core.membership }
}
