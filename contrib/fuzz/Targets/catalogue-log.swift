import CatalogueSamples
public import Fuzzing
import OverlayModel

@testable import OverlayCatalogue

/// State machine of the catalogue: an optional snapshot, then entries. None may trap, and every answer must be encodable. Without a
/// hostile snapshot, subnets and blocks stay disjoint.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let none: [UInt8] = [0]
    let whole: [UInt8] = [1] + CatalogueSamples.catalogue.wireBytes
    let entries = CatalogueSamples.entries.map(\.wireBytes)
    let endings = CatalogueSamples.endings.flatMap(\.wireBytes)
    var seeds = [none + entries.joined(), none + entries.joined() + endings, whole + endings]
    seeds += entries.map { whole + $0 } + entries.map { none + entries[0] + $0 }
    return Target(seeds: seeds, run: run)
}

private func run(_ bytes: [UInt8]) {
    var reader = ByteReader(bytes)
    guard let snapshot = try? reader.optional(Catalogue.self) else { return }
    var catalogue = snapshot ?? Catalogue()
    while var entry = try? reader.value(Entry.self) {
        guard catalogue.index + 1 < Limits.counter else { return }
        // The log protocol excludes gaps.
        entry.index = catalogue.index + 1
        requireRoundTrip(catalogue.apply(entry))
        if snapshot == nil { checkRules(of: catalogue) }
    }
    requireRoundTrip(catalogue)
}

private func checkRules(of catalogue: Catalogue) {
    let networks = Array(catalogue.networks.values)
    let subnets = networks.flatMap(\.subnets).sorted { $0.prefix < $1.prefix }
    require(Set(networks.map(\.vni)).count == networks.count, "VNIs differ")
    require(Set(networks.compactMap(\.name)).count == networks.count(where: { $0.name != nil }), "names differ")
    require(catalogue.networkOfSubnet.count == subnets.count, "every subnet is in the index")
    for (one, next) in zip(subnets, subnets.dropFirst()) {
        require(!one.prefix.overlaps(next.prefix), "\(one.prefix) and \(next.prefix) are disjoint")
    }
    for subnet in subnets {
        require(subnet.users.isSubset(of: catalogue.members.keys), "users of \(subnet.prefix) are members")
        require(subnet.blocks.allSatisfy { subnet.users.contains($0.owner) }, "blocks of \(subnet.prefix) are of users")
        for (one, next) in zip(subnet.blocks, subnet.blocks.dropFirst()) {
            require(one.range.last < next.range.first, "\(one.range) and \(next.range) are disjoint and in order")
        }
    }
}
