import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: (CatalogueSamples.entries + CatalogueSamples.endings).map(\.wireBytes)) { roundTrip(Entry.self, $0) }
}
