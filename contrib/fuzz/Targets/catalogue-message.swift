import CatalogueSamples
public import Fuzzing
@testable import OverlayCatalogue
import OverlayModel

@_silgen_name("fuzzTarget") public func target() -> Target {
    var seeds: [CatalogueMessage] = CatalogueSamples.entries.map { .propose(epoch: 1, sequence: 2, $0.command) }
    seeds += [
        .outcome(sequence: 1, index: 2, .accepted, entries: Array(CatalogueSamples.entries.suffix(1))),
        .outcome(sequence: 1, index: 2, .opened(SubnetID(1)), entries: []),
        .outcome(sequence: 1, index: 2, .refused(Refusal(.conflict, "because")), entries: []), .failed(sequence: 3),
        .entries([]), .entries(CatalogueSamples.endings), .fetch(from: 9), .snapshot(Catalogue()),
        .snapshot(CatalogueSamples.catalogue),
    ]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(CatalogueMessage.self, $0) }
}
