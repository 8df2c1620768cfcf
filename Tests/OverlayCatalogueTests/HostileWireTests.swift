import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

@Suite struct HostileWireTests {
    private static let open = OpenSubnet(
        networkName: "web", family: .v4, prefix: IPPrefix("10.0.0.0/24"), range: IPPrefix("10.0.0.128/25"))

    private static let commands: [Command] = [
        .initialise(Fixture.cluster(), Fixture.member(0)), .admit(Fixture.member(1)), .remove(Fixture.node(1), now: false),
        .endQuarantine([Fixture.node(1)]),
        .setJoinSecret(Fixture.secret(3)), .openSubnet(open),
        .openSubnet(OpenSubnet(networkName: nil, family: .v6, prefix: nil, range: nil)), .closeSubnet(SubnetID(3)),
        .configure(NetworkID(bits: 5), adopting: [SubnetID(1), SubnetID(2)], NetworkSettings(mtu: 1400, isEncrypted: true)),
        .setGateway(SubnetID(1), IPAddress("10.0.0.1")!), .reserve(SubnetID(1), IPAddress("fd00::1")!),
        .claimBlock(SubnetID(1), count: 16), .claimAddress(SubnetID(1), IPAddress("10.0.0.9")!),
        .promote(after: Term(number: 3, writer: Fixture.node(1))), .raise(to: 3), .raise(to: .max),
        .admit(Fixture.member(1).telling(.present)),
    ]

    private static var entries: [Entry] {
        commands.enumerated().map {
            Entry(index: UInt64($0) + 1, termNumber: 1, proposer: Fixture.node(0), epoch: 1, sequence: UInt64($0) + 1, command: $1)
        }
    }

    /// Small catalogue with at least one object of every kind.
    static func populated() throws -> Fixture {
        var fixture = Fixture(members: 2)
        let web = try fixture.opened("10.0.0.0/24", name: "web", range: "10.0.0.128/25")
        fixture.open("fd00::/64", by: 1)
        fixture.propose(.reserve(web.id, IPAddress("10.0.0.7")!), by: 0)
        fixture.propose(.configure(try fixture.network(of: web.id).id, adopting: [], NetworkSettings(mtu: 1400)), by: 0)
        fixture.propose(.claimBlock(web.id, count: 16), by: 0)
        fixture.propose(.claimBlock(SubnetID(99), count: 16), by: 1)
        return fixture
    }

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) throws {
        expectHostileBytesAreHarmless(Self.commands, seed: seed)
        expectHostileBytesAreHarmless(Self.entries, seed: seed)
        expectHostileBytesAreHarmless([Self.open], seed: seed)
        expectHostileBytesAreHarmless([Fixture.cluster()], seed: seed)
        expectHostileBytesAreHarmless([Fixture.member(0)], seed: seed)
        expectHostileBytesAreHarmless([Block(range: AddressRange(IPPrefix("10.0.0.0/28")!), owner: Fixture.node(0))], seed: seed)
        expectHostileBytesAreHarmless(
            [
                NetworkSettings(), NetworkSettings(mtu: 1, isEncrypted: true, isInternal: true),
                NetworkSettings(routesMulticast: false, allowsOverlap: true),
            ], seed: seed)
        expectHostileBytesAreHarmless(
            [CommandResult.accepted, .opened(SubnetID(1)), .refused(Refusal(.conflict, "because"))], seed: seed)
        let catalogue = try Self.populated().catalogue
        expectHostileBytesAreHarmless(catalogue.networks.values.sorted { $0.id < $1.id }, seed: seed)
        expectHostileBytesAreHarmless(catalogue.networks.values.flatMap(\.subnets).sorted { $0.id < $1.id }, seed: seed)
    }

    /// Settings as version 0.1 wrote them: MTU, encrypted, internal.
    @Test(arguments: [false, true]) func settingsOfAnEarlierVersionAreRead(isInternal: Bool) throws {
        #expect(
            try NetworkSettings(wire: [1, 0, 0, 5, 120, 0, isInternal ? 1 : 0])
                == NetworkSettings(mtu: 1400, isInternal: isInternal))
        #expect(NetworkSettings(mtu: 1400, isInternal: isInternal).wireBytes == [1, 0, 0, 5, 120, 0, isInternal ? 1 : 0])
        #expect(throws: DecodeError.self) { try NetworkSettings(wire: [0, 0, 8]) }
    }

    @Test(arguments: [1] as [UInt64])
    func hostileSnapshotsAreHarmless(seed: UInt64) throws {
        expectHostileBytesAreHarmless([Catalogue(), try Self.populated().catalogue], seed: seed)
    }

    private static let messages: [CatalogueMessage] =
        commands.map { .propose(epoch: 1, sequence: 2, $0) } + [
            .outcome(sequence: 1, at: CataloguePosition(term: Fixture.term, index: 2), .accepted), .failed(sequence: 3),
            .entries(after: .none, []), .entries(after: Fixture.term, Array(Self.entries.suffix(3))),
            .fetch(after: CataloguePosition(term: Fixture.term, index: 9)), .snapshot(Catalogue()), .term(Fixture.term),
        ]

    @Test(arguments: [1] as [UInt64])
    func hostileMessagesAreHarmless(seed: UInt64) {
        expectHostileBytesAreHarmless(Self.messages, seed: seed)
    }

    /// Golden bytes of every message, as their size and hash, by the protocol that they came with. A form that is there never changes;
    /// a new one has the protocol of its release. Commands are in the golden bytes of rows.
    @Test func messagesAreThoseOfTheirProtocol() throws {
        func mark(_ version: UInt16) -> String {
            var hash = FNV1a<UInt32>()
            let bytes = Self.messages.filter { $0.version == version }.flatMap(\.wireBytes)
            hash.combine(bytes)
            return "\(bytes.count):\(String(hash.value, radix: 16))"
        }
        #expect(Set(Self.messages.map { $0.wireBytes[0] }) == Set(1...7), "a new message goes into the samples")
        #expect(mark(2) == "1190:88d9c06f")
        #expect(mark(3) == "16:d5446b7f")
    }

    /// Found by fuzzing: with a duplicate id the state cannot be loaded by any node, not even by its own writer at the next start.
    @Test(arguments: [0, 1] as [UInt64])
    func aSubnetIDIsNotGivenOutAgain(next: UInt64) throws {
        var catalogue = try Self.populated().catalogue
        catalogue.nextSubnet = next
        #expect(throws: DecodeError.invalid("next id")) { try Catalogue(wire: catalogue.wireBytes) }
    }

    // MARK: What decodes but makes no sense

    /// Values that a hostile member could put into a snapshot. Each is refused, or does no harm to the state machine afterwards.
    private static func absurd() throws -> [(String, Catalogue)] {
        let good = try populated().catalogue
        var all: [(String, Catalogue)] = []
        func add(_ name: String, _ change: (inout Catalogue) -> Void) {
            var catalogue = good
            change(&catalogue)
            all.append((name, catalogue))
        }
        func addSubnet(_ name: String, _ change: (inout Subnet) -> Void) {
            add(name) { catalogue in
                for id in catalogue.networkOfSubnet.keys.sorted() { catalogue.modify(id, change) }
            }
        }
        for termNumber in [UInt64.max, Limits.counter, Limits.counter - 1, 0] {
            add("termNumber \(termNumber)") { $0.cluster?.termNumber = termNumber }
        }
        for index in [UInt64.max, UInt64.max - 1] { add("index \(index)") { $0.restore(index: index) } }
        add("last subnet id") { $0.nextSubnet = .max }
        add("last network id") { $0.nextNetwork = .max }
        add("subnet id 0") { $0.nextSubnet = 0 }
        add("no cluster") { $0.cluster = nil }
        add("no member") { catalogue in for id in catalogue.members.keys.sorted() { catalogue.dropMember(id) } }
        for length in [0, 1, 8, 31, 32, 33, 200, 255] { add("subnetLength \(length)") { $0.cluster?.subnetLength = length } }
        for pool in [
            "fd00::/8", "::/0", "0.0.0.0/0", "255.255.255.255/32", "10.1.2.3/8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ] {
            for length in [0, 24, 64, 128] {
                add("pool \(pool) of /\(length)") {
                    $0.cluster?.addressPool = IPPrefix(pool)!
                    $0.cluster?.subnetLength = length
                }
            }
        }
        let blocks: [(String, [String])] = [
            ("equal", ["10.0.0.128/28", "10.0.0.128/28"]), ("nested", ["10.0.0.0/8", "10.0.0.128/28"]),
            ("out of order", ["10.0.0.192/28", "10.0.0.128/28"]), ("of another family", ["::/0", "fd00::/80", "10.0.0.0/24"]),
            ("everything", ["0.0.0.0/0"]), ("all of IPv6", ["::/0", "::/0", "::/1"]), ("at the end", ["255.255.255.240/28"]),
        ]
        for (name, ranges) in blocks {
            addSubnet("blocks \(name)") { subnet in
                subnet.blocks = ranges.map { Block(range: AddressRange(IPPrefix($0)!), owner: Fixture.node(0)) }
            }
        }
        for range in [
            "fd00::/64", "10.0.0.0/24", "10.0.0.0/32", "192.168.0.0/16", "0.0.0.0/0", "::/0", "10.0.0.255/32", "fd00::/128",
        ] {
            addSubnet("range \(range)") { $0.range = IPPrefix(range) }
        }
        for prefix in ["0.0.0.0/0", "::/0", "10.0.0.1/24", "10.0.0.0/32", "fd00::5/128", "255.255.255.255/32"] {
            addSubnet("prefix \(prefix)") { $0.prefix = IPPrefix(prefix)! }
            addSubnet("prefix \(prefix) without a range") {
                $0.prefix = IPPrefix(prefix)!
                $0.range = nil
            }
        }
        addSubnet("gateway elsewhere") { $0.gateway = IPAddress("::1")! }
        addSubnet("aux elsewhere") { $0.auxiliary = [IPAddress("::1")!, IPAddress("10.0.0.0")!] }
        addSubnet("no users") { $0.users = [] }
        addSubnet("unknown users") { $0.users = [NodeID(bits: .max)] }
        // Another network in all but what the name says.
        var other = try #require(good.networks.values.min { $0.id < $1.id })
        other.id = NetworkID(bits: 1)
        other.name = "other"
        other.vni = try #require(VNI(good.nextVNI + 1000))
        add("one subnet in two networks") { catalogue in
            catalogue.networks[other.id] = other
        }
        add("a network without subnets") { catalogue in
            other.subnets = []
            catalogue.networks[other.id] = other
        }
        add("last sequence") { $0.sessions[Fixture.node(0)]?.sequence = .max }
        return all
    }

    /// A catalogue that is taken stays one that every node takes, and keeps the rules that it kept before.
    @Test func absurdSnapshotsAreRefusedOrHarmless() throws {
        var refused: [String] = []
        for (name, absurd) in try Self.absurd() {
            var generator = SeededGenerator(seed: 11)
            guard case .value(var catalogue) = decode(Catalogue.self, absurd.wireBytes) else {
                refused.append(name)
                continue
            }
            let before = Set(catalogue.violations)
            for _ in 0..<60 {
                Self.disturb(&catalogue, using: &generator)
                #expect(decode(Catalogue.self, catalogue.wireBytes) == .value(catalogue), "\(name)")
            }
            // A pool that is smaller than its subnets makes subnets with host bits.
            let isOdd = name.hasPrefix("pool") || name.hasPrefix("subnetLength")
            let new = Set(catalogue.violations).subtracting(before).filter { !(isOdd && $0.hasSuffix("has host bits")) }
            #expect(new.isEmpty, "\(name): \(new)")
        }
        #expect(
            refused == [
                "termNumber \(UInt64.max)", "termNumber \(Limits.counter)", "index \(UInt64.max)", "index \(UInt64.max - 1)",
                "last subnet id", "last network id", "subnet id 0", "one subnet in two networks",
            ])
    }

    /// A state that no order of entries leads to is refused: names, VTEPs and VNIs belong to one member or network each.
    @Test func aSnapshotWithSomethingTwiceIsRefused() throws {
        let good = try Self.populated().catalogue
        var twice: [(String, Catalogue)] = []
        func alter(_ name: String, _ change: (inout Catalogue) -> Void) {
            var altered = good
            change(&altered)
            twice.append((name, altered))
        }
        var member = Fixture.member(7, name: Fixture.member(0).name)
        alter("name") { $0.setMember(member) }
        member = Fixture.member(7)
        member.vtep = Fixture.member(0).vtep
        alter("tunnel address") { $0.setMember(member) }
        alter("departed member") { $0.departed = [Fixture.node(0): "host-0"] }
        let network = try #require(good.networks.values.first)
        alter("VNI") {
            $0.networks[NetworkID(bits: 99)] = Network(
                id: NetworkID(bits: 99), name: "other", vni: network.vni, subnets: [], settings: nil)
        }
        #expect(try Catalogue(wire: good.wireBytes) == good)
        for (name, catalogue) in twice {
            #expect(throws: DecodeError.self, "\(name)") { try Catalogue(wire: catalogue.wireBytes) }
        }
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func alteredSnapshotsAreRefusedOrHarmless(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let good = try Self.populated().catalogue.wireBytes
        var decoded = 0
        for _ in 0..<1500 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = [0, 1, 32, 128, 255].randomElement(using: &generator)!
            }
            guard var catalogue = try? Catalogue(wire: bytes) else { continue }
            decoded += 1
            for _ in 0..<15 { Self.disturb(&catalogue, using: &generator) }
            #expect(decode(Catalogue.self, catalogue.wireBytes) == .value(catalogue), "seed \(seed)")
        }
        #expect(decoded > 100)
    }

    /// Applies one command that concerns existing objects.
    private static func disturb(_ catalogue: inout Catalogue, using generator: inout SeededGenerator) {
        let subnets = catalogue.networkOfSubnet.keys.sorted()
        let id = subnets.randomElement(using: &generator) ?? SubnetID(1)
        let network = catalogue.networkOfSubnet[id] ?? NetworkID(bits: 1)
        let address = IPAddress(
            family: Bool.random(using: &generator) ? .v4 : .v6,
            bits: UInt128(0x0A00_0000 + generator.next(upperBound: 256 as UInt64)))
        let command: Command =
            switch generator.next(upperBound: 10 as UInt64) {
            case 9: .promote(after: catalogue.term)
            case 0: .claimBlock(id, count: UInt32.random(in: 0...20, using: &generator))
            case 1: .claimAddress(id, address)
            case 2: .setGateway(id, address)
            case 3: .reserve(id, address)
            case 4: .configure(network, adopting: subnets, NetworkSettings())
            case 5: .openSubnet(OpenSubnet(networkName: nil, family: .v4, prefix: nil, range: nil))
            case 6: .openSubnet(OpenSubnet(networkName: "web", family: .v6, prefix: nil, range: nil))
            case 7: .closeSubnet(id)
            default: .admit(Fixture.member(2))
            }
        let proposer = catalogue.members.values.min { $0.id < $1.id } ?? Fixture.member(0)
        let sequence = catalogue.sessions[proposer.id]?.sequence ?? 0
        guard catalogue.index < .max, sequence < .max else { return }
        catalogue.apply(
            Entry(
                index: catalogue.index + 1, termNumber: catalogue.term.number &+ 1, proposer: proposer.id,
                epoch: proposer.epoch, sequence: sequence + 1,
                command: command))
    }
}
