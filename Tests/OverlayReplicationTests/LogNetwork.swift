import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// Testing has an `Attachment` of its own.
typealias Attachment = OverlayReplication.Attachment

/// Replication cores on a virtual network; node 0 is the owner where there is one.
struct LogNetwork {
    static let network = NetworkID(bits: 77)

    struct Claimant: Hashable {
        var owner: NodeID
        var endpoint: EndpointID
    }

    struct Sent {
        var from: Int
        var to: Int
        var bytes: [UInt8]
    }

    private(set) var nodes: [Replication]
    var wires: VirtualNetwork<Sent>
    /// Endpoints of others that each node told of, by owner: the sum of its effects.
    private(set) var told: [[NodeID: [EndpointID: EndpointRecord]]]
    private(set) var attachments: [[NodeID: Attachment]]
    /// Claims of others that each node told of.
    private(set) var claimed: [[Claimant: EndpointClaims]]
    private(set) var rejected: [(at: Int, from: NodeID, owner: NodeID, reason: Rejection)] = []
    private(set) var sent: [Sent] = []
    private(set) var synchronised = 0
    /// How often anything was told of an attachment or endpoint.
    private(set) var effectsOfOthers = 0
    /// Alters what is under way; nil loses it.
    var tamper: (@Sendable (_ from: Int, _ to: Int, _ bytes: [UInt8]) -> [UInt8]?)?
    private let relayThreshold: Int

    var now: Instant { wires.now }

    init(count: Int, seed: UInt64, relayThreshold: Int = 128) {
        self.relayThreshold = relayThreshold
        wires = VirtualNetwork(seed: seed, delay: 50...200)
        told = Array(repeating: [:], count: count)
        attachments = Array(repeating: [:], count: count)
        claimed = Array(repeating: [:], count: count)
        nodes = []
        nodes = (0..<count).map { make($0, life: 1, of: count) }
    }

    private func make(_ index: Int, life: UInt64, of count: Int) -> Replication {
        let id = Self.id(index)
        var node = Replication(node: id, life: life, signing: TestSigning(node: id), relayThreshold: relayThreshold)
        node.setKeys(Self.keys(count))
        return node
    }

    static func keys(_ count: Int) -> [NodeID: [UInt8]] {
        Dictionary(uniqueKeysWithValues: (0..<count).map { (id($0), TestSigning.key(of: id($0))) })
    }

    static func id(_ index: Int) -> NodeID { NodeID(bits: UInt128(index + 1)) }

    static func index(_ id: NodeID) -> Int { Int(id.bits) - 1 }

    static func record(_ number: Int, version: Int = 0) -> EndpointRecord {
        let digits = String(number)
        return EndpointRecord(
            endpoint: EndpointID(String(repeating: "0", count: 64 - digits.count) + digits)!,
            mac: MACAddress(bits: 0x0242_0000_0000 + UInt64(number) << 8 + UInt64(version)),
            v4: IPAddress(family: .v4, bits: 0x0A00_0000 + UInt128(number)),
            v6: IPAddress(family: .v6, bits: UInt128(0xFD) << 120 | UInt128(number)))
    }

    static func records(_ numbers: some Sequence<Int>, version: Int = 0) -> [EndpointID: EndpointRecord] {
        Dictionary(uniqueKeysWithValues: numbers.map { (record($0).endpoint, record($0, version: version)) })
    }

    static func attachment(_ index: Int, mtu: UInt32 = 1450) -> Attachment {
        Attachment(vtep: IPAddress(v4: 192, 0, 2, UInt8(index + 1)), mtu: mtu)!
    }

    /// Claims of an endpoint: as many addresses and MACs.
    static func claims(_ number: Int, count: Int = 1, version: UInt64 = 1) -> EndpointClaims {
        var claims = EndpointClaims(of: record(number).endpoint)
        for index in 0..<count {
            let mac = MACAddress(bits: 0x0255_0000_0000 + UInt64(number) << 8 + UInt64(index))
            claims.insert(EndpointClaims.Hardware(mac, number: version))
            let address = IPAddress(family: .v6, bits: UInt128(0xFD01) << 112 | UInt128(number) << 16 | UInt128(index))
            claims.insert(EndpointClaims.Address(address, at: mac, number: version))
        }
        return claims
    }

    // MARK: What nodes do

    mutating func subscribeAll() {
        let all = Set(nodes.indices.map(Self.id))
        for index in nodes.indices { subscribe(index, to: all) }
    }

    mutating func subscribe(_ index: Int, to members: Set<NodeID>) {
        act(index) { [now] in $0.subscribe(Self.network, to: members, now: now, into: &$1) }
    }

    mutating func put(_ number: Int, version: Int = 0, by index: Int = 0) {
        act(index) { [now] in $0.put(Self.record(number, version: version), on: Self.network, now: now, into: &$1) }
    }

    mutating func remove(_ number: Int, by index: Int = 0) {
        act(index) { [now] in $0.remove(Self.record(number).endpoint, from: Self.network, now: now, into: &$1) }
    }

    mutating func claim(_ claims: EndpointClaims, by index: Int = 0) {
        act(index) { [now] in $0.put(claims, on: Self.network, now: now, into: &$1) }
    }

    mutating func tell(_ fact: EndpointFact, by index: Int = 0) {
        act(index) { [now] in $0.record(.fact(fact), on: Self.network, now: now, into: &$1) }
    }

    /// Facts of node 0 at a node, in their order.
    func facts(_ index: Int) -> [EndpointFact] {
        let logs = nodes[index].networks[Self.network]
        return (index == 0 ? logs?.own : logs?.remotes[Self.id(0)]?.log)?.contents.facts.sorted ?? []
    }

    /// Every member speaks the version with facts.
    mutating func useFacts() {
        for index in nodes.indices { nodes[index].settings.versionInUse = 3 }
    }

    mutating func attach(_ index: Int, mtu: UInt32 = 1450) {
        act(index) { [now] in $0.attach(Self.attachment(index, mtu: mtu), to: Self.network, now: now, into: &$1) }
    }

    mutating func detach(_ index: Int) {
        act(index) { [now] in $0.detach(from: Self.network, now: now, into: &$1) }
    }

    /// Tells `index` what its membership says of `peer`.
    mutating func setReachable(_ peer: Int, _ isReachable: Bool, at index: Int) {
        act(index) { [now] in $0.setReachable(Self.id(peer), isReachable, now: now, into: &$1) }
    }

    mutating func reset(_ peer: Int, at index: Int) {
        act(index) { [now] in $0.reset(Self.id(peer), now: now, into: &$1) }
    }

    /// Restarts the process, without any memory.
    mutating func restart(_ index: Int) {
        nodes[index] = make(index, life: nodes[index].life + 1, of: nodes.count)
        told[index] = [:]
        attachments[index] = [:]
        claimed[index] = [:]
    }

    /// Replaces the core of a node.
    mutating func replace(_ index: Int, by other: Replication) { nodes[index] = other }

    /// Does what the membership does once a second: each tells each the digest of what they share.
    mutating func compareDigests() {
        for from in nodes.indices {
            for to in nodes.indices where from != to && wires.isOpen(Link(from: from, to: to)) {
                let digest = digest(of: from, with: to)
                act(to) { [now] in $0.compare(digest, with: Self.id(from), now: now, into: &$1) }
            }
        }
    }

    mutating func digest(of index: Int, with peer: Int) -> UInt64 { nodes[index].digest(with: Self.id(peer)) }

    // MARK: Running

    mutating func act(_ index: Int, _ body: (inout Replication, inout [Replication.Effect]) -> Void) {
        var effects: [Replication.Effect] = []
        body(&nodes[index], &effects)
        // As the node core does with every event.
        nodes[index].advance(to: now, into: &effects)
        for effect in effects { perform(effect, of: index) }
    }

    private mutating func perform(_ effect: Replication.Effect, of index: Int) {
        switch effect {
        case .changed(_, let network, _, _), .gone(_, let network, _), .attached(_, let network, _, _),
            .detached(_, let network, _), .claimed(_, let network, _, _):
            guard network == Self.network else { return }
            effectsOfOthers += 1
        case .send, .synchronised, .rejected: break
        }
        switch effect {
        case .send(let peer, let bytes):
            let to = Self.index(peer)
            if bytes.count > Limits.datagramBytes - Limits.sealBytes - 1 {
                Issue.record("\(bytes.count) bytes do not fit a datagram")
            }
            if to == index { Issue.record("a message to itself") }
            guard nodes.indices.contains(to) else { return }
            sent.append(Sent(from: index, to: to, bytes: bytes))
            deliver(bytes, from: index, to: to)
        case .changed(let owner, _, let record, let old):
            if told[index][owner, default: [:]].updateValue(record, forKey: record.endpoint) != old {
                Issue.record("another record was replaced")
            }
        case .gone(let owner, _, let record):
            if told[index][owner]?.removeValue(forKey: record.endpoint) != record { Issue.record("what is gone was not there") }
            if told[index][owner]?.isEmpty == true { told[index][owner] = nil }
        case .attached(let owner, _, let attachment, let old):
            if attachments[index].updateValue(attachment, forKey: owner) != old { Issue.record("another attachment was replaced") }
        case .detached(let owner, _, let attachment):
            if attachments[index].removeValue(forKey: owner) != attachment { Issue.record("another attachment was removed") }
        case .claimed(let owner, _, let claims, let old):
            let key = Claimant(owner: owner, endpoint: claims.endpoint)
            if claimed[index][key] ?? EndpointClaims(of: claims.endpoint) != old { Issue.record("other claims were replaced") }
            claimed[index][key] = claims.isEmpty ? nil : claims
        case .synchronised: synchronised += 1
        case .rejected(let from, let owner, _, let reason): rejected.append((index, from, owner, reason))
        }
    }

    mutating func deliver(_ bytes: [UInt8], from: Int, to: Int) {
        wires.send(Sent(from: from, to: to, bytes: bytes), over: Link(from: from, to: to)) { [tamper] sent in
            guard let tamper else { return sent }
            return tamper(from, to, sent.bytes).map { Sent(from: from, to: to, bytes: $0) }
        }
    }

    /// Runs the network for a while.
    mutating func run(for time: Interval) {
        let end = now + time
        while step(until: end) {}
        wires.rest(until: end)
    }

    /// Runs until nobody has anything to send and everything has arrived.
    @discardableResult
    mutating func settle(within time: Interval = .seconds(60)) -> Bool {
        let end = now + time
        while !(wires.isEmpty && nodes.indices.allSatisfy { wires.cut.contains($0) || nodes[$0].isQuiet }) {
            guard step(until: end) else { return false }
        }
        return true
    }

    private mutating func step(until end: Instant) -> Bool {
        switch wires.step(until: end, timer: nodes.compactMap(\.nextDeadline).min()) {
        case nil: return false
        case .event(let sent): receive(sent)
        case .timer:
            for index in nodes.indices {
                guard let deadline = nodes[index].nextDeadline, deadline <= now else { continue }
                act(index) { [now] in $0.advance(to: now, into: &$1) }
                if let deadline = nodes[index].nextDeadline, deadline <= now { Issue.record("a timer fires for ever") }
            }
        }
        return true
    }

    private mutating func receive(_ sent: Sent) {
        guard !wires.cut.contains(sent.to) else { return }
        let isTampered = tamper != nil
        act(sent.to) { [now] node, effects in
            do throws(DecodeError) {
                try node.receive(sent.bytes, from: Self.id(sent.from), now: now, into: &effects)
            } catch {
                if !isTampered { Issue.record("a message of a node does not decode: \(error)") }
            }
        }
    }

    // MARK: What came of it

    mutating func forgetSent() { sent = [] }

    /// Endpoints of `owner` that `index` has; checked against what it told.
    func live(of owner: Int, at index: Int) -> [EndpointID: EndpointRecord] {
        let records = nodes[index].endpoints(of: Self.id(owner), on: Self.network)
        let live = Dictionary(records.map { ($0.endpoint, $0) }, uniquingKeysWith: { $1 })
        #expect(index == owner || told[index][Self.id(owner)] ?? [:] == live, "effects and state differ")
        #expect(
            index == owner || attachments[index][Self.id(owner)] == nodes[index].attachment(of: Self.id(owner), on: Self.network))
        return live
    }

    /// Checks that every node holds what every owner has.
    func expectEqual(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
        for owner in nodes.indices {
            let expected = live(of: owner, at: owner)
            let attachment = nodes[owner].attachment(of: Self.id(owner), on: Self.network)
            let isAcknowledged = nodes[owner].isAcknowledged(Self.network)
            #expect(isAcknowledged, "\(owner): \(comment ?? "")", sourceLocation: sourceLocation)
            for index in nodes.indices where index != owner {
                let isEqual = live(of: owner, at: index) == expected
                #expect(isEqual, "\(owner) at \(index): \(comment ?? "")", sourceLocation: sourceLocation)
                let isAttached = nodes[index].attachment(of: Self.id(owner), on: Self.network) == attachment
                #expect(isAttached, "\(owner) at \(index): \(comment ?? "")", sourceLocation: sourceLocation)
            }
        }
    }

    func messages(from: Int? = nil, to: Int? = nil) -> [ReplicationMessage] {
        sent.lazy.filter { (from ?? $0.from) == $0.from && (to ?? $0.to) == $0.to }.compactMap {
            try? ReplicationMessage(wire: $0.bytes)
        }
    }
}

extension ReplicationMessage {
    var isBatch: Bool { if case .batch = self { true } else { false } }
    var batch: SignedBatch? { if case .batch(let batch, _) = self { batch } else { nil } }
    var isRelayed: Bool { if case .batch(_, .some) = self { true } else { false } }
    var isPart: Bool { if case .part = self { true } else { false } }
    var isPull: Bool { if case .pull = self { true } else { false } }
    var isAcknowledgement: Bool { if case .acknowledge = self { true } else { false } }
}
