import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

/// Member record, as sent by anybody who knows the join secret.
@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: CatalogueSamples.members.map(\.wireBytes)) { roundTrip(Member.self, $0) }
}
