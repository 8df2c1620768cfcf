import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct RequestsTests {
    private static let reply = Reply.driver(.done)
    private static let undo = Undo.endpoint(Part.endpoint(1))

    private static func requests(_ ids: UInt64...) -> Requests {
        var requests = Requests()
        for id in ids { requests.add(RequestID(id), .driver(.freeNetwork), now: .zero) }
        return requests
    }

    private static func wait(asked: Instant = .zero, until: Instant = .seconds(5)) -> AddressWait {
        AddressWait(subnet: Part.subnet, wanted: nil, asked: asked, until: until, error: DriverError(.exhausted, "none"))
    }

    @Test func aCallIsAnsweredOnce() {
        var requests = Self.requests(1)
        #expect(requests[RequestID(1)]?.deadline == .zero + Requests.budget)
        #expect(requests.remove(RequestID(1)) == true)
        #expect(requests.remove(RequestID(1)) == false)
        #expect(requests[RequestID(1)] == nil && requests.nextDeadline == nil)
    }

    @Test func aNewWaitTakesThePlaceOfTheOld() {
        var requests = Self.requests(1)
        requests.wait(RequestID(1), for: .addresses(Self.wait()))
        #expect(requests.addressWaits.map(\.id) == [RequestID(1)])
        requests.wait(RequestID(1), for: .closing(Part.subnet))
        #expect(requests.addressWaits.isEmpty)
        #expect(requests.waitForClosing == [RequestID(1)])
        requests.wait(RequestID(1), for: .nodeChange)
        #expect(requests.waitForClosing.isEmpty)
        #expect(requests.waiting { if case .nodeChange = $0 { true } else { false } } == [RequestID(1)])
    }

    @Test func aRoundEndsTheWaitAndIsCounted() {
        var requests = Self.requests(1)
        requests.wait(RequestID(1), for: .addresses(Self.wait()))
        #expect(requests.beginRound(RequestID(1))?.rounds == 1)
        #expect(requests.addressWaits.isEmpty)
        #expect(requests.beginRound(RequestID(1))?.rounds == 2)
        requests.resetRounds(RequestID(1))
        #expect(requests.beginRound(RequestID(1))?.rounds == 1)
        #expect(requests.beginRound(RequestID(2)) == nil)
    }

    @Test func aCallThatIsNotOpenDoesNotWait() {
        var requests = Requests()
        requests.wait(RequestID(1), for: .addresses(Self.wait()))
        #expect(requests.addressWaits.isEmpty && requests[RequestID(1)] == nil)
    }

    // MARK: Effects

    @Test(arguments: [[1, 2, 3], [3, 1, 2], [2, 3, 1]] as [[UInt64]])
    func theReplyComesWithTheLastEffectInWhateverOrderTheyEnd(order: [UInt64]) {
        var requests = Self.requests(1)
        let effects = order.map(Part.effect)
        requests.wait(RequestID(1), for: .effects(Set(effects), Self.reply, undo: nil))
        for effect in effects.dropLast() {
            #expect(requests.ended(effect, for: RequestID(1)) == nil)
            #expect(requests.waiting(for: effect).isEmpty)
        }
        #expect(requests.ended(effects[2], for: RequestID(1)) != nil)
    }

    @Test func anEffectEndsForAllWhoWaitForIt() {
        var requests = Self.requests(1, 2, 3)
        requests.wait(RequestID(1), for: .effects([Part.effect(1)], Self.reply, undo: nil))
        requests.wait(RequestID(2), for: .effects([Part.effect(1), Part.effect(2)], Self.reply, undo: Self.undo))
        requests.wait(RequestID(3), for: .effects([Part.effect(3)], Self.reply, undo: nil))
        #expect(Set(requests.waiting(for: Part.effect(1)).map(\.id)) == [RequestID(1), RequestID(2)])
        #expect(requests.waiting(for: Part.effect(2)).first?.undo != nil)
    }

    @Test func aCallHasSomethingToTakeBackOnlyWhileItWaitsForEffects() {
        var requests = Self.requests(1)
        let id = RequestID(1)
        #expect(requests[id]?.undo == nil)
        requests.wait(id, for: .effects([Part.effect(1), Part.effect(2)], Self.reply, undo: Self.undo))
        #expect(requests[id]?.undo != nil)
        _ = requests.ended(Part.effect(1), for: id)
        #expect(requests[id]?.undo != nil)
        _ = requests.beginRound(id)
        #expect(requests[id]?.undo == nil)
        #expect(requests.ended(Part.effect(2), for: id) == nil)
    }

    // MARK: Time

    @Test func aCallIsDueAtItsDeadline() {
        var requests = Self.requests(1)
        requests.add(RequestID(2), .driver(.freeNetwork), now: .seconds(1))
        #expect(requests.nextDeadline == .zero + Requests.budget)
        #expect(requests.due(at: .zero + Requests.budget - .milliseconds(1)).isEmpty)
        #expect(requests.due(at: .zero + Requests.budget) == [RequestID(1)])
        #expect(Set(requests.due(at: .seconds(100))) == [RequestID(1), RequestID(2)])
    }

    @Test func aWaitForAddressesIsLookedAtBeforeTheDeadline() {
        var requests = Self.requests(1)
        requests.wait(RequestID(1), for: .addresses(Self.wait(asked: .seconds(1))))
        #expect(requests.nextDeadline == Instant.seconds(1) + AddressWait.askAgain)
        requests.wait(RequestID(1), for: .addresses(Self.wait(asked: .seconds(1), until: .milliseconds(1100))))
        #expect(requests.nextDeadline == .milliseconds(1100))
        requests.wait(RequestID(1), for: .addresses(Self.wait(asked: .seconds(20), until: .seconds(30))))
        #expect(requests.nextDeadline == .zero + Requests.budget)
    }

    // MARK: Order

    @Test func waitsAreInTheOrderInWhichTheCallsCame() {
        var requests = Self.requests(3, 1, 4, 2, 5)
        for id in [4, 1, 3, 2] as [UInt64] { requests.wait(RequestID(id), for: .addresses(Self.wait())) }
        #expect(requests.addressWaits.map(\.id.value) == [1, 2, 3, 4])
        #expect(requests.all.map(\.key.value) == [1, 2, 3, 4, 5])
        #expect(requests.remove(RequestID(2)) == true)
        #expect(requests.addressWaits.map(\.id.value) == [1, 3, 4])
        for id in [3, 1, 4] as [UInt64] { requests.wait(RequestID(id), for: .closing(SubnetID(id == 1 ? 2 : 1))) }
        #expect(requests.waitForClosing.map(\.value) == [1, 3, 4])
        #expect(requests.waitForClosing(of: SubnetID(1)).map(\.value) == [3, 4])
    }

    @Test func scarcityIsRememberedOverRounds() {
        var requests = Self.requests(1)
        requests.setScarcity(Scarcity(error: DriverError(.exhausted, "none"), until: .seconds(2)), of: RequestID(1))
        #expect(requests.beginRound(RequestID(1))?.scarcity?.until == .seconds(2))
    }

    @Test func thereIsALimitOfOpenCalls() {
        var requests = Requests()
        for id in 1...UInt64(Requests.limit) { requests.add(RequestID(id), .driver(.freeNetwork), now: .zero) }
        #expect(!requests.isFull)
        // The call above the limit is added before it is refused.
        requests.add(RequestID(0), .driver(.freeNetwork), now: .zero)
        #expect(requests.isFull)
        _ = requests.remove(RequestID(5))
        #expect(!requests.isFull)
    }
}
