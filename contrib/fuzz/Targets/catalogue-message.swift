import CatalogueSamples
public import Fuzzing
import OverlayModel

@testable import OverlayCatalogue

@_silgen_name("fuzzTarget") public func target() -> Target {
    let position = CataloguePosition(term: Term(number: 1, writer: CatalogueSamples.writer), index: 2)
    var seeds: [CatalogueMessage] = CatalogueSamples.entries.map { .propose(epoch: 1, sequence: 2, $0.command) }
    seeds += [
        .outcome(sequence: 1, at: position, .accepted),
        .outcome(sequence: 1, at: position, .opened(SubnetID(1))),
        .outcome(sequence: 1, at: position, .refused(Refusal(.conflict, "because"))), .failed(sequence: 3),
        .entries(after: .none, []), .entries(after: position.term, CatalogueSamples.endings), .fetch(after: position),
        .snapshot(Catalogue()), .term(position.term),
        .snapshot(CatalogueSamples.catalogue),
    ]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(CatalogueMessage.self, $0) }
}
