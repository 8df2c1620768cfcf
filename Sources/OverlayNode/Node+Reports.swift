import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// What the node tells people about itself.
extension Node {
    /// Of this build; told by `status`.
    public static let version = "0.1.0"

    func nodeReports() -> [NodeReport] {
        catalogue.members.values.sorted { ($0.name, $0.id) < ($1.name, $1.id) }.map { member in
            let isSelf = member.id == identity.id
            let peer = peers[member.id]
            let state: PeerState = isSelf ? .alive : peer?.state ?? .unknown
            let blocks = catalogue.networks.values.reduce(0) { count, network in
                count + network.subnets.reduce(0) { $0 + $1.blocks.count { $0.owner == member.id } }
            }
            return NodeReport(
                id: member.id.description, name: member.name, address: "\(member.address)", dataPathAddress: "\(member.vtep)",
                state: state.word, reason: peer?.reason ?? "", healthScore: peer?.healthScore ?? 0, ailment: peer?.healthScore ?? 0,
                since: peer.map { (now - $0.since).wholeSeconds } ?? 0,
                roundTrip: peer?.roundTrip.map { $0.nanoseconds / 1000 }, isSelf: isSelf,
                isWriter: member.id == catalogueNode.writer, blocks: blocks,
                networks: catalogue.networks.values.count { $0.users.contains(member.id) })
        }
    }

    func networkReports() -> [NetworkReport] {
        catalogue.networks.values.sorted { ($0.title, $0.id) < ($1.title, $1.id) }.map { network in
            let local = inventory.network(of: network.id)
            let mine = inventory.endpoints(on: network.id).filter(\.isJoined)
                .map { report(record(of: $0), on: identity.name) }
            let others = replication.endpoints(on: network.id).map { report($0.record, on: name(of: $0.owner)) }
            return NetworkReport(
                id: network.id.description, name: network.name ?? "", vni: network.vni.value,
                mtu: forwarding.base(of: network.vni)?.mtu ?? network.settings?.mtu,
                isInternal: network.settings?.isInternal ?? false, isEncrypted: network.settings?.isEncrypted ?? false,
                isRemoved: network.isRemoved, labels: network.description?.labels.map ?? [:],
                engineID: local?.id.text, nodes: network.users.map { name(of: $0) }.sorted(),
                subnets: network.subnets.map { report($0, mine + others) }, endpoints: mine + others)
        }
    }

    private func report(_ subnet: Subnet, _ endpoints: [EndpointReport]) -> SubnetReport {
        let leases = addresses[subnet.id]?.leases ?? [:]
        let others = endpoints.lazy.filter { $0.node != identity.name }.flatMap(\.addresses).compactMap { IPAddress($0) }
        var used: [AddressRange: UInt64] = [:]
        for address in Array(leases.keys) + others {
            if let block = subnet.block(holding: address) { used[block.range, default: 0] += 1 }
        }
        return SubnetReport(
            pool: "\(subnet.id)", subnet: "\(subnet.prefix)", range: subnet.range.map { "\($0)" }, gateway: "\(subnet.gateway)",
            auxiliary: subnet.auxiliary.sorted().map { "\($0)" },
            blocks: subnet.blocks.map { report($0, of: subnet, used: used[$0.range] ?? 0) }, leases: leases.count)
    }

    private func report(_ block: Block, of subnet: Subnet, used: UInt64) -> BlockReport {
        let isResting = catalogue.members[block.owner] == nil
        let reserved = subnet.auxiliary.union([subnet.gateway, subnet.prefix.first, subnet.prefix.last])
            .count { block.range.contains($0) && subnet.isReserved($0) }
        let count = UInt64(clamping: block.range.count) - UInt64(reserved)
        return BlockReport(
            range: "\(block.range)", owner: name(of: block.owner), used: used, free: isResting || used > count ? 0 : count - used,
            isQuarantined: isResting, isResting: isResting)
    }

    func statusReport() -> StatusReport {
        let writer = catalogueNode.writer
        let others = catalogue.members.keys.filter { $0 != identity.id }
        return StatusReport(
            version: Self.version, node: identity.id.description, name: identity.name,
            cluster: catalogue.cluster?.id.description, address: "\(identity.address):\(identity.port)",
            dataPathAddress: "\(identity.vtep)", dataPathPort: catalogue.cluster?.dataPathPort, writer: writer.map { name(of: $0) },
            writerState: writer.map {
                $0 == identity.id ? PeerState.alive.word : peers.state(of: $0).word
            },
            term: catalogue.cluster?.termNumber, generation: catalogue.cluster?.termNumber, catalogueIndex: catalogue.index, members: catalogue.members.count,
            reachable: others.count { peers.isReached($0) }
                + (catalogue.cluster == nil ? 0 : 1),
            engine: mirror.report, sandboxes: sandboxes.scopes.count, networks: networkReports(), endpoints: inventory.endpointCount,
            leases: addresses.leaseCount,
            problems: problems())
    }

    private func problems() -> [String] {
        var problems: [String] = []
        if catalogue.cluster == nil { problems.append(Self.noCluster.message) }
        if isWriterSilent || catalogueNode.isBehind { problems.append(writerText) }
        if catalogue.term.number > 1 { problems += losses() }
        for (node, peer) in peers.statuses.sorted(by: { $0.key < $1.key })
        where node != catalogueNode.writer && (!peer.state.isReachable || peer.state == .udpBlocked || !peer.reason.isEmpty) {
            let since = (now - peer.since).wholeSeconds
            problems.append(
                "node \(name(of: node)) \(peer.state.word) since \(since) s\(peer.reason.isEmpty ? "" : ": \(peer.reason)")")
        }
        if let rollback = life.rollback {
            problems.append(
                "the state of this node is an old copy (\(rollback.why)); it hands out no address until the catalogue has given it a new epoch"
            )
        }
        if !addresses.quarantined.isEmpty {
            problems.append(
                "addresses set aside, as containers that an old copy of the state did not know may have them: "
                    + quarantineText.joined(separator: "; "))
        }
        problems += linkProblems()
        if let failure = outbox.lastKernelFailure { problems.append("the kernel refused: \(failure)") }
        if let failure = outbox.lastStoreFailure { problems.append("state could not be written: \(failure)") }
        return problems
    }

    private func report(_ record: EndpointRecord, on node: String) -> EndpointReport {
        EndpointReport(
            id: record.endpoint.text, node: node, names: record.names.names, addresses: record.addresses.map { "\($0)" },
            mac: "\(record.mac)")
    }
}
