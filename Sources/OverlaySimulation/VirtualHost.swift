public import OverlayDatapath
public import OverlayModel
public import OverlayNode

/// A machine of the simulation: a node with its disk, its kernel and its clock.
public struct VirtualHost {
    public internal(set) var core: Node
    /// Rows on the disk, which survive a crash.
    public var rows: StoredRows = [:]
    public var kernel = VirtualKernel()
    public internal(set) var isUp = true
    /// True if the machine runs. If not, connections to it time out instead of being refused.
    public internal(set) var isHostUp = true
    /// Number of starts of the daemon, whatever its state says.
    public internal(set) var boot: UInt32 = 1
    /// Number of keys that the host had before the present one.
    var lostKeys: UInt32 = 0
    /// Boot counter of its state, which starts the counters of its packets.
    var seal: UInt32 = 1
    /// Newest boot counter heard from each other node in this life. A lower one is taken for a replay.
    var opened: [Int: UInt32] = [:]
    /// True if the disk refuses writes.
    public var failsStores = false
    /// Routes of the host that came after its start.
    public var routes: [HostSubnet] = []

    /// Routes of a host: one at the end of the address pool, and two outside of it.
    static func routes(_ index: Int) -> [IPPrefix] {
        [
            IPPrefix(IPAddress(v4: 10, 47, UInt8(truncatingIfNeeded: index), 0), length: 24),
            IPPrefix(IPAddress(v4: 172, 17, 0, 0), length: 16), IPPrefix(IPAddress(family: .v6, bits: 0xFD << 120), length: 64),
        ].compactMap { $0 }
    }

    public var underlayMTU: UInt32
    public var vtep: IPAddress
    /// Address at which others reach it.
    public var address: IPAddress
    /// Versions of the protocol that its next daemon speaks.
    public var versions = Self.versionsOfNew
    /// Versions of the protocol that hosts of new worlds speak.
    @TaskLocal public static var versionsOfNew = ProtocolVersions.present
    /// Frames that are listened for, by endpoint.
    public var ears: [EndpointID: Hearing] = [:]
    /// Nodes that its transport accepts, with the addresses at which it looks for them.
    var peers: [NodeID: IPAddress] = [:]
    var disk = VirtualDisk()
    /// Time of a write to this disk; nil for the world's default.
    public var storeTime: Interval?
    var timer: Instant?
    var stalledUntil: Instant?
    /// Events that arrive while the process is stopped.
    var inbox: [NodeEvent] = []
    /// Clock of the node.
    var clock = VirtualClock()
    /// Time until which something was wrong with the node.
    var trouble = Instant(nanoseconds: Int64.min / 2)
    var declared = 0

    static func identity(
        _ index: Int, boot: UInt32, epoch: UInt32, vtep: IPAddress, underlayMTU: UInt32, lostKeys: UInt32 = 0,
        versions: ProtocolVersions = Self.versionsOfNew
    ) -> NodeIdentity {
        NodeIdentity(
            id: NodeID(bits: World.id(index).bits | UInt128(lostKeys) << 32), name: "host\(index + 1)",
            publicKey: lostKeys.wireBytes + World.publicKey(index).dropFirst(4), agreementKey: World.publicKey(index), epoch: epoch,
            boot: boot,
            address: World.address(index), port: DefaultPort.nodes, vtep: vtep, underlayMTU: underlayMTU,
            routes: routes(index), choosesAddress: true, choosesVTEP: true, versions: versions)
    }

    /// Addresses of the host, as its daemon sees them.
    func view(choosing isChoosing: Bool) -> HostView {
        HostView(
            mtus: Dictionary([address, vtep].map { ($0, underlayMTU) }) { first, _ in first }, choice: isChoosing ? address : nil)
    }

    mutating func takeInbox() -> [NodeEvent] {
        defer { inbox = [] }
        return inbox
    }

    /// Ends the process, with all that it had in memory.
    mutating func end(hostToo: Bool) {
        disk.unsynced = []
        isUp = false
        isHostUp = !hostToo
        boot += 1
        stalledUntil = nil
        inbox = []
        timer = nil
        ears = [:]
    }
}

/// Writes under way to the disk of a host.
struct VirtualDisk {
    /// Writes that are not synced yet. After a crash at most the first few are on the disk.
    var unsynced: [(EffectID, [StoreWrite])] = []
    /// Time at which the last of them is synced.
    var syncedAt = Instant(nanoseconds: 0)
}
