import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

@Suite struct HostileLogTests {
    private static let position = LogPosition(life: 1, sequence: 5)
    private static let key = LogKey(network: LogNetwork.network, owner: LogNetwork.id(1))
    private static let bare = EndpointRecord(endpoint: EndpointID("0123456789ab")!, mac: MACAddress(bits: 2), v4: nil, v6: nil)
    private static let signature = [UInt8](repeating: 7, count: Budget.signature)
    private static let root = [UInt8](repeating: 8, count: Budget.digest)

    private static func batch(_ changes: [LogChange], life: UInt64 = 1, after: UInt64 = 5) -> SignedBatch {
        SignedBatch(
            network: key.network, owner: key.owner, life: life, after: after, changes: changes, signature: signature)
    }

    private static func part(
        _ records: [EndpointRecord], names: [NamePart] = [], total: UInt32 = 1, index: UInt32 = 0,
        at position: LogPosition = position
    ) -> SnapshotPart {
        SnapshotPart(
            network: key.network, owner: key.owner, position: position, root: root, signature: signature,
            attachment: LogNetwork.attachment(1), total: total, index: index, records: records, names: names)
    }

    private static let changes: [LogChange] = [
        .endpoint(LogNetwork.record(1)), .gone(bare.endpoint), .attach(LogNetwork.attachment(1)), .detach,
        .names(NamePart(endpoint: bare.endpoint, number: 3, names: ["www", "db.1"])), .namesGone(bare.endpoint, 254),
        .claims(LogNetwork.claims(1, count: 2)), .claims(EndpointClaims(of: bare.endpoint)),
        .fact(EndpointFact(9, of: bare.endpoint, [1, 2])), .fact(EndpointFact(255, of: bare.endpoint, [])),
    ]

    private static var told: SnapshotPart {
        var part = claimed
        part.facts = [EndpointFact(9, of: bare.endpoint, [1, 2])]
        return part
    }

    private static var claimed: SnapshotPart {
        var part = part([LogNetwork.record(1)])
        part.claims = [LogNetwork.claims(1, count: 2)]
        return part
    }

    private static let messages: [ReplicationMessage] = [
        .batch(batch(changes), relay: nil), .batch(batch(changes.filter { $0.version == 2 }), relay: nil),
        .batch(batch([.detach]), relay: RelayGroup(index: 2, of: 3)),
        .part(part([LogNetwork.record(1), LogNetwork.record(2)])),
        .part(part([bare], names: [NamePart(endpoint: bare.endpoint, number: 0, names: ["www"])])), .part(part([])),
        .part(part([bare], total: 9, index: 8)),
        .part(claimed), .part(told),
        .acknowledge(key.network, position, view: 9), .pull(key, have: .none, part: nil),
        .pull(key, have: position, part: PartRequest(position: position, first: 3, count: 16)),
        .compare([NetworkView(network: key.network, hash: 1), NetworkView(network: NetworkID(bits: 1), hash: 2)]), .compare([]),
        .vector(key.network, [VectorEntry(owner: key.owner, position: position)], isAnswer: false),
        .vector(key.network, [], isAnswer: true),
    ]

    /// Golden bytes of every change and message, as their size and hash, by the protocol that they came with. A form that is there
    /// never changes; a new one has the protocol of its release.
    @Test func formsAreThoseOfTheirProtocol() {
        func mark(_ version: UInt16) -> String {
            var hash = FNV1a<UInt32>()
            var writer = ByteWriter()
            for change in Self.changes where change.version == version { writer.value(change) }
            for message in Self.messages where message.version == version { writer.value(message) }
            hash.combine(writer.bytes)
            return "\(writer.bytes.count):\(String(hash.value, radix: 16))"
        }
        #expect(Set(Self.changes.map { $0.wireBytes[0] }) == Set(1...8), "a new change goes into the samples")
        #expect(Set(Self.messages.map { $0.wireBytes[0] }) == Set(1...8), "a new message goes into the samples")
        #expect(mark(2) == "2736:cf3fd89a")
        #expect(mark(3) == "1066:d2454940")
    }

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        expectHostileBytesAreHarmless([LogNetwork.record(1), Self.bare], seed: seed, mutations: 4000)
        expectHostileBytesAreHarmless([Self.position], seed: seed, mutations: 1000)
        expectHostileBytesAreHarmless([LogNetwork.attachment(0)], seed: seed, mutations: 1000)
        expectHostileBytesAreHarmless(Self.changes, seed: seed, mutations: 4000)
        expectHostileBytesAreHarmless(Self.messages, seed: seed, mutations: 8000)
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
        #expect(refused { $0.names = EndpointNames(names: (0...Limits.namesPerRecord).map { "n\($0)" }) })
        #expect(refused { $0.names = EndpointNames(names: (10..<18).map { "\($0)" + String(repeating: "x", count: 60) }) })
        #expect(!refused { $0.v4 = nil })
    }

    @Test(arguments: [0, 67, 68, 1500, 65_535, 65_536, .max] as [UInt32])
    func attachmentsThatNoTunnelCanHaveAreRefused(mtu: UInt32) {
        let vtep = IPAddress(v4: 192, 0, 2, 1)
        let isPossible = (68...65_535).contains(mtu)
        #expect((Attachment(vtep: vtep, mtu: mtu) != nil) == isPossible)
        let bytes = vtep.wireBytes + mtu.wireBytes
        #expect(((try? Attachment(wire: bytes)) != nil) == isPossible)
        #expect(Attachment(vtep: IPAddress(v4: 0, 0, 0, 0), mtu: 1500) == nil)
        #expect(Attachment(vtep: IPAddress(family: .v6, bits: 0), mtu: 1500) == nil)
    }

    /// Messages that no node sends.
    @Test func messagesThatMeanNothingAreRefused() {
        func refused(_ message: ReplicationMessage) -> Bool { (try? ReplicationMessage(wire: message.wireBytes)) == nil }
        #expect(refused(.batch(Self.batch([]), relay: nil)))
        #expect(refused(.batch(Self.batch([.detach], after: Limits.counter - 1), relay: nil)))
        #expect(refused(.batch(Self.batch([.detach], life: Limits.counter), relay: nil)))
        #expect(refused(.batch(Self.batch([.detach]), relay: RelayGroup(index: 3, of: 3))))
        #expect(refused(.batch(Self.batch([.detach]), relay: RelayGroup(index: 0, of: 0))))
        #expect(refused(.batch(Self.batch(Array(repeating: .detach, count: Budget.batch + 1)), relay: nil)))
        #expect(refused(.part(Self.part([], total: 0))))
        #expect(refused(.part(Self.part([], total: 2))))
        #expect(refused(.part(Self.part([Self.bare], total: 2, index: 2))))
        #expect(refused(.part(Self.part([Self.bare], total: UInt32(Self.mostParts) + 1))))
        #expect(refused(.part(Self.part(Array(repeating: Self.bare, count: 61)))))
        for count in [0, 17, 255] as [UInt8] {
            #expect(refused(.pull(Self.key, have: .none, part: PartRequest(position: .none, first: 0, count: count))))
        }
        #expect(refused(.compare(Array(repeating: NetworkView(network: Self.key.network, hash: 1), count: 41))))
        let entry = VectorEntry(owner: Self.key.owner, position: Self.position)
        #expect(refused(.vector(Self.key.network, Array(repeating: entry, count: 31), isAnswer: true)))
        #expect(!Self.messages.contains(where: refused))
    }

    private static let mostParts =
        Limits.endpointsPerLog + Limits.namePartsPerLog + Limits.claimantsPerLog + Limits.factsPerLog

    /// The largest message of each kind fits a datagram with its seal.
    @Test func theLargestMessagesFitADatagram() {
        var large = EndpointRecord(
            endpoint: EndpointID(String(repeating: "f", count: 64))!, mac: MACAddress(bits: 2),
            v4: IPAddress(v4: 255, 255, 255, 255), v6: IPAddress(family: .v6, bits: .max))
        #expect(large.wireBytes.count <= 106)
        // A record with the largest number of names and ports makes a batch, and a part, of its own.
        let tail = String(repeating: "x", count: Limits.nameBytesPerRecord / Limits.namesPerRecord - 2)
        large.names = EndpointNames(
            names: (10..<10 + Limits.namesPerRecord).map { "\($0)\(tail)" },
            ports: (1...UInt16(Limits.portsPerEndpoint)).map { ExposedPort(number: $0, transport: .udp) })
        #expect(large.names.names.count == Limits.namesPerRecord && large.names.ports.count == Limits.portsPerEndpoint)
        #expect(large.wireBytes.count <= Budget.batch - 1)
        let names = (0..<Limits.namesPerPart).map { index in
            "\(index / 10)\(index % 10)" + String(repeating: "x", count: Limits.nameBytesPerPart / Limits.namesPerPart - 2)
        }
        let largePart = NamePart(endpoint: large.endpoint, number: 254, names: names)
        #expect((try? NamePart(wire: largePart.wireBytes)) != nil && LogChange.names(largePart).wireBytes.count <= Budget.batch)
        #expect(largePart.wireBytes.count <= Budget.part)
        let attachment = Attachment(vtep: IPAddress(family: .v6, bits: .max), mtu: 65_535)!
        var pending = PendingChanges()
        let contents = LogContents()
        for number in 0..<40 {
            var record = large
            record.endpoint = EndpointID(String(repeating: "f", count: 62) + String(10 + number))!
            #expect(pending.add(.endpoint(record), over: contents) == .added)
        }
        for number in 0..<300 {
            let change = number % 2 == 0 ? LogChange.attach(attachment) : .detach
            #expect(pending.add(change, over: contents) == .added)
        }
        var sizes: [Int] = []
        for changes in pending.batches() {
            let batch = Self.batch(changes, life: Limits.counter - 1)
            sizes.append(ReplicationMessage.batch(batch, relay: RelayGroup(index: 65_534, of: 65_535)).wireBytes.count)
        }
        // Claims too, of an endpoint that has as many as it may.
        let claims = LogNetwork.claims(1, count: 40, version: Limits.counter - 1)
        #expect(claims.addresses.count == Limits.claimsPerEndpoint && claims.macs.count == Limits.claimsPerEndpoint)
        let change = LogChange.claims(claims).wireBytes
        #expect(change.count <= Budget.batch && (try? LogChange(wire: change)) == .claims(claims))
        var claimed = Self.part([], total: 65_536)
        claimed.attachment = attachment
        claimed.claims = Array(repeating: claims, count: Budget.part / claims.wireBytes.count)
        sizes.append(ReplicationMessage.part(claimed).wireBytes.count)
        var part = Self.part(Array(repeating: large, count: Budget.part / large.wireBytes.count), total: 65_536)
        part.attachment = attachment
        sizes.append(ReplicationMessage.part(part).wireBytes.count)
        let small = Array(repeating: Self.bare, count: Budget.part / Self.bare.wireBytes.count)
        sizes.append(ReplicationMessage.part(Self.part(small)).wireBytes.count)
        #expect((try? ReplicationMessage(wire: ReplicationMessage.part(Self.part(small)).wireBytes)) != nil)
        let views = Array(repeating: NetworkView(network: Self.key.network, hash: .max), count: ReplicationMessage.viewLimit)
        sizes.append(ReplicationMessage.compare(views).wireBytes.count)
        let entries = Array(
            repeating: VectorEntry(owner: Self.key.owner, position: Self.position), count: ReplicationMessage.vectorLimit)
        sizes.append(ReplicationMessage.vector(Self.key.network, entries, isAnswer: true).wireBytes.count)
        // 42 bytes of seal (PacketFormat.overhead) and one of kind.
        #expect(sizes.allSatisfy { $0 <= 1200 - 42 - 1 }, "\(sizes)")
        #expect(Budget.message == 1151)
    }

    @Test func claimsThatNobodyCanHaveAreRefused() {
        let good = LogNetwork.claims(1, count: 2)
        #expect((try? EndpointClaims(wire: good.wireBytes)) == good)
        func refused(_ address: EndpointClaims.Address) -> Bool {
            (try? EndpointClaims.Address(wire: address.wireBytes)) == nil
        }
        let address = IPAddress(v4: 10, 0, 0, 1)
        for mac in [MACAddress.zero, MACAddress(bits: 0x0100_5E00_0001)] {
            #expect(refused(.init(address, at: mac, number: 1)))
            #expect((try? EndpointClaims.Hardware(wire: EndpointClaims.Hardware(mac, number: 1).wireBytes)) == nil)
        }
        for other in [IPAddress(v4: 0, 0, 0, 0), IPAddress(v4: 224, 0, 0, 1), IPAddress(v4: 255, 255, 255, 255)] {
            #expect(refused(.init(other, at: MACAddress(bits: 2), number: 1)))
        }
        #expect(refused(.init(address, at: MACAddress(bits: 2), number: Limits.counter)))
        // Twice the same, or not in order.
        var writer = ByteWriter()
        writer.value(good.endpoint)
        writer.list(good.addresses.reversed())
        writer.list(good.macs)
        #expect((try? EndpointClaims(wire: writer.bytes)) == nil)
        writer = ByteWriter()
        writer.value(good.endpoint)
        writer.list(good.addresses)
        writer.list([good.macs[0], good.macs[0]])
        #expect((try? EndpointClaims(wire: writer.bytes)) == nil)
    }

    /// Numbers at the end of their range, from a hostile member.
    @Test(arguments: [Limits.counter - 1, Limits.counter - 3, 1 << 61, 1, 0] as [UInt64])
    func hugeNumbersNeverTrap(number: UInt64) {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.tamper = { $2 }
        let changes = [LogChange](repeating: .endpoint(LogNetwork.record(9)), count: 3)
        for life in [1, 2, Limits.counter - 1] as [UInt64] {
            let position = LogPosition(life: life, sequence: number)
            for owner in [LogNetwork.id(0), LogNetwork.id(1)] {
                let key = LogKey(network: LogNetwork.network, owner: owner)
                var batch = Self.batch(changes, life: life, after: number)
                batch.owner = owner
                var part = Self.part([], at: position)
                part.owner = owner
                // The owner itself may be hostile, and sign it.
                part.signature = TestSigning(node: owner).sign(OwnerLog.head(key, position, part.root))
                let request = PartRequest(position: position, first: .max, count: 16)
                for message in [
                    ReplicationMessage.acknowledge(LogNetwork.network, position, view: 1), .batch(batch, relay: nil), .part(part),
                    .batch(batch, relay: RelayGroup(index: 0, of: 1)), .pull(key, have: position, part: nil),
                    .pull(key, have: position, part: request),
                    .vector(LogNetwork.network, [VectorEntry(owner: owner, position: position)], isAnswer: number % 2 == 0),
                ] {
                    world.act(1) { [now = world.now] in
                        try? $0.receive(message.wireBytes, from: LogNetwork.id(0), now: now, into: &$1)
                    }
                }
            }
        }
        world.put(2)
        world.put(3, by: 1)
        _ = world.digest(of: 1, with: 0)
        world.run(for: .seconds(60))
        #expect(world.live(of: 1, at: 0) == LogNetwork.records([3]))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records([1, 2]))
        let isQuiet = world.nodes.allSatisfy(\.isQuiet)
        #expect(isQuiet)
    }

    @Test(arguments: 1...2 as ClosedRange<UInt64>)
    func alteredMessagesNeverTrap(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var node = Replication(node: LogNetwork.id(0), life: 1, signing: TestSigning(node: LogNetwork.id(0)), relayThreshold: 2)
        node.setKeys(LogNetwork.keys(4))
        var effects: [Replication.Effect] = []
        var now = Instant(nanoseconds: 0)
        node.subscribe(LogNetwork.network, to: Set((0..<4).map(LogNetwork.id)), now: now, into: &effects)
        var sent = 0
        for step in 0..<3500 {
            var bytes = Self.messages[step % Self.messages.count].wireBytes
            for _ in 0..<Int.random(in: 0...2, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
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
            sent += effects.count
        }
        #expect(node.endpoints(on: LogNetwork.network).isEmpty, "nothing of it is signed by its owner")
        #expect(sent < 3500 * 12)
    }

    /// A node that may not take part is not heard at all.
    @Test func strangersAreNotHeard() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribe(0, to: [LogNetwork.id(0), LogNetwork.id(1)])
        world.put(1)
        world.run(for: .milliseconds(1))
        let deadline = world.nodes[0].nextDeadline
        world.forgetSent()
        for message in Self.messages + [.acknowledge(LogNetwork.network, LogPosition(life: 1, sequence: 1), view: 0)] {
            world.deliver(message.wireBytes, from: 2, to: 0)
        }
        world.run(for: .milliseconds(1))
        let isAcknowledged = world.nodes[0].isAcknowledged(LogNetwork.network)
        #expect(!isAcknowledged && world.nodes[0].nextDeadline == deadline && world.sent.isEmpty && world.rejected.isEmpty)
    }

    /// Found by fuzzing: a stream carries more than a datagram, and accepted batches would be passed on as they are.
    @Test func whatFitsNoDatagramIsNotTaken() throws {
        var replication = Replication(node: LogNetwork.id(0), life: 1, signing: TestSigning(node: LogNetwork.id(0)))
        var effects: [Replication.Effect] = []
        #expect(throws: DecodeError.tooLong(limit: 1151)) {
            try replication.receive(
                [UInt8](repeating: 0, count: 1152), from: LogNetwork.id(1), now: Instant(nanoseconds: 0), into: &effects)
        }
        #expect(effects.isEmpty)
    }
}
