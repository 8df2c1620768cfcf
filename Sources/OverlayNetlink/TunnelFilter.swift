import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Filter in the host's namespace: frames with our VNIs are let in from the VTEPs of their network only, and nothing but the kernel's
/// own tunnels sends or forwards any.
///
/// A VXLAN device takes frames from everybody who reaches its port: containers of other networks, users of this host, hosts that were
/// removed. The table outlives the daemon. It names our VNIs only, as another overlay may use the same port. Not Sendable, as only one
/// actor uses it.
final class TunnelFilter {
    /// Node that takes part in a network.
    struct Peer: Hashable {
        var vni: VNI
        var vtep: IPAddress
    }

    /// Table that was found.
    struct Sight: Hashable {
        var isThere = false
        /// Port that the rules are for; nil if they are not as this process made them.
        var port: UInt16?
        var peers: Set<Peer> = []
    }

    static let table = "swift_overlay"
    /// Chain with the rules for frames that reach this host.
    private static let tunnel = "tunnel"
    /// Elements in one message, whose attributes may have 64 KiB together.
    private static let elementLimit = 1000
    /// Longest transaction: all peers of 100 networks among 500 hosts are 2 MB.
    private static let transactionLimit: Int32 = 1 << 24

    private let socket: NFTSocket
    /// Rules as the kernel listed them when they had just been made, and their port.
    private var made: (port: UInt16, listing: [[UInt8]])?
    /// True if the table stood as it was made when it was last looked at.
    private var isStanding = false
    private var peers: [VNI: Set<IPAddress>] = [:]

    /// - Parameter namespace: The host's network namespace.
    init(in namespace: borrowing Descriptor) throws(NetlinkError) {
        socket = try system { [purpose = "nf_tables rules"] () throws(SystemError) in
            try NFTSocket(in: namespace, purpose: purpose)
        }
        socket.allow(bytes: Self.transactionLimit)
    }

    /// Port that the rules are for, if they stood as they were made when they were last looked at.
    var port: UInt16? { isStanding ? made?.port : nil }
    /// Networks that frames are let in for.
    var vnis: Set<VNI> { Set(peers.keys) }
    /// VTEPs whose frames are let in for a network.
    func vteps(of vni: VNI) -> Set<IPAddress> { peers[vni] ?? [] }

    /// Netlink port of the socket that the table is changed by.
    func socketPort() throws(SystemError) -> UInt32 { try socket.port() }

    // MARK: The table

    /// Makes the table, unless it stands for this port. Peers that an earlier life let in stay: tunnels carry traffic meanwhile.
    ///
    /// - Parameter known: Peers to which tunnels lead already, for the first time that the table is made.
    func stand(port: UInt16, known: Set<Peer>) throws(NetlinkError) {
        if isStanding, made?.port == port { return }
        let sight = try look()
        if sight.port != port { try make(port: port, peers: sight.isThere ? sight.peers : known) }
    }

    private func make(port: UInt16, peers: Set<Peer>) throws(NetlinkError) {
        var batch = NFTBatch(.inet)
        // Adding what may be there, and deleting it, leaves nothing of an old one.
        batch.add(.newTable) { $0.text(1, Self.table) }
        batch.add(.deleteTable, []) { $0.text(1, Self.table) }
        batch.add(.newTable) { $0.text(1, Self.table) }
        for (number, family) in Family.allCases.enumerated() {
            batch.add(.newSet) { set in
                set.text(1, Self.table)
                set.text(2, family.set)
                set.number(3, 0)
                set.number(4, family.keyType)
                set.number(5, family.length + 4)
                set.number(10, UInt32(number + 1))
            }
        }
        batch.add(.newChain) { chain in
            chain.text(1, Self.table)
            chain.text(3, Self.tunnel)
        }
        // Whole datagrams reach this hook. An earlier one would see a first fragment without VXLAN header.
        addChain("input", hook: 1, to: &batch)
        addChain("forward", hook: 2, to: &batch)
        addChain("output", hook: 3, to: &batch)
        addRules(port: port, to: &batch)
        try add(peers, to: &batch)
        try commit(batch)
        self.peers = Self.byNetwork(peers)
        made = (port, try listing(.getRule))
        isStanding = true
    }

    /// Removes the table: no tunnel is left on this host.
    func remove() throws(NetlinkError) {
        var batch = NFTBatch(.inet)
        batch.add(.newTable) { $0.text(1, Self.table) }
        batch.add(.deleteTable, []) { $0.text(1, Self.table) }
        try commit(batch)
        made = nil
        isStanding = false
        peers = [:]
    }

    private func addChain(_ name: String, hook: UInt32, to batch: inout NFTBatch) {
        batch.add(.newChain) { chain in
            chain.text(1, Self.table)
            chain.text(3, name)
            chain.nest(4) { attributes in
                attributes.number(1, hook)
                // Before the rules of others, who may accept.
                attributes.number(2, UInt32(bitPattern: -300))
            }
            // NF_ACCEPT
            chain.number(5, 1)
            chain.text(7, "filter")
        }
    }

    private func addRules(port: UInt16, to batch: inout NFTBatch) {
        /// Beginning of a rule for our frames: UDP, the port, and a VNI from the first of ours on.
        func ours(_ rule: inout NFTAttributes) {
            rule.load(.transport)
            rule.compare([17])
            rule.load(.transport, offset: 2, length: 2)
            rule.compare([UInt8(port >> 8), UInt8(port & 0xFF)])
            // UDP header, and the flags of VXLAN (RFC 7348 §5).
            let first = VNI.all.lowerBound
            rule.load(.transport, offset: 12, length: 3)
            rule.compare([16, 8, 0].map { UInt8(truncatingIfNeeded: first >> $0) }, .atLeast)
        }
        func drop(_ rule: inout NFTAttributes) {
            rule.expression("counter")
            rule.verdict(.drop)
        }
        batch.addRule(to: "input", of: Self.table) { rule in
            ours(&rule)
            rule.jump(to: Self.tunnel)
        }
        batch.addRule(to: "forward", of: Self.table) { rule in
            ours(&rule)
            drop(&rule)
        }
        // Frames of the kernel's tunnels have no socket of this namespace.
        batch.addRule(to: "output", of: Self.table) { rule in
            ours(&rule)
            rule.load(.user)
            rule.compare([0, 0, 0, 0], .atLeast)
            drop(&rule)
        }
        batch.addRule(to: Self.tunnel, of: Self.table) { rule in
            rule.load(.inputInterface)
            rule.compare(withUnsafeBytes(of: UInt32(1)) { Array($0) })
            drop(&rule)
        }
        // A container with CAP_NET_RAW writes what source it likes: it has to be one that is reached by the link that the frame came by.
        batch.addRule(to: Self.tunnel, of: Self.table) { rule in
            rule.expression("fib") { fib in
                fib.number(1, NFTAttributes.register)
                // NFT_FIB_RESULT_OIF; NFTA_FIB_F_SADDR and NFTA_FIB_F_IIF
                fib.number(2, 1)
                fib.number(3, 1 | 8)
            }
            rule.compare([0, 0, 0, 0])
            drop(&rule)
        }
        for family in Family.allCases {
            batch.addRule(to: Self.tunnel, of: Self.table) { rule in
                rule.load(.family)
                rule.compare([family.number])
                rule.load(.network, offset: family.source, length: family.length)
                // Reserved byte, and VNI: 32 bits behind the address. NFT_REG32_00 is 8.
                let behind = 8 + family.length / 4
                rule.load(.transport, offset: 11, length: 4, into: behind)
                rule.expression("bitwise") { mask in
                    mask.number(1, behind)
                    mask.number(2, behind)
                    mask.number(3, 4)
                    mask.nest(4) { $0.raw(1, [0, 0xFF, 0xFF, 0xFF]) }
                    mask.nest(5) { $0.raw(1, [0, 0, 0, 0]) }
                }
                // NFT_BYTEORDER_NTOH: `nft list` shows the VNI as a number.
                rule.expression("byteorder") { order in
                    order.number(1, behind)
                    order.number(2, behind)
                    order.number(3, 0)
                    order.number(4, 4)
                    order.number(5, 4)
                }
                rule.expression("lookup") { lookup in
                    lookup.text(1, family.set)
                    lookup.number(2, NFTAttributes.register)
                }
                rule.verdict(.accept)
            }
        }
        batch.addRule(to: Self.tunnel, of: Self.table) { rule in drop(&rule) }
    }

    // MARK: Peers

    /// Lets in frames of these peers.
    func admit(_ admitted: some Collection<Peer>) throws(NetlinkError) {
        let new = Set(admitted).filter { !vteps(of: $0.vni).contains($0.vtep) }
        guard !new.isEmpty else { return }
        var batch = NFTBatch(.inet)
        try add(new, to: &batch)
        try commit(batch)
        for peer in new { peers[peer.vni, default: []].insert(peer.vtep) }
    }

    /// Lets in no frames of these peers any more.
    func refuse(_ refused: some Collection<Peer>) throws(NetlinkError) {
        var gone = Set(refused).filter { vteps(of: $0.vni).contains($0.vtep) }
        guard !gone.isEmpty else { return }
        do throws(NetlinkError) {
            try delete(gone)
        } catch {
            // Somebody else deleted some of them, and with one that is missing the kernel deletes none.
            guard error.code == ENOENT else { throw error }
            gone.formIntersection(try look().peers)
            if !gone.isEmpty { try delete(gone) }
        }
        for peer in gone {
            peers[peer.vni]?.remove(peer.vtep)
            if peers[peer.vni]?.isEmpty == true { peers[peer.vni] = nil }
        }
    }

    /// Lets in no frames of a network any more.
    func refuseAll(of vni: VNI) throws(NetlinkError) { try refuse(vteps(of: vni).map { Peer(vni: vni, vtep: $0) }) }

    private func delete(_ gone: Set<Peer>) throws(NetlinkError) {
        var batch = NFTBatch(.inet)
        try add(gone, .deleteElements, to: &batch)
        try commit(batch)
    }

    private func add(_ peers: Set<Peer>, _ kind: NFTBatch.Kind = .newElements, to batch: inout NFTBatch) throws(NetlinkError) {
        for family in Family.allCases {
            var keys = peers.compactMap { family.key(of: $0) }[...]
            while !keys.isEmpty {
                let part = keys.prefix(Self.elementLimit)
                keys = keys.dropFirst(part.count)
                batch.add(kind, kind == .newElements ? .create : []) { message in
                    message.text(1, Self.table)
                    message.text(2, family.set)
                    message.nest(3) { list in
                        for key in part { list.nest(1) { element in element.nest(1) { $0.raw(1, key) } } }
                    }
                }
            }
        }
    }

    private func commit(_ batch: NFTBatch) throws(NetlinkError) {
        try system { [socket] () throws(SystemError) in try socket.commit(batch) }
    }

    private static func byNetwork(_ peers: Set<Peer>) -> [VNI: Set<IPAddress>] {
        Dictionary(grouping: peers, by: \.vni).mapValues { Set($0.map(\.vtep)) }
    }

    // MARK: Looking

    /// Reads the table.
    func look() throws(NetlinkError) -> Sight {
        var sight = Sight()
        // A table that cannot be read does not stand.
        isStanding = false
        peers = [:]
        sight.isThere = try !listing(.getTable).isEmpty
        guard sight.isThere else { return sight }
        for family in Family.allCases {
            do throws(NetlinkError) {
                try list(
                    .getElements,
                    {
                        $0.text(1, Self.table); $0.text(2, family.set)
                    }
                ) { message in
                    for element in message[3]?.all ?? [] {
                        if let key = element.value[1]?[1], let peer = family.peer(Array(key.bytes)) { sight.peers.insert(peer) }
                    }
                }
            } catch {
                // A set is gone: the table is not ours any more.
                guard error.code == ENOENT else { throw error }
            }
        }
        peers = Self.byNetwork(sight.peers)
        if let made, try listing(.getRule) == made.listing { sight.port = made.port }
        isStanding = sight.port != nil
        return sight
    }

    /// Objects of the table, without what changes by itself, in an order that does not matter. The rules come with their chains, sets
    /// and flags of the table.
    private func listing(_ kind: NFTBatch.Kind) throws(NetlinkError) -> [[UInt8]] {
        var result: [[UInt8]] = []
        switch kind {
        case .getTable:
            try list(.getTable) { table in
                // NFTA_TABLE_NAME, NFTA_TABLE_FLAGS
                if table[1]?.text == Self.table { result.append(table[2].map { Array($0.bytes) } ?? []) }
            }
        default:
            result = try listing(.getTable)
            try list(.getChain) { chain in
                guard chain[1]?.text == Self.table else { return }
                // NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE
                result.append([3, 4, 5, 7].flatMap { chain[$0].map { Array($0.bytes) } ?? [] })
            }
            try list(.getRule, { $0.text(1, Self.table) }) { rule in
                guard rule[1]?.text == Self.table else { return }
                var bytes = rule[2].map { Array($0.bytes) } ?? []
                for expression in rule[4]?.all ?? [] where expression.value[1]?.text != "counter" {
                    bytes += expression.value.bytes
                }
                result.append(bytes)
            }
        }
        return result
    }

    /// Lists, again where the list changed meanwhile.
    private func list(
        _ kind: NFTBatch.Kind, _ fill: (inout NFTAttributes) -> Void = { _ in }, _ each: (NFTReceived) -> Void
    ) throws(NetlinkError) {
        for attempt in 1... {
            var found: [NFTReceived] = []
            do throws(SystemError) {
                try socket.list(kind, .inet, fill) { found.append($0) }
                found.forEach(each)
                return
            } catch {
                guard error.errno == EINTR, attempt < 5 else { throw NetlinkError(error) }
            }
        }
    }

    // MARK: Families

    /// Address family of the tunnels.
    private enum Family: CaseIterable {
        case v4
        case v6

        var set: String { self == .v4 ? "peers4" : "peers6" }
        /// Length of an address in bytes.
        var length: UInt32 { self == .v4 ? 4 : 16 }
        /// Offset of the source address in the network header.
        var source: UInt32 { self == .v4 ? 12 : 8 }
        /// NFPROTO_IPV4, NFPROTO_IPV6.
        var number: UInt8 { self == .v4 ? 2 : 10 }
        /// Types by which nft shows the elements: ipv4_addr (7) or ipv6_addr (8), and mark (19) for the VNI.
        var keyType: UInt32 { (self == .v4 ? 7 : 8) << 6 | 19 }

        func key(of peer: Peer) -> [UInt8]? {
            switch (self, peer.vtep.family) {
            case (.v4, .v4): bytes(UInt32(truncatingIfNeeded: peer.vtep.bits).bigEndian) + bytes(peer.vni.value)
            case (.v6, .v6): bytes(peer.vtep.bits.bigEndian) + bytes(peer.vni.value)
            default: nil
            }
        }

        private func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

        func peer(_ key: [UInt8]) -> Peer? {
            guard key.count == Int(length) + 4 else { return nil }
            let bits = key.prefix(Int(length)).reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
            let value = key.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: Int(length), as: UInt32.self) }
            guard let vni = VNI(value) else { return nil }
            return Peer(vni: vni, vtep: IPAddress(family: self == .v4 ? .v4 : .v6, bits: bits))
        }
    }
}
