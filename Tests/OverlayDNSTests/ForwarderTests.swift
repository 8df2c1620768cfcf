import OverlayModel
import Testing

@testable import OverlayDNS

/// Questions by datagram that Docker's resolver is asked.
@Suite struct ForwarderTests {
    @Test func idsAreRewrittenAndRestored() throws {
        var fixture = ForwarderFixture()
        // Two clients with the same id, which must not be mixed up.
        let other = DNSClient.datagram(SocketEndpoint(address: IPAddress(v4: 10, 0, 0, 2), port: 53))
        let first = try fixture.forwarded("a.example")
        let second = try fixture.forwarded("a.example", from: other)
        #expect(first.prefix(2) != second.prefix(2))
        #expect(first.dropFirst(2).elementsEqual(DNSQueryTests.question("a.example").dropFirst(2)), "nothing else is changed")
        for (message, client) in [(second, other), (first, .datagram(ForwarderFixture.client))] {
            let answer = ForwarderFixture.answer(to: message)
            let effects = fixture.handle(.datagram(answer, port: ForwarderFixture.port))
            #expect(effects == [.answer([0x12, 0x34] + answer.dropFirst(2), to: client)])
        }
        #expect(fixture.forwarder.count == 0 && !fixture.forwarder.isWaiting)
        #expect(fixture.counters.forwarded == 2 && fixture.counters.refused == 0)
    }

    @Test func idsAreDifferentWhileQuestionsWait() throws {
        var fixture = ForwarderFixture(limit: 5000)
        var ids: Set<UInt16> = []
        for number in 0..<5000 as Range<UInt16> {
            let message = try fixture.forwarded("n\(number).example", id: number)
            ids.insert(UInt16(message[0]) << 8 | UInt16(message[1]))
        }
        #expect(ids.count == 5000)
    }

    @Test func lateAndRepeatedAnswersAreDropped() throws {
        var fixture = ForwarderFixture()
        let message = try fixture.forwarded()
        let answer = ForwarderFixture.answer(to: message)
        #expect(fixture.handle(.datagram(answer, port: ForwarderFixture.port)).count == 1)
        #expect(fixture.handle(.datagram(answer, port: ForwarderFixture.port)).isEmpty, "a second time")
        let late = try fixture.forwarded()
        #expect(fixture.wait(Forwarder.patience).isEmpty)
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: late), port: ForwarderFixture.port)).isEmpty, "too late")
    }

    @Test func questionsExpire() throws {
        var fixture = ForwarderFixture()
        _ = try fixture.forwarded()
        #expect(fixture.wait(Forwarder.patience - Interval(nanoseconds: 1)).isEmpty)
        #expect(fixture.forwarder.count == 1)
        #expect(fixture.wait(Interval(nanoseconds: 1)).isEmpty, "nobody is told: clients have given up long before")
        #expect(fixture.forwarder.count == 0)
    }

    @Test func questionsThatWaitAreBounded() throws {
        var fixture = ForwarderFixture(limit: 3)
        let messages = try (0..<3).map { try fixture.forwarded("n\($0).example") }
        for client in [DNSClient.datagram(ForwarderFixture.client), .connection(7)] {
            #expect(
                try fixture.ask("more.example", from: client) == [.answer(ForwarderFixture.failure(of: "more.example"), to: client)]
            )
        }
        #expect(fixture.counters.refused == 2)
        _ = fixture.handle(.datagram(ForwarderFixture.answer(to: messages[1]), port: ForwarderFixture.port))
        _ = try fixture.relayed()
        #expect(fixture.forwarder.count == 3, "connections count, too")
        // No limit is so high that no id is free.
        var huge = ForwarderFixture(limit: .max)
        for _ in 0..<40_000 { _ = try huge.ask() }
        #expect(huge.forwarder.count == 32_768)
    }

    // MARK: Where the resolver is

    @Test func withoutResolverTheAnswerIsAFailure() throws {
        var fixture = ForwarderFixture()
        let failure = [DNSEffect.answer(ForwarderFixture.failure(), to: .datagram(ForwarderFixture.client))]
        #expect(try fixture.ask(resolver: nil) == failure)
        // It is not searched at every question.
        fixture.now = fixture.now + .milliseconds(199)
        let message = DNSQueryTests.question("example.com")
        #expect(fixture.handle(.question(message, try DNSQuery(message), from: .datagram(ForwarderFixture.client))) == failure)
        fixture.now = fixture.now + .milliseconds(1)
        #expect(try fixture.forwarded().count == message.count, "it is back")
        #expect(fixture.counters.refused == 2 && fixture.counters.forwarded == 1)
    }

    @Test func questionsWaitForOneSearchInOrder() throws {
        var fixture = ForwarderFixture()
        let names = ["a.example", "b.example", "c.example"]
        var searches = 0
        for name in names {
            let message = DNSQueryTests.question(name)
            searches += fixture.handle(.question(message, try DNSQuery(message), from: .datagram(ForwarderFixture.client))).count
        }
        #expect(searches == 1)
        let sent = try fixture.handle(.found(.udp, port: ForwarderFixture.port)).compactMap { effect in
            try (effect.asked?.message).map { try DNSQuery($0).name.key }
        }
        #expect(sent == names)
    }

    /// The first datagram to a port that nobody has any more is refused, and a socket tells so with the next one.
    @Test func aResolverThatMovedIsFound() throws {
        var fixture = ForwarderFixture()
        let lost = try fixture.forwarded("lost.example")
        fixture.now = fixture.now + .seconds(1)
        let (message, id, _) = try #require(try fixture.ask("next.example").only?.asked)
        #expect(fixture.handle(.unsent(id)) == [.findResolver(.udp)])
        #expect(fixture.handle(.found(.udp, port: 5000)) == [.ask(message, id: id, port: 5000)])
        // An answer comes from where the question went.
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: message), port: ForwarderFixture.port)).isEmpty)
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: lost), port: 5000)).isEmpty)
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: message), port: 5000)).count == 1)
        #expect(fixture.counters.forwarded == 2)
    }

    @Test func aQuestionIsSentTwiceAtMost() throws {
        var fixture = ForwarderFixture()
        let id = try #require(try fixture.ask().only?.asked?.id)
        fixture.now = fixture.now + .seconds(1)
        #expect(fixture.handle(.unsent(id)) == [.findResolver(.udp)])
        #expect(fixture.handle(.found(.udp, port: 5000)).only?.asked?.id == id)
        let failure = [DNSEffect.answer(ForwarderFixture.failure(), to: .datagram(ForwarderFixture.client))]
        #expect(fixture.handle(.unsent(id)) == failure)
        #expect(fixture.handle(.unsent(id)).isEmpty && fixture.forwarder.count == 0)
    }

    @Test func aRefusalHasTheNextQuestionSearch() throws {
        var fixture = ForwarderFixture()
        _ = try fixture.forwarded()
        fixture.now = fixture.now + .seconds(1)
        #expect(fixture.handle(.refused).isEmpty)
        let message = DNSQueryTests.question("example.com")
        #expect(
            fixture.handle(.question(message, try DNSQuery(message), from: .datagram(ForwarderFixture.client))) == [
                .findResolver(.udp)
            ])
    }

    @Test func aSilentResolverIsSearchedAgain() throws {
        var fixture = ForwarderFixture()
        _ = try fixture.forwarded()
        #expect(fixture.wait(.seconds(2)).isEmpty)
        #expect(try fixture.forwarded().count > 12, "not yet: it is asked where it was")
        #expect(fixture.wait(.milliseconds(1)).isEmpty)
        let message = DNSQueryTests.question("example.com")
        #expect(
            fixture.handle(.question(message, try DNSQuery(message), from: .datagram(ForwarderFixture.client))) == [
                .findResolver(.udp)
            ])
    }

    /// Slow as it may be, it is there: a search that is not due yet is no reason to fail.
    @Test func aSilentResolverIsAskedWhereItWasUntilItIsTimeToSearch() throws {
        var fixture = ForwarderFixture()
        _ = try fixture.forwarded()
        #expect(fixture.wait(.milliseconds(2100)).isEmpty)
        #expect(try fixture.forwarded().count > 12, "searched, and found again")
        #expect(fixture.wait(.milliseconds(100)).isEmpty, "still silent")
        #expect(try fixture.ask().only?.asked?.port == ForwarderFixture.port)
        #expect(try fixture.ask(from: .connection(7)).only?.opened?.port == ForwarderFixture.port)
    }

    /// One that answers some questions is there, however slow the others are.
    @Test func aSlowResolverIsWaitedFor() throws {
        var fixture = ForwarderFixture()
        let slow = try fixture.forwarded("slow.example")
        for _ in 0..<8 {
            let quick = try fixture.forwarded("quick.example")
            #expect(fixture.wait(.milliseconds(1500)).isEmpty)
            #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: quick), port: ForwarderFixture.port)).count == 1)
        }
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: slow), port: ForwarderFixture.port)).count == 1)
    }

    @Test func anAnswerAfterTheSearchBeganStillCounts() throws {
        var fixture = ForwarderFixture()
        let message = try fixture.forwarded()
        #expect(fixture.wait(.seconds(3)).isEmpty, "the resolver may be elsewhere")
        #expect(fixture.handle(.datagram(ForwarderFixture.answer(to: message), port: ForwarderFixture.port)).count == 1)
    }

    /// A search that never ends holds nothing for longer than a question waits.
    @Test func questionsThatWaitForASearchExpire() throws {
        var fixture = ForwarderFixture()
        let message = DNSQueryTests.question("example.com")
        _ = fixture.handle(.question(message, try DNSQuery(message), from: .datagram(ForwarderFixture.client)))
        _ = fixture.handle(.question(message, try DNSQuery(message), from: .connection(7)))
        #expect(fixture.wait(Forwarder.patience).contains(.answer(ForwarderFixture.failure(), to: .connection(7))))
        #expect(fixture.forwarder.count == 0)
        #expect(fixture.handle(.found(.udp, port: 4000)).isEmpty && fixture.handle(.found(.tcp, port: 4000)).isEmpty)
    }
}
