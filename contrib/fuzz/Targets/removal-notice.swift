public import Fuzzing
import OverlayModel

@testable import OverlayNode

@_silgen_name("fuzzTarget") public func target() -> Target {
    var notice = RemovalNotice(
        of: NodeID(bits: 7), position: CataloguePosition(term: Term(number: 2, writer: NodeID(bits: 1)), index: 9),
        signer: NodeID(bits: 1))
    let unsigned = notice.wireBytes
    notice.signature = [UInt8](repeating: 5, count: 64)
    return Target(seeds: [unsigned, notice.wireBytes]) { roundTrip(RemovalNotice.self, $0) }
}
