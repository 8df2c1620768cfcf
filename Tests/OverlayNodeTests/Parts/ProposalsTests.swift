import OverlayModel
import Testing

@testable import OverlayCatalogue
@testable import OverlayNode

@Suite struct ProposalsTests {
    private static func id(_ value: UInt64) -> CatalogueNode.ProposalID { CatalogueNode.ProposalID(value: value) }
    private static let handover = Handover(subnet: Part.subnet, range: Part.range(8, 15))

    @Test func aProposalIsDecidedOnce() {
        var proposals = Proposals()
        #expect(proposals.isEmpty && proposals.take(Self.id(1)) == nil)
        proposals.add(Self.id(1), for: .own)
        #expect(!proposals.isEmpty && proposals.contains { if case .own = $0 { true } else { false } })
        #expect(!proposals.contains { if case .rotation = $0 { true } else { false } })
        #expect(proposals.take(Self.id(1)) != nil)
        #expect(proposals.take(Self.id(1)) == nil && proposals.isEmpty)
    }

    @Test func closingsAndHandoversAreThoseThatAreProposed() {
        var proposals = Proposals()
        proposals.add(Self.id(1), for: .close(Part.subnet))
        proposals.add(Self.id(2), for: .handOver(Self.handover))
        proposals.add(Self.id(3), for: .claim(SubnetID(9)))
        #expect(proposals.closings == [Part.subnet] && proposals.handovers == [Self.handover])
        _ = proposals.take(Self.id(1))
        _ = proposals.take(Self.id(2))
        #expect(proposals.closings.isEmpty && proposals.handovers.isEmpty)
    }

    @Test func proposalsOfCallsAreInTheirOrder() {
        var proposals = Proposals()
        for value in [5, 2, 9, 1] as [UInt64] { proposals.add(Self.id(value), for: .request(RequestID(100 + value))) }
        proposals.add(Self.id(3), for: .promotion(RequestID(7)))
        #expect(proposals.ofRequests.map(\.proposal.value) == [1, 2, 5, 9])
        #expect(proposals.ofRequests.map(\.request.value) == [101, 102, 105, 109])
    }

    @Test func aTokenIsOfOneWriteAndTakenOnce() {
        var proposals = Proposals()
        proposals.keep(42, of: Part.effect(1))
        #expect(proposals.takeToken(of: Part.effect(2)) == nil)
        #expect(proposals.takeToken(of: Part.effect(1)) == 42)
        #expect(proposals.takeToken(of: Part.effect(1)) == nil)
    }
}
