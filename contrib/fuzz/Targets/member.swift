import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

/// What somebody who knows the join secret sends.
@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: CatalogueSamples.members.map(\.wireBytes)) { roundTrip(Member.self, $0) }
}
