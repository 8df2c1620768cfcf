import OverlayModel

/// Faults of a world that are under way, and until when they excuse nodes for being wrong about one another.
struct FaultLedger {
    typealias Link = VirtualNetwork.Link
    /// One of the network's three sets of cut links.
    typealias Cuts = WritableKeyPath<VirtualNetwork, Set<Link>>

    /// Number of faults that hold a link.
    private var holds: [Cuts: [Link: Int]] = [:]
    /// Number of faults that make a host's disk refuse writes.
    private var refusals: [Int: Int] = [:]
    /// Time until which a link was cut.
    private var linkTrouble: [Link: Instant] = [:]
    /// Number of times that all faults were ended. A fault of an earlier era has nothing left to end.
    private(set) var era = 0
    /// Deaths of daemons in the middle of an operation; nil where none is wanted.
    var interruptions: Interruptions?
    /// Space whose rows never reach the disk, though the node is told that they did: a fault of the daemon that tests plant.
    var lostSpace: StoreSpace?
    var lossEnds = Instant(nanoseconds: 0)
    var disorderEnds = Instant(nanoseconds: 0)

    mutating func endAll(at now: Instant) {
        era += 1
        holds = [:]
        refusals = [:]
        linkTrouble = linkTrouble.mapValues { min($0, now) }
    }

    mutating func hold(_ links: Set<Link>, in kind: Cuts) {
        for link in links { holds[kind, default: [:]][link, default: 0] += 1 }
    }

    /// Ends one fault.
    ///
    /// - Returns: The links that no other fault holds.
    mutating func release(_ links: Set<Link>, in kind: Cuts) -> Set<Link> {
        links.filter { link in
            let left = (holds[kind]?[link] ?? 1) - 1
            holds[kind]?[link] = left
            return left == 0
        }
    }

    mutating func refuseWrites(_ host: Int) { refusals[host, default: 0] += 1 }

    /// Ends one fault of a host's disk.
    ///
    /// - Returns: True if no other fault makes it refuse writes.
    mutating func acceptWrites(_ host: Int) -> Bool {
        refusals[host, default: 1] -= 1
        return refusals[host] == 0
    }

    /// Excuses the nodes at both ends of a cut link, and nobody else, for being wrong about one another.
    mutating func excuse(_ links: Set<Link>, until: Instant) {
        for link in links { linkTrouble[link] = max(linkTrouble[link] ?? until, until) }
    }

    /// Time until which a link is or was cut; nil if it never was.
    func trouble(of link: Link) -> Instant? { linkTrouble[link] }

    /// Writes that reach the disk.
    func kept(_ writes: [StoreWrite]) -> [StoreWrite] {
        guard let lostSpace else { return writes }
        return writes.filter { write in
            switch write {
            case .put(let space, _, _), .delete(let space, _), .deleteThrough(let space, _), .clear(let space): space != lostSpace
            }
        }
    }
}
