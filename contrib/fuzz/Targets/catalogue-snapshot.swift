import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: [Catalogue(), CatalogueSamples.catalogue].map(\.wireBytes)) { roundTrip(Catalogue.self, $0) }
}
