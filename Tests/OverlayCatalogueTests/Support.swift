import OverlayModel
import Testing

@testable import OverlayCatalogue

/// A catalogue, its proposers and its log.
struct Fixture {
    var catalogue = Catalogue()
    var log: [Entry] = []
    private var sequences: [NodeID: UInt64] = [:]

    /// A cluster of `members` nodes, node 0 the writer.
    init(members: Int = 1, pool: String = "10.32.0.0/12", subnetLength: Int = 24) {
        let cluster = Self.cluster(pool: pool, subnetLength: subnetLength)
        #expect(propose(.initialise(cluster, Self.member(0)), by: 0) == .accepted)
        for index in 1..<max(1, members) { #expect(propose(.admit(Self.member(index)), by: 0) == .accepted) }
    }

    static func cluster(pool: String = "10.32.0.0/12", subnetLength: Int = 24) -> Cluster {
        Cluster(
            id: ClusterID(bits: 0xC1 << 120), writer: node(0), addressPool: IPPrefix(pool)!, subnetLength: subnetLength,
            dataPathPort: 4789, rootKey: [UInt8](repeating: 5, count: 32),
            rootPublicKey: [UInt8](repeating: 6, count: 32), gossipKey: [UInt8](repeating: 7, count: 32), joinSecret: secret(9))
    }

    static func secret(_ value: UInt8, count: Int = 16) -> JoinSecret {
        JoinSecret(secret: [UInt8](repeating: value, count: count), expires: 0)
    }

    static let term = Term(number: 1, writer: node(0))

    static func node(_ index: Int) -> NodeID { NodeID(bits: UInt128(index + 1) << 64 | UInt128(index + 1)) }

    static func member(_ index: Int, name: String? = nil, epoch: UInt32 = 1) -> Member {
        Member(
            id: node(index), name: name ?? "host-\(index)", address: IPAddress(family: .v4, bits: 0xC000_0201 + UInt128(index)),
            port: 7947,
            vtep: IPAddress(family: .v4, bits: 0xC633_6401 + UInt128(index)),
            publicKey: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 32),
            agreementKey: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 32), epoch: epoch)
    }

    @discardableResult
    mutating func propose(_ command: Command, by index: Int, epoch: UInt32 = 1, sequence: UInt64? = nil) -> CommandResult {
        let proposer = Self.node(index)
        let number = sequence ?? sequences[proposer, default: 0] + 1
        sequences[proposer] = max(number, sequences[proposer, default: 0])
        var termNumber = max(catalogue.term.number, 1)
        if case .promote = command { termNumber += 1 }
        let entry = Entry(
            index: catalogue.index + 1, termNumber: termNumber, proposer: proposer, epoch: epoch, sequence: number, command: command
        )
        log.append(entry)
        return catalogue.apply(entry)
    }

    @discardableResult
    mutating func open(
        _ prefix: String? = nil, name: String? = nil, range: String? = nil, family: IPAddress.Family? = nil,
        by index: Int = 0
    ) -> CommandResult {
        let prefix = prefix.map { IPPrefix($0)! }
        return propose(
            .openSubnet(
                OpenSubnet(
                    networkName: name, family: family ?? prefix?.family ?? .v4, prefix: prefix, range: range.map { IPPrefix($0)! })),
            by: index)
    }

    /// Opens a subnet that must be granted, and returns it.
    mutating func opened(
        _ prefix: String? = nil, name: String? = nil, range: String? = nil, family: IPAddress.Family? = nil,
        by index: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Subnet {
        let result = open(prefix, name: name, range: range, family: family, by: index)
        guard case .opened(let id) = result else {
            Issue.record("\(result)", sourceLocation: sourceLocation)
            throw Refusal(.invalid, "not opened")
        }
        return try #require(catalogue.subnet(id), sourceLocation: sourceLocation)
    }

    /// Sets the routes of a host.
    mutating func route(_ routes: [String], by index: Int) {
        var member = Self.member(index)
        member.routes = routes.map { IPPrefix($0)! }
        #expect(propose(.admit(member), by: index) == .accepted)
    }

    func network(of id: SubnetID) throws -> Network { try #require(catalogue.network(holding: id)) }
}

extension CommandResult {
    var refusal: Refusal.Code? {
        if case .refused(let refusal) = self { refusal.code } else { nil }
    }

    var message: String {
        if case .refused(let refusal) = self { refusal.message } else { "" }
    }
}

extension Catalogue {
    /// Broken invariants: unique names and VNIs, disjoint subnets and blocks, users and owners that are members.
    var violations: [String] {
        var found: [String] = []
        func check(_ holds: Bool, _ text: @autoclosure () -> String) {
            if !holds { found.append(text()) }
        }
        let all = networks.values.sorted { $0.id < $1.id }
        let names = all.compactMap(\.name)
        check(Set(names).count == names.count, "a name twice: \(names)")
        check(Set(all.map(\.vni)).count == all.count, "a VNI twice")
        check(Set(members.values.map(\.name)).count == members.count, "a member name twice")
        check(Set(members.values.map(\.vtep)).count == members.count, "a VTEP twice")
        check(Set(sessions.keys).isSubset(of: members.keys), "a session without member")
        let subnets = all.flatMap(\.subnets)
        check(
            networkOfSubnet.count == subnets.count,
            "\(networkOfSubnet.count) subnets in the index, \(subnets.count) in the networks")
        for network in all {
            check(networks[network.id]?.id == network.id, "network \(network.id) under another id")
            check(!network.subnets.isEmpty, "network \(network.title) has no subnet")
            check(
                network.subnets.count <= Limits.subnetsPerNetwork, "network \(network.title) has \(network.subnets.count) subnets")
            for subnet in network.subnets {
                check(networkOfSubnet[subnet.id] == network.id, "subnet \(subnet.prefix) is not in the index")
                check(subnet.id.value < nextSubnet, "subnet id \(subnet.id) will be given again")
            }
        }
        for (one, other) in zip(subnets.sorted { $0.prefix < $1.prefix }, subnets.sorted { $0.prefix < $1.prefix }.dropFirst()) {
            // In order of address, overlapping subnets include two neighbours that overlap.
            check(!one.prefix.overlaps(other.prefix), "subnets \(one.prefix) and \(other.prefix) overlap")
        }
        check(Set(departed.keys).isDisjoint(with: members.keys), "a member's addresses rest")
        check(
            Set(departed.keys) == Set(subnets.flatMap(\.blocks).map(\.owner)).subtracting(members.keys), "nobody's addresses rest")
        for subnet in subnets { found += subnet.violations(members: Set(members.keys), departed: Set(departed.keys)) }
        return found
    }
}

extension Subnet {
    fileprivate func violations(members: Set<NodeID>, departed: Set<NodeID>) -> [String] {
        var found: [String] = []
        func check(_ holds: Bool, _ text: @autoclosure () -> String) {
            if !holds { found.append("subnet \(prefix): " + text()) }
        }
        check(prefix.isNetwork, "has host bits")
        check(!users.isEmpty && users.isSubset(of: members), "users \(users)")
        check(prefix.usable.contains(gateway) && !auxiliary.contains(gateway), "gateway \(gateway)")
        check(auxiliary.allSatisfy(prefix.usable.contains), "aux addresses")
        check(blocks.allSatisfy { users.union(departed).contains($0.owner) }, "a block of no user")
        check(
            blocks.allSatisfy { prefix.usable.contains($0.range.first) && prefix.usable.contains($0.range.last) }, "a block outside"
        )
        check(zip(blocks, blocks.dropFirst()).allSatisfy { $0.range.last < $1.range.first }, "blocks overlap or are in no order")
        check(blocks.allSatisfy { $0.range.count > 1 || !isReserved($0.range.first) }, "a block without a usable address")
        check(dynamic != nil, "dynamic")
        return found
    }
}
