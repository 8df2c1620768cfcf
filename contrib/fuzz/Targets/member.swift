import CatalogueSamples
public import Fuzzing
import OverlayCatalogue
import OverlayModel

/// Member record, as sent by anybody who knows the join secret.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let members = CatalogueSamples.members + CatalogueSamples.members.map { $0.telling(.present) }
    return Target(seeds: members.map(\.wireBytes)) { roundTrip(Member.self, $0) }
}
