import OverlayModel
import Testing

@testable import OverlayDNS

/// Questions of connections, of which Docker's resolver is asked each on a connection of its own.
@Suite struct RelayTests {
    @Test func aQuestionKeepsItsID() throws {
        var fixture = ForwarderFixture()
        let message = DNSQueryTests.question("example.com")
        #expect(try fixture.ask(from: .connection(7)) == [.openRelay(1, message, port: ForwarderFixture.port)])
        #expect(fixture.forwarder.isAwaited(by: 7) && !fixture.forwarder.isAwaited(by: 8))
        let answer = ForwarderFixture.answer(to: message)
        #expect(fixture.handle(.message(answer, relay: 2)).isEmpty, "that is nobody's")
        #expect(fixture.handle(.message(answer, relay: 1)) == [.closeRelay(1), .answer(answer, to: .connection(7))])
        #expect(fixture.handle(.message(answer, relay: 1)).isEmpty && !fixture.forwarder.isAwaited(by: 7))
        #expect(fixture.counters.forwarded == 1)
    }

    @Test func answersGoToTheConnectionThatAsked() throws {
        var fixture = ForwarderFixture()
        let relays = try (0..<4 as Range<UInt64>).map { try fixture.relayed(from: $0) }
        for (connection, relay) in relays.enumerated().reversed() {
            let answer = ForwarderFixture.answer(to: DNSQueryTests.question("example.com"))
            #expect(fixture.handle(.message(answer, relay: relay)).last == .answer(answer, to: .connection(UInt64(connection))))
        }
    }

    @Test func connectionsThatFailAreAnsweredWithAFailure() throws {
        var fixture = ForwarderFixture()
        for failure in [Forwarder.RelayFailure.noSocket, .refused, .ended] {
            let relay = try fixture.relayed()
            #expect(
                fixture.handle(.relayFailed(relay, failure)) == [
                    .closeRelay(relay), .answer(ForwarderFixture.failure(), to: .connection(7)),
                ], "\(failure)")
            fixture.now = fixture.now + .seconds(1)
        }
        #expect(fixture.counters.refused == 3 && fixture.forwarder.count == 0)
    }

    /// A connection that was not opened for want of a socket says nothing of the resolver; a refused one does.
    @Test(arguments: [(.noSocket, false), (.refused, true), (.ended, true)] as [(Forwarder.RelayFailure, Bool)])
    func failuresHaveTheResolverSearched(failure: Forwarder.RelayFailure, isSearched: Bool) throws {
        var fixture = ForwarderFixture()
        _ = fixture.handle(.relayFailed(try fixture.relayed(), failure))
        fixture.now = fixture.now + .seconds(1)
        let message = DNSQueryTests.question("example.com")
        let effects = fixture.handle(.question(message, try DNSQuery(message), from: .connection(7)))
        #expect((effects == [.findResolver(.tcp)]) == isSearched)
    }

    /// A container can pose as the resolver: talk without end costs it the relay.
    @Test func wrongAnswersWithoutEndEndTheRelay() throws {
        var fixture = ForwarderFixture()
        let relay = try fixture.relayed()
        for _ in 1..<Forwarder.mostWrongAnswers { #expect(fixture.handle(.message([], relay: relay)).isEmpty) }
        #expect(
            fixture.handle(.message([], relay: relay)) == [
                .closeRelay(relay), .answer(ForwarderFixture.failure(), to: .connection(7)),
            ])
        #expect(fixture.handle(.message([], relay: relay)).isEmpty && fixture.forwarder.count == 0)
    }

    @Test func whoWaitedTooLongIsToldAFailure() throws {
        var fixture = ForwarderFixture()
        let relay = try fixture.relayed()
        #expect(fixture.wait(Forwarder.patience - Interval(nanoseconds: 1)).isEmpty)
        #expect(
            fixture.wait(Interval(nanoseconds: 1)) == [
                .closeRelay(relay), .answer(ForwarderFixture.failure(), to: .connection(7)),
            ])
        #expect(!fixture.forwarder.isWaiting)
    }

    @Test func withoutResolverTheAnswerIsAFailure() throws {
        var fixture = ForwarderFixture()
        #expect(
            try fixture.ask(from: .connection(7), resolver: nil) == [.answer(ForwarderFixture.failure(), to: .connection(7))])
        #expect(fixture.forwarder.count == 0)
    }
}
