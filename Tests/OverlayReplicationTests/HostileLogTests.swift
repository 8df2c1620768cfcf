import OverlayModel
import Testing

@testable import OverlayReplication

@Suite struct HostileLogTests {
    private static let position = LogPosition(boot: 1, sequence: 5)

    private static let messages: [ReplicationMessage] = [
        .changes(LogNetwork.network, boot: 1, after: 5, [.endpoint(LogNetwork.record(1)), .gone(LogNetwork.record(2).endpoint)]),
        .changes(LogNetwork.network, boot: 1, after: 0, []), .snapshot(LogNetwork.network, position, [LogNetwork.record(1)]),
        .snapshot(LogNetwork.network, position, []), .acknowledge(LogNetwork.network, position),
    ]

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        let bare = EndpointRecord(endpoint: EndpointID("0123456789ab")!, mac: MACAddress(bits: 2), v4: nil, v6: nil)
        expectHostileBytesAreHarmless([LogNetwork.record(1), bare], seed: seed)
        expectHostileBytesAreHarmless([Self.position], seed: seed)
        expectHostileBytesAreHarmless([LogChange.endpoint(bare), .gone(bare.endpoint)], seed: seed)
        expectHostileBytesAreHarmless(Self.messages, seed: seed)
    }

    @Test func recordsThatNoEndpointCanHaveAreRefused() {
        let good = LogNetwork.record(1)
        func refused(_ change: (inout EndpointRecord) -> Void) -> Bool {
            var record = good
            change(&record)
            return (try? EndpointRecord(wire: record.wireBytes)) == nil
        }
        #expect(refused { $0.mac = .zero })
        #expect(refused { $0.mac = MACAddress("01:00:5e:00:00:01")! })
        #expect(refused { $0.mac = MACAddress("ff:ff:ff:ff:ff:ff")! })
        #expect(refused { $0.v4 = good.v6 })
        #expect(refused { $0.v6 = good.v4 })
        #expect(!refused { $0.v4 = nil })
    }

    /// Numbers at the end of their range, from a member with ill will.
    @Test(arguments: [.max, .max - 1, 1 << 63] as [UInt64])
    func hugeNumbersNeverTrap(number: UInt64) {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        let changes = [LogChange](repeating: .endpoint(LogNetwork.record(9)), count: 3)
        for boot in [1, 2, .max] as [UInt32] {
            for message in [
                ReplicationMessage.acknowledge(LogNetwork.network, LogPosition(boot: boot, sequence: number)),
                .changes(LogNetwork.network, boot: boot, after: number, changes),
                .snapshot(LogNetwork.network, LogPosition(boot: boot, sequence: number), []),
                .changes(LogNetwork.network, boot: boot, after: number, changes),
                .changes(LogNetwork.network, boot: boot, after: 0, changes),
            ] {
                world.act(1) { [now = world.now] in try? $0.receive(message.wireBytes, from: LogNetwork.id(0), now: now, into: &$1)
                }
            }
        }
        world.put(2)
        world.put(3, by: 1)
        _ = world.nodes[1].digest(of: LogNetwork.id(0))
        world.run(for: .seconds(1))
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func alteredMessagesNeverTrap(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var node = Replication(node: LogNetwork.id(0), boot: 1)
        var effects: [Replication.Effect] = []
        var now = Instant(nanoseconds: 0)
        node.subscribe(LogNetwork.network, to: Set((0..<4).map(LogNetwork.id)), now: now, into: &effects)
        for step in 0..<8000 {
            var bytes = Self.messages[step % Self.messages.count].wireBytes
            for _ in 0..<Int.random(in: 0...2, using: &generator) {
                // Not the network's id: that would only be ignored.
                let position =
                    Int.random(in: 0..<2, using: &generator) == 0 ? 0 : Int.random(in: 17..<bytes.count, using: &generator)
                bytes[position] = [0, 1, 2, 3, 255, generator.next()].randomElement(using: &generator)!
            }
            effects = []
            try? node.receive(bytes, from: LogNetwork.id(Int.random(in: 1...4, using: &generator)), now: now, into: &effects)
            if step % 5 == 0 {
                node.put(LogNetwork.record(step % 30, version: step % 9), on: LogNetwork.network, now: now, into: &effects)
            }
            if step % 7 == 0 { node.compare(generator.next(), with: LogNetwork.id(step % 4), now: now, into: &effects) }
            now = now + .milliseconds(3)
            node.advance(to: now, into: &effects)
        }
        #expect(node.endpoints(on: LogNetwork.network).count < 10_000)
    }

    /// Who may not take part is not heard at all.
    @Test func acknowledgementsOfStrangersDoNothing() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribe(0, to: [LogNetwork.id(0), LogNetwork.id(1)])
        world.put(1)
        world.run(for: .milliseconds(1))
        let deadline = world.nodes[0].nextDeadline
        world.deliver(
            ReplicationMessage.acknowledge(LogNetwork.network, LogPosition(boot: 1, sequence: 1)).wireBytes, from: 2, to: 0)
        world.run(for: .milliseconds(1))
        #expect(!world.nodes[0].isAcknowledged(LogNetwork.network) && world.nodes[0].nextDeadline == deadline)
    }
}
