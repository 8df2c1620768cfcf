import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

@_silgen_name("fuzzTarget") public func target() -> Target {
    var later = CatalogueSamples.catalogue
    for entry in CatalogueSamples.endings { later.apply(entry) }
    return Target(seeds: [Catalogue(), CatalogueSamples.catalogue, later].map(\.wireBytes)) { roundTrip(Catalogue.self, $0) }
}
