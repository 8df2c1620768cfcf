import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel
import OverlayNode

@_silgen_name("fuzzTarget") public func target() -> Target {
    let seeds: [JoinAnswer] = [.refused("because"), .admitted(Catalogue()), .admitted(CatalogueSamples.catalogue)]
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(JoinAnswer.self, $0) }
}
