import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct HandoversTests {
    private static func handover(_ first: UInt8, of subnet: UInt64 = 1) -> Handover {
        Handover(subnet: SubnetID(subnet), range: Part.range(first, first + 3))
    }

    private static func isAnybody(_ recipient: Handover.Recipient?) -> Bool {
        if case .anybody? = recipient { true } else { false }
    }

    @Test func nothingIsProposedBeforeItIsDurable() {
        var handovers = Handovers()
        let handover = Self.handover(8)
        #expect(handovers.begin(handover, to: .anybody) == .put(.handover, key: handover.storeKey, value: handover.wireBytes))
        handovers.wait(for: Part.effect(1), handover)
        #expect(handovers.contains(handover) && handovers.undecided(except: []).isEmpty)
        #expect(handovers.stored(Part.effect(2)) == nil && handovers.undecided(except: []).isEmpty)
        #expect(handovers.stored(Part.effect(1)) == handover && handovers.undecided(except: []) == [handover])
        #expect(handovers.stored(Part.effect(1)) == nil)
    }

    @Test func whatIsProposedIsNotProposedAgainAndTheOrderIsFixed() {
        var handovers = Handovers()
        let all = [Self.handover(16), Self.handover(8, of: 2), Self.handover(8), Self.handover(32)]
        for handover in all { _ = handovers.begin(handover, to: .anybody) }
        #expect(handovers.undecided(except: [Self.handover(16)]) == [Self.handover(8), Self.handover(32), Self.handover(8, of: 2)])
    }

    @Test func aRecipientIsForgottenWhenNobodyKnowsWhatBecameOfTheProposal() {
        var handovers = Handovers()
        _ = handovers.begin(Self.handover(8), to: .node(Part.node, epoch: 3))
        guard case .node(Part.node, epoch: 3)? = handovers.recipient(of: Self.handover(8)) else {
            Issue.record("the recipient is not kept")
            return
        }
        handovers.forgetRecipient(of: Self.handover(8))
        #expect(Self.isAnybody(handovers.recipient(of: Self.handover(8))) && handovers.contains(Self.handover(8)))
    }

    @Test func aHandoverEndsWithItsRow() {
        var handovers = Handovers()
        _ = handovers.begin(Self.handover(8), to: .anybody)
        #expect(handovers.end(Self.handover(8)) == .delete(.handover, key: Self.handover(8).storeKey))
        #expect(handovers.isEmpty && !handovers.contains(Self.handover(8)) && handovers.recipient(of: Self.handover(8)) == nil)
    }

    @Test func allHandoversOfASubnetEndTogether() {
        var handovers = Handovers()
        for handover in [Self.handover(8), Self.handover(16), Self.handover(8, of: 2)] {
            _ = handovers.begin(handover, to: .anybody)
        }
        #expect(Set(handovers.ranges(of: Part.subnet)) == [Part.range(8, 11), Part.range(16, 19)])
        let ended = handovers.end(of: Part.subnet)
        #expect(Set(ended) == Set([8, 16].map { .delete(.handover, key: Self.handover($0).storeKey) }))
        #expect(handovers.all == [Self.handover(8, of: 2)])
        #expect(!handovers.contains(subnet: Part.subnet) && handovers.contains(subnet: SubnetID(2)))
    }

    @Test func whatAnEarlierLifeGaveUpGoesToAnybodyUnlessAContainerHasIt() throws {
        var handovers = Handovers()
        var rows: StoredRows = [:]
        rows.apply([
            handovers.begin(Self.handover(8), to: .node(Part.node, epoch: 1)), handovers.begin(Self.handover(16), to: .anybody),
        ])
        let again = try Handovers(rows: rows) { $0 == Self.handover(16) }
        #expect(again.all == [Self.handover(8)] && Self.isAnybody(again.recipient(of: Self.handover(8))))
        #expect(again.undecided(except: []) == [Self.handover(8)])
        #expect(throws: DecodeError.self) { try Handovers(rows: [.handover: [[1]: [1]]]) { _ in false } }
    }

    @Test func aNodeThatLeftItsClusterGivesUpNothing() {
        var handovers = Handovers()
        _ = handovers.begin(Self.handover(8), to: .anybody)
        handovers.wait(for: Part.effect(1), Self.handover(8))
        handovers.forgetAll()
        #expect(handovers.isEmpty && handovers.stored(Part.effect(1)) == nil)
    }
}
