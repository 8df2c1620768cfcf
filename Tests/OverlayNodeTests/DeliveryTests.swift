import OverlayDNS
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

/// Effects leave the node in the order in which they are to be carried out.
@Suite struct DeliveryTests {
    private func kinds(_ effects: [NodeEffect]) -> [String] {
        effects.map { effect in
            switch effect {
            case .respond(let id, _): "respond \(id.value)"
            case .log(_, let message, _): message
            case .subnets: "subnets"
            case .names: "names"
            case .publishNames: "publish"
            default: "other"
            }
        }
    }

    @Test func answersComeFirstThenNamesThenTheRestAsItCame() {
        var outbox = Outbox(journal: WriteJournal(count: 0, announced: nil))
        outbox.deliver(.log(.info, "a", [:]))
        outbox.deliver(.names(NetworkID(bits: 1), nil))
        outbox.deliver(.respond(RequestID(1), .done))
        outbox.deliver(.log(.info, "b", [:]))
        outbox.deliver(.subnets([]))
        outbox.deliver(.respond(RequestID(2), .done))
        #expect(kinds(outbox.takeDelivered()) == ["respond 1", "respond 2", "names", "subnets", "publish", "a", "b"])
        #expect(outbox.takeDelivered().isEmpty)
    }

    @Test func nothingIsPublishedWhereNoNameChanged() {
        var outbox = Outbox(journal: WriteJournal(count: 0, announced: nil))
        outbox.deliver(.log(.info, "a", [:]))
        outbox.deliver(.respond(RequestID(1), .done))
        #expect(kinds(outbox.takeDelivered()) == ["respond 1", "a"])
    }
}
