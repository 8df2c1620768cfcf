import OverlayModel
import Testing

@testable import OverlayDNS

/// Names that a sandbox sees.
@Suite struct NameTablesTests {
    private static let one = IPAddress(v4: 10, 0, 0, 2)
    private static let two = IPAddress(v4: 10, 0, 0, 3)
    private static let six = IPAddress("fd00::2")!
    private static let there = IPAddress(v4: 10, 1, 0, 2)
    private static let (front, back) = (NetworkID(bits: 1), NetworkID(bits: 2))
    private static let web = NamedEndpoint(
        endpoint: EndpointID("0123456789a1")!, names: ["Web.1", "web", "WEB", "db"], addresses: [one, six],
        ports: [ExposedPort(number: 80, transport: .tcp), ExposedPort(number: 53, transport: .udp)])
    private static let other = NamedEndpoint(endpoint: EndpointID("0123456789a2")!, names: ["web.2", "web"], addresses: [two])

    private static func tables(front title: String = "Front-Net") -> NameTables {
        var tables = NameTables()
        var names = NetworkNames(title: title)
        names.insert(web)
        names.insert(other)
        tables.networks[front] = names
        var others = NetworkNames(title: "back")
        others.insert(NamedEndpoint(endpoint: EndpointID("0123456789a3")!, names: ["db"], addresses: [there]))
        tables.networks[back] = others
        tables.setSubnets(["10.2.0.0/24", "10.0.0.0/24", "fd00::/64", "10.1.0.0/24"].compactMap { IPPrefix($0) })
        return tables
    }

    /// A network that is being removed may have a part of another's subnet, or all of it.
    @Test func subnetsWithinOthersHideNothing() throws {
        var tables = Self.tables()
        for subnets in [["10.9.5.0/24", "10.9.0.0/16"], ["10.9.0.0/16", "10.9.0.0/16"], ["10.9.0.0/16", "10.9.0.0/24"]] {
            tables.setSubnets(subnets.compactMap { IPPrefix($0) })
            for own in ["1.7.9.10.in-addr.arpa", "1.5.9.10.in-addr.arpa", "255.255.9.10.in-addr.arpa"] {
                #expect(try ask(own, .ptr, tables: tables)?.code == .nameError, "\(own)")
            }
            #expect(try ask("1.0.10.10.in-addr.arpa", .ptr, tables: tables) == nil)
        }
    }

    /// nil: Docker is asked.
    private func ask(
        _ name: String, _ type: RecordType = .a, on networks: [NetworkID] = [front], forwards: Bool = true,
        tables: NameTables = tables(), recordClass: UInt8 = 1, seed: UInt64 = 1
    ) throws -> DNSResponse? {
        var bytes = DNSQueryTests.question(name, type)
        bytes[bytes.count - 1] = recordClass
        var generator = SeededGenerator(seed: seed)
        let scope = SandboxScope(networks: networks, forwards: forwards)
        guard case .answer(let response) = tables.decide(try DNSQuery(bytes), in: scope, mayWait: true, using: &generator)
        else { return nil }
        return response
    }

    @Test func namesAreFoundInAnyCaseWithAndWithoutTheirNetwork() throws {
        for name in ["web", "WEB", "web.front-net", "Web.FRONT-net"] {
            let response = try #require(try ask(name), "\(name)")
            #expect(response.code == .noError && Set(response.answers) == [.address(Self.one), .address(Self.two)])
        }
        #expect(try ask("web", .aaaa)?.answers == [.address(Self.six)])
        #expect(try ask("web.1")?.answers == [.address(Self.one)])
        #expect(try ask("web.1.front-net")?.answers == [.address(Self.one)])
        #expect(try ask("web", .any)?.answers.count == 3)
        #expect(try ask("db")?.answers == [.address(Self.one)])
    }

    /// That it is there with another type is no reason to ask anybody else.
    @Test func aNameWithoutSuchARecordHasNoData() throws {
        for (name, type) in [("web.2", RecordType.aaaa), ("web", .srv), ("web", .soa), ("web", RecordType(rawValue: 15))] {
            let response = try #require(try ask(name, type))
            #expect(response.code == .noError && response.answers.isEmpty && response.isNegative)
        }
    }

    /// A sandbox knows the networks that it is on; what is unknown is Docker's to answer, or the Internet's.
    @Test func whatIsNotSeenIsNotTold() throws {
        #expect(try ask("web", on: [Self.back]) == nil)
        #expect(try ask("web.front-net", on: [Self.back]) == nil)
        #expect(try ask("web", on: []) == nil)
        #expect(try ask("web", on: [NetworkID(bits: 9)]) == nil)
        for name in ["", "front-net", "xweb", "web.front-netx", "web.xfront-net", "example.com"] {
            #expect(try ask(name) == nil, "\(name)")
        }
        #expect(try ask("web", recordClass: 3) == nil, "CHAOS")
        #expect(try ask("web", recordClass: 255) != nil, "any class")
    }

    /// Names below a network's name are the network's, unless they could be the Internet's as well.
    @Test func unknownNamesOfOursGoNowhere() throws {
        for name in ["nobody.front-net", "a.b.FRONT-NET", "web.front-net.front-net", "_81._tcp.web.front-net"] {
            #expect(try ask(name)?.code == .nameError, "\(name)")
        }
        for title in ["dev", "example.com", "a_b.net"] {
            let tables = Self.tables(front: title)
            #expect(try ask("go.\(title)", tables: tables) == nil, "\(title)")
            #expect(try ask("web.\(title)", tables: tables)?.answers.count == 2)
        }
        for title in ["front_1", "net2", "x.y-z"] {
            #expect(try ask("go.\(title)", tables: Self.tables(front: title))?.code == .nameError, "\(title)")
        }
        #expect(try ask("go.", tables: Self.tables(front: "")) == nil, "a network without a name")
        #expect(try ask("web", tables: Self.tables(front: ""))?.answers.count == 2)
    }

    @Test func anInternalNetworkAsksNobody() throws {
        #expect(try ask("web", forwards: false)?.answers.count == 2)
        #expect(try ask("nobody", forwards: false)?.code == .nameError)
        #expect(try ask("nobody.front-net", forwards: false)?.code == .nameError)
        for name in ["example.com", "1.1.1.1.in-addr.arpa", ""] {
            #expect(try ask(name, forwards: false)?.code == .refused, "\(name)")
        }
        #expect(try ask("web", forwards: false, recordClass: 3)?.code == .refused)
    }

    /// Two networks with equal names: the first counts, and each can be named.
    @Test func equalNamesDoNotMix() throws {
        #expect(try ask("db", on: [Self.front, Self.back])?.answers == [.address(Self.one)])
        #expect(try ask("db", on: [Self.back, Self.front])?.answers == [.address(Self.there)])
        #expect(try ask("db.back", on: [Self.front, Self.back])?.answers == [.address(Self.there)])
    }

    @Test func whatHasSeveralComesInAnyOrder() throws {
        let orders = Set(try (1...32).compactMap { try ask("web", seed: $0)?.answers })
        #expect(orders.count == 2)
    }

    @Test func portsAreServices() throws {
        let target = try #require(DNSName("Web.1.front-net"))
        let record = RecordData.service(priority: 0, weight: 1, port: 80, target: target)
        for name in ["_80._tcp.web", "_80._tcp.WEB.front-net", "_80._tcp.web.1"] {
            #expect(try ask(name, .srv)?.answers == [record], "\(name)")
        }
        #expect(try ask("_53._udp.db", .srv)?.answers.count == 1)
        #expect(try ask("_80._tcp.web", .a)?.isNegative == true)
        for name in [
            "_80._udp.web", "_080._tcp.web", "_81._tcp.web", "_80._tcp.web.2", "_x._tcp.web", "_80.tcp.web", "_80._tcp",
            "_0._tcp.web",
        ] {
            #expect(try ask(name, .srv) == nil, "\(name)")
        }
    }

    @Test func manyPortsAreServicesAll() throws {
        var names = NetworkNames(title: "n")
        names.insert(
            NamedEndpoint(
                endpoint: EndpointID("0123456789a1")!, names: ["voice"], addresses: [Self.one],
                ports: [.all(.udp), ExposedPort(number: 8080, transport: .tcp)]))
        for name in ["_10000._udp.voice", "_8080._tcp.voice", "_8080._udp.voice"] {
            #expect(names.answers(to: name, .srv)?.count == 1, "\(name)")
        }
        for name in ["_8081._tcp.voice", "_0._udp.voice", "_8080._sctp.voice"] {
            #expect(names.answers(to: name, .srv) == nil, "\(name)")
        }
    }

    @Test func addressesHaveNamesAndNoneOfOursIsAskedElsewhere() throws {
        let name = try #require(DNSName("Web.1.front-net"))
        #expect(try ask("2.0.0.10.in-addr.arpa", .ptr)?.answers == [.pointer(name)])
        let six = "2." + String(repeating: "0.", count: 27) + "0.0.d.f.ip6.arpa"
        #expect(try ask(six.uppercased(), .ptr)?.answers == [.pointer(name)])
        // Addresses of a network that the sandbox is not on, and of nobody.
        for text in ["2.0.1.10.in-addr.arpa", "9.0.2.10.in-addr.arpa", "9" + six.dropFirst()] {
            #expect(try ask(text, .ptr)?.code == .nameError, "\(text)")
        }
        #expect(try ask("2.0.0.10.in-addr.arpa", .a)?.isNegative == true)
        for text in [
            "1.1.1.1.in-addr.arpa", "0.0.10.in-addr.arpa", "x.0.0.10.in-addr.arpa", "02.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa", "2.0.3.10.in-addr.arpa", "2.0.255.9.in-addr.arpa",
            "2.0.0.10.in-addr.arpa.x", "-2.0.0.10.in-addr.arpa", "+2.0.0.10.in-addr.arpa", "2.ip6.arpa", "g" + six.dropFirst(),
        ] {
            #expect(try ask(text, .ptr) == nil, "\(text)")
        }
    }

    @Test func whatGoesLeavesNothing() {
        var names = NetworkNames(title: "x")
        names.insert(Self.web)
        names.insert(Self.other)
        #expect(names.all["web"] == [Self.one, Self.two, Self.six] && names.all.count == 4)
        names.remove(Self.web)
        #expect(names.all == ["web": [Self.two], "web.2": [Self.two]])
        names.remove(Self.web)
        #expect(names.all.count == 2, "again")
        names.remove(Self.other)
        #expect(names.isEmpty && names == NetworkNames(title: "X"))
        #expect(names.name(of: Self.one) == nil)
    }

    /// One address that two have for a moment: what goes takes its own with it alone.
    @Test func theNamesOfAnAddressAreThoseOfWhoHasIt() {
        var names = NetworkNames(title: "x")
        let new = NamedEndpoint(endpoint: EndpointID("0123456789b1")!, names: ["new"], addresses: [Self.one])
        names.insert(Self.web)
        names.insert(new)
        names.remove(Self.web)
        #expect(names.all == ["new": [Self.one]])
        #expect(names.name(of: Self.one) == DNSName("new.x"))
    }

    @Test func aLaterEDNSIsRefused() throws {
        var generator = SeededGenerator(seed: 1)
        let query = try DNSQuery(DNSQueryTests.question("web", edns: 1232, version: 1))
        let scope = SandboxScope(networks: [Self.front], forwards: true)
        guard case .answer(let response) = Self.tables().decide(query, in: scope, mayWait: true, using: &generator) else {
            Issue.record("forwarded")
            return
        }
        #expect(response.code == .badVersion)
    }

    // MARK: What is not known yet, and networks of other drivers

    private static let plain = EngineNetworkID(String(repeating: "f", count: 64))!

    private func decision(
        _ name: String, _ type: RecordType = .a, in scope: SandboxScope, _ tables: NameTables, mayWait: Bool = true
    ) throws -> String {
        var generator = SeededGenerator(seed: 1)
        switch tables.decide(try DNSQuery(DNSQueryTests.question(name, type)), in: scope, mayWait: mayWait, using: &generator) {
        case .answer(let response): return "\(response.code) \(response.answers.count)"
        case .forward: return "forward"
        case .wait: return "wait"
        }
    }

    /// The name of an earlier network is Docker's to answer; that of a later one, and what Docker does not know, is ours.
    @Test func anEarlierNetworkOfDockersIsAskedFirst() throws {
        var tables = Self.tables()
        tables.others[Self.plain] = OtherNames(names: ["Db", "dotted.name"], isComplete: true)
        let before = SandboxScope(places: [.other(Self.plain), .ours(Self.front), .ours(Self.back)], forwards: true)
        let between = SandboxScope(places: [.ours(Self.back), .other(Self.plain), .ours(Self.front)], forwards: true)
        #expect(try decision("DB", in: before, tables) == "forward")
        #expect(try decision("db", .aaaa, in: before, tables) == "forward")
        #expect(try decision("dotted.name", in: before, tables) == "forward")
        #expect(try decision("web", in: before, tables) == "noError 2")
        #expect(try decision("db.front-net", in: before, tables) == "noError 1", "named by its network")
        #expect(try decision("_53._udp.db", .srv, in: before, tables) == "noError 1", "Docker has no services")
        #expect(try decision("db", in: between, tables) == "noError 1")
        // Whose names are not known yet may come first; for a while.
        tables.others[Self.plain] = OtherNames(names: [], isComplete: false)
        #expect(try decision("db", in: before, tables) == "wait")
        #expect(try decision("db", in: before, tables, mayWait: false) == "noError 1")
        #expect(try decision("db", in: between, tables) == "noError 1")
        #expect(try decision("example.com", in: before, tables) == "forward")
    }

    /// A name that may be of a container that is not known yet waits, and is then asked of Docker.
    @Test func whatMayBecomeKnownIsNotDenied() throws {
        var tables = Self.tables()
        func check(_ scope: SandboxScope, _ name: String, _ first: String, _ then: String, _ type: RecordType = .a) throws {
            #expect(try decision(name, type, in: scope, tables) == first, "\(name)")
            #expect(try decision(name, type, in: scope, tables, mayWait: false) == then, "\(name)")
        }
        for isMine in [true, false] {
            // The sandbox's own container, or another one of this host on its network.
            if !isMine { tables.unsettled = [Self.front] }
            let inner = SandboxScope(places: [.ours(Self.front)], forwards: false, isSettled: !isMine)
            let outer = SandboxScope(places: [.ours(Self.front)], forwards: true, isSettled: !isMine)
            try check(inner, "me", "wait", "forward")
            try check(inner, "me.front-net", "wait", "forward")
            try check(outer, "me.front-net", "wait", "forward")
            try check(inner, "example.com", "wait", "refused 0")
            try check(outer, "me", "forward", "forward")
            try check(outer, "example.com", "forward", "forward")
            try check(outer, "9.0.0.10.in-addr.arpa", "wait", "nameError 0", .ptr)
            // Only the container itself may be on another network that comes first.
            try check(outer, "web", isMine ? "wait" : "noError 2", "noError 2")
        }
        tables.unsettled = [Self.back]
        try check(SandboxScope(networks: [Self.front], forwards: false), "me", "nameError 0", "nameError 0")
    }

    @Test func suspectsComeLast() throws {
        var tables = NameTables()
        var names = NetworkNames(title: "net")
        for number in 1...9 as ClosedRange<UInt8> {
            names.insert(
                NamedEndpoint(
                    endpoint: EndpointID(unchecked: "0123456789\(number)"), names: ["web"],
                    addresses: [IPAddress(v4: 10, 0, 0, number)],
                    ports: [ExposedPort(number: 80, transport: .tcp)], owner: NodeID(bits: UInt128(number % 3))))
        }
        tables.networks[Self.front] = names
        tables.suspects = [NodeID(bits: 1)]
        for seed in 1...20 as ClosedRange<UInt64> {
            let answers = try #require(try ask("web", tables: tables, seed: seed)).answers
            let suspects = [1, 4, 7].map { RecordData.address(IPAddress(v4: 10, 0, 0, $0)) }
            #expect(Set(answers.suffix(3)) == Set(suspects))
            #expect(answers.count == 9)
        }
        #expect(try ask("_80._tcp.web", .srv, tables: tables)?.answers.count == 9)
        tables.suspects = []
        let last = Set(try (1...20).compactMap { try ask("web", tables: tables, seed: $0)?.answers.last })
        #expect(last.count > 3)
    }
}
