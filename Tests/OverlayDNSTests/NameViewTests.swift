import OverlayModel
import Testing

@testable import OverlayDNS

/// Who is told what.
@Suite struct NameViewTests {
    private static let one = IPAddress(v4: 10, 0, 0, 2)
    private static let two = IPAddress(v4: 10, 0, 0, 3)
    private static let six = IPAddress("fd00::2")!
    private static let there = IPAddress(v4: 10, 1, 0, 2)
    private static let front = NetworkNames(
        title: "Front",
        records: [
            "web": NameRecords(addresses: [one, two, six]), "Web.1": NameRecords(addresses: [one]),
            "db": NameRecords(addresses: [one]),
            "_http._tcp.web": NameRecords(services: [.service(priority: 0, weight: 0, port: 80, target: DNSName("web.1")!)]),
        ], reverse: [one: "web.1.front", six: "web.1.front"])
    private static let back = NetworkNames(
        title: "back", records: ["db": NameRecords(addresses: [there])], reverse: [there: "db.back"])
    private static let subnets = ["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24", "fd00::/64"].compactMap { IPPrefix($0) }

    private func ask(_ name: String, _ type: RecordType = .a, on networks: [NetworkNames], recordClass: UInt8 = 1, seed: UInt64 = 1)
        throws
        -> DNSResponse?
    {
        var bytes = DNSQueryTests.question(name, type)
        bytes[bytes.count - 1] = recordClass
        var generator = SeededGenerator(seed: seed)
        let view = NameView(networks: networks, subnets: Self.subnets)
        guard case .answer(let response) = view.decide(try DNSQuery(bytes), using: &generator) else { return nil }
        return response
    }

    @Test func namesAreFoundInAnyCaseWithAndWithoutTheirNetwork() throws {
        for name in ["web", "WEB", "web.front", "Web.FRONT"] {
            let response = try #require(try ask(name, on: [Self.front]), "\(name)")
            #expect(response.code == .noError && Set(response.answers) == [.address(Self.one), .address(Self.two)])
        }
        #expect(try ask("web", .aaaa, on: [Self.front])?.answers == [.address(Self.six)])
        #expect(try ask("web.1", on: [Self.front])?.answers == [.address(Self.one)])
        #expect(try ask("_http._tcp.web", .srv, on: [Self.front])?.answers.count == 1)
        #expect(try ask("web", .any, on: [Self.front])?.answers.count == 3)
    }

    /// That it is there with another type is no reason to ask anybody else.
    @Test func aNameWithoutSuchARecordHasNoData() throws {
        let response = try #require(try ask("db", .aaaa, on: [Self.front]))
        #expect(response.code == .noError && response.answers.isEmpty && response.isNegative)
    }

    /// A sandbox knows the networks that it is on; what is unknown is Docker's to answer, or the Internet's.
    @Test func whatIsNotSeenIsNotTold() throws {
        #expect(try ask("web", on: [Self.back]) == nil)
        #expect(try ask("web.front", on: [Self.back]) == nil)
        #expect(try ask("web", on: []) == nil)
        for name in ["", "front", ".front", "xweb", "web.front.front", "web.frontx", "example.com"] {
            #expect(try ask(name, on: [Self.front]) == nil, "\(name)")
        }
        #expect(try ask("web", on: [Self.front], recordClass: 3) == nil, "CHAOS")
    }

    /// Two networks with equal names: the first counts, and each can be named.
    @Test func equalNamesDoNotMix() throws {
        #expect(try ask("db", on: [Self.front, Self.back])?.answers == [.address(Self.one)])
        #expect(try ask("db", on: [Self.back, Self.front])?.answers == [.address(Self.there)])
        #expect(try ask("db.back", on: [Self.front, Self.back])?.answers == [.address(Self.there)])
    }

    @Test func whatHasSeveralComesInAnyOrder() throws {
        let orders = Set(try (1...32).compactMap { try ask("web", on: [Self.front], seed: $0)?.answers })
        #expect(orders.count == 2)
    }

    @Test func addressesHaveNamesAndNoneOfOursIsAskedElsewhere() throws {
        let name = try #require(DNSName("web.1.front"))
        #expect(try ask("2.0.0.10.in-addr.arpa", .ptr, on: [Self.front])?.answers == [.pointer(name)])
        let six = "2." + String(repeating: "0.", count: 27) + "0.0.d.f.ip6.arpa"
        #expect(try ask(six.uppercased(), .ptr, on: [Self.front])?.answers == [.pointer(name)])
        // Of a network that the sandbox is not on, and of nobody.
        for text in ["2.0.1.10.in-addr.arpa", "9.0.2.10.in-addr.arpa"] {
            #expect(try ask(text, .ptr, on: [Self.front])?.code == .nameError, "\(text)")
        }
        #expect(try ask("2.0.0.10.in-addr.arpa", .a, on: [Self.front])?.isNegative == true)
        for text in [
            "1.1.1.1.in-addr.arpa", "0.0.10.in-addr.arpa", "x.0.0.10.in-addr.arpa", "02.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "2.0.0.10.in-addr.arpa.x", "-2.0.0.10.in-addr.arpa", "+2.0.0.10.in-addr.arpa", "2.ip6.arpa", "g" + six.dropFirst(),
        ] {
            #expect(try ask(text, .ptr, on: [Self.front]) == nil, "\(text)")
        }
    }

    @Test func aLaterEDNSIsRefused() throws {
        var generator = SeededGenerator(seed: 1)
        let query = try DNSQuery(DNSQueryTests.question("web", edns: 1232, version: 1))
        guard case .answer(let response) = NameView(networks: [Self.front], subnets: []).decide(query, using: &generator) else {
            Issue.record("forwarded")
            return
        }
        #expect(response.code == .badVersion)
    }
}
