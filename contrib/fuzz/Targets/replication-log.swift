public import Fuzzing
import OverlayModel

@testable import OverlayReplication

private let id = NodeID(bits: 9)
private let peers = (1...4).map { NodeID(bits: UInt128($0)) }
private let networks = [NetworkID(bits: 5), NetworkID(bits: 6)]

/// Replaces SHA-256 and Ed25519, so that inputs can be signed, with the same signature in every run.
private struct Signing: RecordSigning {
    let node: NodeID

    static func key(of node: NodeID) -> [UInt8] { Array(repeating: 0xA5, count: 16) + node.bytes }

    /// FNV-1a, extended to 32 bytes.
    func hash(_ bytes: [UInt8]) -> [UInt8] {
        var generator = SeededGenerator(seed: bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 })
        return (0..<4).flatMap { _ in generator.next().wireBytes }
    }

    func sign(_ bytes: [UInt8]) -> [UInt8] { signature(of: bytes, by: Self.key(of: node)) }

    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        signature == self.signature(of: bytes, by: publicKey)
    }

    private func signature(of bytes: [UInt8], by key: [UInt8]) -> [UInt8] { hash(key + bytes) + hash(bytes + key) }
}

private func record(_ index: UInt8, version: UInt8 = 0) -> EndpointRecord {
    EndpointRecord(
        endpoint: EndpointID(unchecked: "0123456789ab" + hexadecimal([index])),
        mac: MACAddress(bits: 0x0242_0000_0000 | UInt64(index)), v4: IPAddress(v4: 10, 0, version, index), v6: nil)
}

/// Record with an endpoint id of full length. Twelve of them make a part.
private func long(_ index: UInt8) -> EndpointRecord {
    var record = record(index)
    record.endpoint = EndpointID(unchecked: String(repeating: "0", count: 62) + hexadecimal([index]))
    return record
}

/// Record with more names than it has room for: they come in parts.
private func crowded(_ index: UInt8, names: Int) -> EndpointRecord {
    var record = record(index)
    record.names = EndpointNames(names: (0..<names).map { "name-\($0 &* Int(index | 1) % 251)" })
    return record
}

private func keys(_ count: Int) -> [NodeID: [UInt8]] {
    Dictionary(uniqueKeysWithValues: (peers.prefix(count) + [id]).map { ($0, Signing.key(of: $0)) })
}

/// One node's logs: its own changes, and messages of its peers. Each step is a byte that tells what happens, one that tells to whom
/// or how much, and for 0…2 a message: 0 as it is, 1 signed, 2 signed and with matching numbers.
private struct Subject {
    var node = Replication(node: id, life: 1, signing: Signing(node: id), relayThreshold: 2)
    private(set) var now = Instant(nanoseconds: 0)
    private var records: [OverlayReplication.LogKey: [EndpointID: EndpointRecord]] = [:]
    private var attachments: [OverlayReplication.LogKey: Attachment] = [:]
    private var claims: [OverlayReplication.LogKey: [EndpointID: EndpointClaims]] = [:]

    init() {
        // The last peer's key is not known.
        node.setKeys(keys(peers.count - 1))
        var effects: [Replication.Effect] = []
        node.subscribe(networks[0], to: Set(peers), now: now, into: &effects)
    }

    /// - Returns: Effects of the step; nil at the end of the input.
    mutating func step(_ reader: inout ByteReader) -> [Replication.Effect]? {
        guard let kind = try? reader.byte(), let which = try? reader.byte() else { return nil }
        let peer = peers[Int(which & 3)]
        let network = networks[Int(which >> 7)]
        var effects: [Replication.Effect] = []
        switch kind {
        case 0...2:
            guard let said = try? reader.value(ReplicationMessage.self) else { return nil }
            let bytes = kind == 0 ? said.wireBytes : signed(said, isNext: kind == 2).wireBytes
            try? node.receive(bytes, from: peer, now: now, into: &effects)
        case 3: for index in 0..<which & 63 { node.put(long(index), on: network, now: now, into: &effects) }
        case 4: node.put(record(which & 15, version: which >> 4 & 7), on: network, now: now, into: &effects)
        case 5: node.remove(record(which & 15).endpoint, from: network, now: now, into: &effects)
        case 6: now = now + .milliseconds(Int64(which))
        case 7: now = now + .milliseconds(Int64(which) * 100)
        case 8: node.compare(UInt64(which), with: peer, now: now, into: &effects)
        case 9: node.subscribe(network, to: Set(peers.prefix(Int(which & 127) % 5)), now: now, into: &effects)
        case 10: node.unsubscribe(network, into: &effects)
        case 11: node.setReachable(peer, which & 4 == 0, now: now, into: &effects)
        case 12: node.reset(peer, now: now, into: &effects)
        case 13:
            guard let new = Attachment(vtep: IPAddress(v4: 192, 0, 2, 9), mtu: 1400 + UInt32(which & 127)) else { return nil }
            node.attach(new, to: network, now: now, into: &effects)
        case 14: node.detach(from: network, now: now, into: &effects)
        case 15: node.setRoundTrip(peer, which & 4 == 0 ? .milliseconds(Int64(which)) : nil)
        case 16:
            node.leaveAll(into: &effects)
            node.setLife(1 + UInt64(which))
        case 17: node.setKeys(keys(Int(which & 3) + 1))
        case 18: node.put(crowded(which & 3, names: Int(which & 127)), on: network, now: now, into: &effects)
        default: break
        }
        node.advance(to: now, into: &effects)
        require(node.nextDeadline.map { $0 > now } ?? true, "what is due was done")
        for effect in effects { note(effect) }
        for network in networks {
            let count = peers.reduce(0) { $0 + node.count(of: $1, on: network) }
            require(node.endpoints(on: network).count == count, "all are counted")
        }
        return effects
    }

    /// The message with the signature of its owner, so that not every altered byte ends at the signature check.
    /// - Parameter isNext: True if a batch is made to follow the known end of the log.
    private func signed(_ message: ReplicationMessage, isNext: Bool) -> ReplicationMessage {
        switch message {
        case .batch(var batch, let relay):
            let log = node.networks[batch.network]?.remotes[batch.owner]?.log
            if isNext {
                batch.life = log?.position.life ?? batch.life
                batch.after = log?.position.sequence ?? batch.after
            }
            let signing = Signing(node: batch.owner)
            var contents = log?.contents ?? LogContents()
            _ = contents.apply(batch.changes, signing: signing)
            batch.signature = signing.sign(OwnerLog.head(batch.key, batch.end, contents.root(signing)))
            return .batch(batch, relay: relay)
        case .part(var part):
            let signing = Signing(node: part.owner)
            let isAscending = zip(part.records, part.records.dropFirst()).allSatisfy { $0.endpoint < $1.endpoint }
            if part.total == 1, isAscending, let all = DividedRecord.all(part.records, part.names) {
                part.root = LogContents(all, attachment: part.attachment, signing: signing).root(signing)
            }
            part.signature = signing.sign(OwnerLog.head(part.key, part.position, part.root))
            return .part(part)
        default: return message
        }
    }

    /// Checks that each reported change starts from the state reported before.
    private mutating func note(_ effect: Replication.Effect) {
        switch effect {
        case .send(let peer, let bytes):
            require(peer != id, "nothing is sent to oneself")
            require(bytes.count <= Budget.message, "\(bytes.count) bytes fit a datagram")
            require((try? ReplicationMessage(wire: bytes)) != nil, "what a node says can be read")
        case .attached(let owner, let network, let attachment, let old):
            let key = OverlayReplication.LogKey(network: network, owner: owner)
            require(attachments.updateValue(attachment, forKey: key) == old, "the attachment before is the one told")
        case .detached(let owner, let network, let attachment):
            let key = OverlayReplication.LogKey(network: network, owner: owner)
            require(attachments.removeValue(forKey: key) == attachment, "what is detached was attached")
        case .changed(let owner, let network, let record, let old):
            let key = OverlayReplication.LogKey(network: network, owner: owner)
            let told = records[key, default: [:]].updateValue(record, forKey: record.endpoint)
            require(told == old, "the record before is the one told")
        case .gone(let owner, let network, let record):
            let key = OverlayReplication.LogKey(network: network, owner: owner)
            require(records[key]?.removeValue(forKey: record.endpoint) == record, "what is gone was there")
        case .claimed(let owner, let network, let claims, let old):
            let key = OverlayReplication.LogKey(network: network, owner: owner)
            let told = self.claims[key, default: [:]].updateValue(claims, forKey: claims.endpoint)
            require(told ?? EndpointClaims(of: claims.endpoint) == old, "the claims before are the ones told")
        case .synchronised, .rejected: break
        }
    }

    /// Checks that values kept up to date change by change equal those computed from the beginning.
    mutating func finish() {
        for network in networks {
            for peer in peers {
                let key = OverlayReplication.LogKey(network: network, owner: peer)
                require(node.attachment(of: peer, on: network) == attachments[key], "the attachment was told")
                let told = (records[key] ?? [:]).values.sorted { $0.endpoint < $1.endpoint }
                require(node.endpoints(of: peer, on: network) == told, "the endpoints were told")
            }
            guard let logs = node.networks[network] else { continue }
            let view = logs.remotes.reduce(ViewHash.position(of: id, logs.own.position)) {
                $0 ^ ($1.value.log.map { [owner = $1.key] log in ViewHash.position(of: owner, log.position) } ?? 0)
            }
            require(view == logs.view, "the view is of all logs")
        }
        for peer in peers {
            let digest = node.networks.reduce(0 as UInt64) {
                $0 ^ ($1.value.subscribers[peer] == nil ? 0 : ViewHash.view($1.value.view, of: $1.key))
            }
            require(node.digest(with: peer) == digest, "the digest is of all networks shared")
        }
        let held = node.networks.values.flatMap { $0.remotes.values }.reduce(0) { $0 + ($1.catchUp?.held.count ?? 0) }
        require(node.held == held, "all batches held are counted")
    }
}

/// The node among well-behaved owners, all in one instant except for the duration of steps. What the node received becomes an
/// input.
private struct Scenario {
    private var subject = Subject()
    private var others: [NodeID: Replication] = [:]
    private var queue: [(from: NodeID, to: NodeID, bytes: [UInt8])] = []
    private(set) var bytes: [UInt8] = []
    /// True if messages that were sent last arrive first.
    var isReversed = false
    /// True if nothing reaches the node.
    var isCut = false

    /// Counters by which a scenario can tell whether it was understood.
    var counters: ReplicationCounters { subject.node.counters }

    init() {
        for peer in peers {
            others[peer] = Replication(node: peer, life: 2, signing: Signing(node: peer), relayThreshold: 2)
            others[peer]?.setKeys(keys(peers.count))
        }
    }

    /// Performs one step of the node itself.
    mutating func step(_ kind: UInt8, _ which: UInt8) {
        take([kind, which])
        for peer in peers { act(peer) { _, _, _ in } }
        run()
    }

    /// Performs an action of an owner.
    mutating func act(_ peer: NodeID, _ body: (inout Replication, Instant, inout [Replication.Effect]) -> Void) {
        var effects: [Replication.Effect] = []
        guard var other = others[peer] else { return }
        body(&other, subject.now, &effects)
        other.advance(to: subject.now, into: &effects)
        others[peer] = other
        send(effects, from: peer)
    }

    mutating func subscribe(_ peer: NodeID) {
        act(peer) { $0.subscribe(networks[0], to: Set(peers + [id]), now: $1, into: &$2) }
        run()
    }

    mutating func put(_ peer: NodeID, _ indices: Range<UInt8>) {
        act(peer) { for index in indices { $0.put(record(index), on: networks[0], now: $1, into: &$2) } }
        run()
    }

    mutating func run() {
        while !queue.isEmpty, bytes.count < 4096 {
            let next = isReversed ? queue.removeLast() : queue.removeFirst()
            if next.to != id {
                act(next.to) { try? $0.receive(next.bytes, from: next.from, now: $1, into: &$2) }
            } else if !isCut, let index = peers.firstIndex(of: next.from) {
                take([0, UInt8(index)] + next.bytes)
            }
        }
    }

    private mutating func take(_ step: [UInt8]) {
        bytes += step
        var reader = ByteReader(step)
        send(subject.step(&reader) ?? [], from: id)
    }

    private mutating func send(_ effects: [Replication.Effect], from: NodeID) {
        for case .send(let to, let bytes) in effects { queue.append((from, to, bytes)) }
    }
}

private func scenario(_ tell: (inout Scenario) -> Void) -> [UInt8] {
    var scenario = Scenario()
    tell(&scenario)
    return scenario.bytes
}

private func scenarios() -> [[UInt8]] {
    let attachment = Attachment(vtep: IPAddress(v4: 192, 0, 2, 1), mtu: 1450)
    return [
        // Batches, as many as a log may have, and their acknowledgements.
        scenario {
            $0.subscribe(peers[0])
            $0.act(peers[0]) { if let attachment { $0.attach(attachment, to: networks[0], now: $1, into: &$2) } }
            $0.put(peers[0], 1..<4)
            $0.step(6, 5)
            $0.act(peers[0]) { $0.remove(record(2).endpoint, from: networks[0], now: $1, into: &$2) }
            $0.step(6, 5)
            $0.act(peers[0]) { $0.detach(from: networks[0], now: $1, into: &$2) }
            $0.step(6, 250)
            require($0.counters.batchesReceived > 0, "batches are taken")
        },
        // A snapshot of two parts, and a batch that arrives in between.
        scenario {
            $0.act(peers[1]) { for index in 0..<20 as Range<UInt8> { $0.put(long(index), on: networks[0], now: $1, into: &$2) } }
            $0.subscribe(peers[1])
            $0.put(peers[1], 1..<2)
            $0.step(6, 50)
            require($0.counters.snapshots > 0, "snapshots are taken")
        },
        // The node passes a log on to two others.
        scenario {
            $0.step(3, 30)
            $0.step(13, 7)
            for peer in peers.prefix(2) { $0.subscribe(peer) }
            $0.step(4, 1)
            $0.step(6, 20)
            $0.step(5, 1)
            $0.step(6, 250)
        },
        // Batches that overtake one another and some that are lost, so that the node pulls.
        scenario {
            $0.subscribe(peers[0])
            $0.step(6, 20)
            $0.isReversed = true
            $0.act(peers[0]) { for index in 0..<40 as Range<UInt8> { $0.put(long(index), on: networks[0], now: $1, into: &$2) } }
            $0.step(6, 30)
        },
        scenario {
            $0.subscribe(peers[0])
            $0.step(6, 20)
            $0.isCut = true
            $0.put(peers[0], 1..<3)
            $0.step(6, 2)
            $0.isCut = false
            $0.put(peers[0], 3..<5)
            $0.step(6, 30)
            $0.step(6, 30)
        },
        // Endpoints whose names come in parts, by batches and by a snapshot, and change.
        scenario {
            $0.step(18, 120)
            $0.act(peers[1]) { $0.put(crowded(5, names: 200), on: networks[0], now: $1, into: &$2) }
            $0.subscribe(peers[1])
            $0.step(6, 50)
            $0.act(peers[1]) { $0.put(crowded(5, names: 90), on: networks[0], now: $1, into: &$2) }
            $0.step(18, 40)
            $0.step(6, 50)
            $0.act(peers[1]) { $0.remove(record(5).endpoint, from: networks[0], now: $1, into: &$2) }
            $0.step(5, 0)
            $0.step(6, 250)
            require($0.counters.snapshots > 0 && $0.counters.batchesReceived > 0, "parts are taken")
        },
        // Digests that differ: compares and vectors, asked and answered, and a third node's log.
        scenario {
            for peer in peers.prefix(3) { $0.subscribe(peer) }
            $0.step(6, 20)
            $0.isCut = true
            $0.put(peers[0], 1..<3)
            $0.step(6, 2)
            $0.isCut = false
            $0.act(peers[0]) { $0.setReachable(id, false, now: $1, into: &$2) }
            $0.step(8, 1)
            $0.step(6, 60)
            $0.act(peers[2]) { $0.compare(1, with: id, now: $1, into: &$2) }
            $0.step(6, 60)
            $0.step(6, 60)
        },
        // A subscriber that forgets, one that leaves, and a new life of the node.
        scenario {
            $0.subscribe(peers[0])
            $0.step(4, 3)
            $0.step(12, 0)
            $0.step(11, 4)
            $0.step(4, 4)
            $0.step(11, 0)
            $0.step(6, 250)
            $0.step(9, 0)
            $0.step(16, 4)
            $0.step(9, 132)
            $0.step(9, 4)
            $0.step(7, 200)
        },
    ]
}

/// Single messages, signed by the harness.
private func messages() -> [[UInt8]] {
    let key = OverlayReplication.LogKey(network: networks[0], owner: peers[0])
    let position = LogPosition(life: 2, sequence: 1)
    let zeros = [UInt8](repeating: 0, count: Budget.signature)
    func batch(_ changes: [LogChange], after: UInt64 = 1) -> ReplicationMessage {
        .batch(
            SignedBatch(network: key.network, owner: key.owner, life: 2, after: after, changes: changes, signature: zeros),
            relay: RelayGroup(index: 0, of: 1))
    }
    func part(_ records: [EndpointRecord], at position: LogPosition, total: UInt32 = 1) -> ReplicationMessage {
        .part(
            SnapshotPart(
                network: key.network, owner: key.owner, position: position, root: Array(zeros.prefix(Budget.digest)),
                signature: zeros, attachment: nil, total: total, index: 0, records: records))
    }
    let messages: [ReplicationMessage] = [
        part([record(1), record(2)], at: position), batch([.endpoint(record(3)), .gone(record(1).endpoint)]),
        batch([.detach], after: 7),
        batch([
            .endpoint(record(1)), .names(NamePart(endpoint: record(1).endpoint, number: 2, names: ["www"])),
            .namesGone(record(1).endpoint, 2),
        ]),
        part([record(1)], at: LogPosition(life: 2, sequence: 9), total: 3), .acknowledge(key.network, position, view: 1),
        .acknowledge(key.network, LogPosition(life: 1, sequence: 1), view: 2), .pull(key, have: .none, part: nil),
        .pull(OverlayReplication.LogKey(network: key.network, owner: id), have: .none, part: nil),
        .pull(key, have: position, part: PartRequest(position: position, first: 0, count: 16)),
        .compare([NetworkView(network: key.network, hash: 1)]),
        .vector(key.network, [VectorEntry(owner: peers[1], position: position)], isAnswer: false),
        .vector(key.network, [VectorEntry(owner: id, position: .none)], isAnswer: true),
    ]
    let own: [UInt8] = [4, 9, 6, 2]
    let later: [UInt8] = [6, 60, 5, 9, 6, 250]
    let steps = messages.map { [2, 0] + $0.wireBytes }
    return steps.map { own + $0 + later } + [steps.flatMap { $0 + [6, 4] } + later]
}

@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: scenarios() + messages()) { bytes in
        var subject = Subject()
        var reader = ByteReader(bytes)
        var steps = 0
        while steps < 128, subject.step(&reader) != nil { steps += 1 }
        subject.finish()
    }
}
