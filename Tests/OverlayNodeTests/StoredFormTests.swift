import OverlayCatalogue
import OverlayIPAM
import OverlayModel
import OverlayReplication
import Testing

@testable import OverlayNode

/// Golden bytes of every kind of row and of every message of this target, by version: a form that changes needs a number of its own
/// (`Wire` tells how).
@Suite struct StoredFormTests {
    /// Size and FNV-1a of bytes.
    private static func mark(_ bytes: [UInt8]) -> String {
        var hash = FNV1a<UInt32>()
        hash.combine(bytes)
        return "\(bytes.count):\(String(hash.value, radix: 16))"
    }

    /// Rows of the schema, each form at least once.
    static let golden: [Int: [StoreSpace: String]] = [
        2: [
            .node: "92:aebe0a74", .catalogueEntry: "2226:15862493", .catalogueSnapshot: "810:d6837994", .network: "979:1cb0f8fa",
            .endpoint: "579:dd97ca8b", .lease: "104:171b3b80", .closing: "33:5eb23b4a",
            .handover: "44:21f9e2f5", .quarantine: "44:21f9e2f5", .declined: "116:4edc8450", .claim: "216:ee2720d1",
        ]
    ]

    private static func rows(_ space: StoreSpace) throws -> [StoreWrite] {
        switch space {
        case .node: nodeRows
        case .catalogueEntry: entries.map { .put(space, key: $0.index.wireBytes, value: $0.wireBytes) }
        case .catalogueSnapshot:
            [
                .put(space, key: [0], value: catalogue.wireBytes),
                .put(space, key: [1], value: Term(number: 3, writer: Part.node).wireBytes),
            ]
        case .network: try networks()
        case .endpoint: try endpoints()
        case .lease:
            [
                Lease(subnet: Part.subnet, address: Part.address(9), mac: Part.mac(9)),
                Lease(subnet: SubnetID(1 << 33), address: v6, mac: Part.mac(10)),
            ].map { .put(.lease, key: $0.storeKey, value: $0.wireBytes) }
        case .closing:
            [Closings().begun(Part.subnet, isRemoval: false), Closings().begun(SubnetID(2), isRemoval: true)]
        case .handover: handovers()
        case .quarantine:
            // As `Addresses` writes it.
            [Handover(subnet: Part.subnet, range: Part.range(1, 9))].map { .put(space, key: $0.storeKey, value: $0.wireBytes) }
        case .declined: try declined()
        case .claim:
            [.put(space, key: claims.endpoint.wireBytes, value: claims.wireBytes)]
        }
    }

    private static func handovers() -> [StoreWrite] {
        var handovers = Handovers()
        return [handovers.begin(Handover(subnet: Part.subnet, range: Part.range(1, 9)), to: .anybody)]
    }

    private static let v6 = IPAddress(family: .v6, bits: UInt128(0xFD) << 120 | 9)

    private static let nodeRows: [StoreWrite] = {
        var journal = WriteJournal(count: 7, announced: 5)
        let epoch = Life(epoch: 3, boot: 9, isRolledBack: false).row
        return journal.number([epoch], of: Part.effect(1)) + [
            .put(.node, key: NodeRow.boot, value: UInt32(9).wireBytes), .put(.node, key: NodeRow.rollback, value: []),
        ]
    }()

    private static func networks() throws -> [StoreWrite] {
        var inventory = try Inventory(rows: [:], seed: 1)
        var network = LocalNetwork(id: Part.engineNetwork(1), network: Part.network, subnets: [Part.subnet, SubnetID(2)])
        var writes = [inventory.put(network)]
        network.name = "web"
        for admission in [Admission.undecided, .foreign, .different] {
            network.admission = admission
            writes.append(inventory.put(network))
        }
        network.isAutomatic = true
        network.aliases = [PoolAlias(pool: SubnetID(7), subnet: SubnetID(8))]
        writes.append(inventory.put(network))
        return writes
    }

    private static func endpoints() throws -> [StoreWrite] {
        var inventory = try Inventory(rows: [:], seed: 1)
        var endpoint = Part.local(1)
        var writes = [inventory.put(endpoint)]
        endpoint.v6 = IPPrefix(v6, length: 64)
        endpoint.isJoined = true
        endpoint.hasPort = true
        endpoint.hasMulticastRoute = true
        endpoint.sandbox = "/var/run/docker/netns/1"
        endpoint.givenName = "db"
        endpoint.learned = EndpointNames(names: ["c1", "www"], ports: [ExposedPort(number: 80, transport: .tcp)])
        endpoint.isElsewhere = true
        writes.append(inventory.put(endpoint))
        return writes
    }

    private static func declined() throws -> [StoreWrite] {
        var inventory = try Inventory(rows: [:], seed: 1)
        return [inventory.decline(Part.network), inventory.decline(Part.other, as: Part.engineNetwork(2))]
    }

    private static let claims: EndpointClaims = {
        var claims = EndpointClaims(of: Part.endpoint(1))
        claims.insert(.init(Part.address(200), at: Part.mac(1), number: 3))
        claims.insert(.init(v6, at: Part.mac(2), number: 4))
        claims.insert(.init(Part.mac(2), number: 5))
        return claims
    }()

    // MARK: The catalogue

    private static func member(_ digit: UInt8) -> Member {
        Member(
            id: NodeID(bits: UInt128(digit)), name: "host\(digit)", address: Part.address(digit), port: 7947,
            vtep: Part.address(digit),
            publicKey: [UInt8](repeating: digit, count: 32), agreementKey: [UInt8](repeating: digit, count: 32), epoch: 1,
            routes: [IPPrefix(Part.address(0), length: 24)!]
        ).telling(.present)
    }

    /// Every command once: the forms of members, clusters, networks and results with them.
    private static let commands: [Command] = [
        .initialise(
            Cluster(
                id: ClusterID(bits: 42), writer: NodeID(bits: 1), addressPool: IPPrefix(IPAddress(v4: 10, 32, 0, 0), length: 12)!,
                subnetLength: 24, dataPathPort: 4789, rootKey: [UInt8](repeating: 3, count: 32),
                rootPublicKey: [UInt8](repeating: 4, count: 32), gossipKey: [UInt8](repeating: 1, count: 32),
                joinSecret: JoinSecret(secret: [UInt8](repeating: 2, count: 16), expires: 9)), member(1)),
        .admit(member(2)), .admit(member(3)),
        .setJoinSecret(JoinSecret(secret: [UInt8](repeating: 5, count: 16), expires: 0)),
        .rotateKey([UInt8](repeating: 6, count: 32)),
        .openSubnet(
            OpenSubnet(
                networkName: "web", family: .v4, prefix: IPPrefix(IPAddress(v4: 10, 1, 0, 0), length: 24),
                range: IPPrefix(IPAddress(v4: 10, 1, 0, 128), length: 25))),
        .openSubnet(OpenSubnet(networkName: nil, family: .v6, prefix: nil, range: nil, only: NetworkID(bits: 77))),
    ]

    private static let entries: [Entry] = {
        var catalogue = Catalogue()
        var entries: [Entry] = []
        func add(_ command: Command) {
            let isPromotion = if case .promote = command { true } else { false }
            let entry = Entry(
                index: catalogue.index + 1, termNumber: isPromotion ? 2 : 1, proposer: NodeID(bits: 1), epoch: 1,
                sequence: catalogue.index + 1,
                command: command)
            catalogue.apply(entry)
            entries.append(entry)
        }
        for command in commands { add(command) }
        guard let network = catalogue.networks.values.first(where: { $0.name == "web" }), let subnet = network.subnets.first?.id
        else { return entries }
        add(
            .describe(
                network.id,
                NetworkDescription(
                    name: "web", labels: ["a": "b"], options: ["c": "d"], ipamOptions: ["net": "web"], auxiliary: [:],
                    isIPv6: false,
                    isAttachable: true)!))
        add(
            .configure(
                network.id, adopting: [subnet],
                NetworkSettings(mtu: 1400, isEncrypted: false, isInternal: true, routesMulticast: false, allowsOverlap: true)))
        add(.setGateway(subnet, IPAddress(v4: 10, 1, 0, 254)))
        add(.reserve(subnet, IPAddress(v4: 10, 1, 0, 7)))
        add(.claimBlock(subnet, count: 16))
        add(.claimAddress(subnet, IPAddress(v4: 10, 1, 0, 9)))
        add(.giveBack(subnet, AddressRange(first: IPAddress(v4: 10, 1, 0, 9), last: IPAddress(v4: 10, 1, 0, 9))))
        add(.move(subnet, IPAddress(v4: 10, 1, 0, 130), to: NodeID(bits: 2), epoch: 1))
        add(.remove(NodeID(bits: 3), now: false))
        add(.endQuarantine([NodeID(bits: 3)]))
        add(.closeSubnet(SubnetID(99), removing: true))
        add(.promote(after: catalogue.term))
        add(.raise(to: 3))
        return entries
    }()

    private static var catalogue: Catalogue {
        var catalogue = Catalogue()
        for entry in entries { catalogue.apply(entry) }
        return catalogue
    }

    @Test func everyCommandIsThere() {
        let tags = Set(Self.entries.map { $0.command.wireBytes[0] })
        #expect(tags == Set(1...15).union([17, 18, 19]), "a new command goes into the golden bytes")
        #expect(Self.catalogue.versionInUse == 3)
    }

    @Test(arguments: StoreSpace.allCases) func aRowOfThisSchemaHasTheseBytes(space: StoreSpace) throws {
        var writer = ByteWriter()
        for write in try Self.rows(space) {
            guard case .put(space, let key, let value) = write else { continue }
            writer.sized(key)
            writer.sized(value)
        }
        #expect(
            Self.mark(writer.bytes) == Self.golden[StateSchema.present.version]?[space],
            "rows of \(space.rawValue) have another form: give StateSchema a number and a step, then note these marks under that number"
        )
    }

    // MARK: Messages

    @Test func messagesOfThisTargetHaveTheseBytes() {
        let addresses: [AddressMessage] = [
            .pressure(Part.subnet), .want(Part.subnet, Part.address(1), epoch: 2), .inUse(Part.subnet, Self.v6, by: "c1"),
            .isNeeded(Part.network), .needed(Part.network, true),
        ]
        let answers: [JoinAnswer] = [.refused("no")]
        #expect(Self.mark(addresses.flatMap(\.wireBytes)) == "94:76f8bdf1")
        #expect(Self.mark(answers.flatMap(\.wireBytes)) == "7:44f7dbb4")
    }
}

extension Closings {
    fileprivate func begun(_ subnet: SubnetID, isRemoval: Bool) -> StoreWrite {
        var copy = self
        return copy.begin(subnet, isRemoval: isRemoval)
    }
}
