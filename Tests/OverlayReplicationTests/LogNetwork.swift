import OverlayModel
import Testing

@testable import OverlayReplication

/// Replication cores in virtual time; node 0 is the owner where there is one. The network loses, doubles and reorders.
struct LogNetwork {
    static let network = NetworkID(bits: 77)

    private(set) var nodes: [Replication]
    private(set) var now = Instant(nanoseconds: 0)
    /// What each node told of others' endpoints: the sum of its effects.
    private(set) var told: [[EndpointID: EndpointRecord]]
    private(set) var sent: [(from: Int, to: Int, bytes: [UInt8])] = []
    private(set) var synchronised = 0
    var loss = 0.0
    var duplication = 0.0
    /// In microseconds.
    var longestDelay = 200
    var cut: Set<Int> = []
    private var generator: SeededGenerator
    private var events: [(at: Instant, order: Int, from: Int, to: Int, bytes: [UInt8])] = []
    private var order = 0

    init(count: Int, seed: UInt64) {
        nodes = (0..<count).map { Replication(node: Self.id($0), boot: 1) }
        told = Array(repeating: [:], count: count)
        generator = SeededGenerator(seed: seed)
    }

    static func id(_ index: Int) -> NodeID { NodeID(bits: UInt128(index + 1)) }

    static func record(_ number: Int, version: Int = 0) -> EndpointRecord {
        let digits = String(number)
        return EndpointRecord(
            endpoint: EndpointID(String(repeating: "0", count: 64 - digits.count) + digits)!,
            mac: MACAddress(bits: 0x0242_0000_0000 + UInt64(number) << 8 + UInt64(version)),
            v4: IPAddress(family: .v4, bits: 0x0A00_0000 + UInt128(number)),
            v6: IPAddress(family: .v6, bits: UInt128(0xFD) << 120 | UInt128(number)))
    }

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

    /// The process starts anew and remembers nothing.
    mutating func restart(_ index: Int) {
        nodes[index] = Replication(node: Self.id(index), boot: nodes[index].boot + 1)
        told[index] = [:]
    }

    mutating func act(_ index: Int, _ body: (inout Replication, inout [Replication.Effect]) -> Void) {
        var effects: [Replication.Effect] = []
        body(&nodes[index], &effects)
        for effect in effects {
            switch effect {
            case .send(let peer, let bytes):
                guard let to = nodes.indices.first(where: { Self.id($0) == peer }) else { continue }
                sent.append((index, to, bytes))
                deliver(bytes, from: index, to: to)
            case .changed(_, _, let record, let old):
                if told[index].updateValue(record, forKey: record.endpoint) != old { Issue.record("another record was replaced") }
            case .gone(_, _, let record):
                if told[index].removeValue(forKey: record.endpoint) != record { Issue.record("what is gone was not there") }
            case .synchronised: synchronised += 1
            }
        }
    }

    mutating func deliver(_ bytes: [UInt8], from: Int, to: Int) {
        guard !cut.contains(from), !cut.contains(to), Double.random(in: 0..<1, using: &generator) >= loss else { return }
        for _ in 0..<(Double.random(in: 0..<1, using: &generator) < duplication ? 3 : 1) {
            let delay = Interval.microseconds(Int64.random(in: 50...Int64(max(51, longestDelay)), using: &generator))
            events.append((now + delay, order, from, to, bytes))
            order += 1
        }
    }

    mutating func run(for time: Interval) {
        let end = now + time
        while true {
            let event = events.indices.min { (events[$0].at, events[$0].order) < (events[$1].at, events[$1].order) }
            guard let next = [event.map { events[$0].at }, nodes.compactMap(\.nextDeadline).min()].compactMap({ $0 }).min(),
                next <= end
            else { break }
            now = max(now, next)
            if let event, events[event].at <= now {
                let (_, _, from, to, bytes) = events.remove(at: event)
                guard !cut.contains(to) else { continue }
                act(to) { [now] node, effects in
                    do throws(DecodeError) {
                        try node.receive(bytes, from: Self.id(from), now: now, into: &effects)
                    } catch {
                        Issue.record("a message of a node does not decode: \(error)")
                    }
                }
            } else {
                for index in nodes.indices { act(index) { [now] in $0.advance(to: now, into: &$1) } }
            }
        }
        now = end
    }

    /// What the membership does once a second: each tells each what it holds of it.
    mutating func compareDigests() {
        for from in nodes.indices {
            for to in nodes.indices where from != to {
                let digest = nodes[from].digest(of: Self.id(to))
                act(to) { [now] in $0.compare(digest, with: Self.id(from), now: now, into: &$1) }
            }
        }
    }

    mutating func forgetSent() { sent = [] }

    func live(of owner: Int, at index: Int) -> [EndpointID: EndpointRecord] {
        let mine = nodes[index].endpoints(on: Self.network).filter { $0.owner == Self.id(owner) }.map(\.record)
        return Dictionary(mine.map { ($0.endpoint, $0) }, uniquingKeysWith: { $1 })
    }

    var messages: [ReplicationMessage] { sent.compactMap { try? ReplicationMessage(wire: $0.bytes) } }
    var snapshots: Int {
        messages.count { if case .snapshot = $0 { true } else { false } }
    }
}
