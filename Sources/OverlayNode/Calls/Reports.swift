import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// Reports for the command line, read from all parts. Owns nothing.
enum Reports {
    /// Rows of `swift-overlay node ls`.
    static func nodeReports(_ node: Node) -> [NodeReport] {
        node.catalogue.members.values.sorted { ($0.name, $0.id) < ($1.name, $1.id) }.map { member in
            let isSelf = member.id == node.identity.id
            let peer = node.peers[member.id]
            let state: PeerState = isSelf ? .alive : peer?.state ?? .unknown
            let blocks = node.catalogue.networks.values.reduce(0) { count, network in
                count + network.subnets.reduce(0) { $0 + $1.blocks.count { $0.owner == member.id } }
            }
            return NodeReport(
                id: member.id.description, name: member.name, address: "\(member.address)", dataPathAddress: "\(member.vtep)",
                state: state.word, reason: peer?.reason ?? "", healthScore: peer?.healthScore ?? 0, ailment: peer?.healthScore ?? 0,
                since: peer.map { (node.now - $0.since).wholeSeconds } ?? 0,
                roundTrip: peer?.roundTrip.map { $0.nanoseconds / 1000 }, isSelf: isSelf,
                isWriter: member.id == node.catalogueNode.writer, blocks: blocks,
                networks: node.catalogue.networks.values.count { $0.users.contains(member.id) }, speaks: member.versions.text)
        }
    }

    /// Rows of `swift-overlay network ls`, with everything that `network inspect` shows.
    static func networkReports(_ node: Node) -> [NetworkReport] {
        node.catalogue.networks.values.sorted { ($0.title, $0.id) < ($1.title, $1.id) }.map { network in
            let local = node.inventory.network(of: network.id)
            let mine = node.inventory.endpoints(on: network.id).filter(\.isJoined)
                .map { Self.report(node, KernelFollower.record(node, of: $0), of: node.identity.id, on: network.id) }
            let others = node.replication.endpoints(on: network.id).map {
                Self.report(node, $0.record, of: $0.owner, on: network.id)
            }
            return NetworkReport(
                id: network.id.description, name: network.name ?? "", vni: network.vni.value,
                mtu: node.forwarding.base(of: network.vni)?.mtu ?? network.settings?.mtu,
                isInternal: network.settings?.isInternal ?? false, isEncrypted: network.settings?.isEncrypted ?? false,
                isRemoved: network.isRemoved, labels: network.description?.labels.map ?? [:],
                engineID: local?.id.text, nodes: network.users.map { node.name(of: $0) }.sorted(),
                subnets: network.subnets.map { Self.report(node, $0, mine + others) }, endpoints: mine + others)
        }
    }

    private static func report(_ node: Node, _ subnet: Subnet, _ endpoints: [EndpointReport]) -> SubnetReport {
        let leases = node.addresses[subnet.id]?.leases ?? [:]
        let others = endpoints.lazy.filter { $0.node != node.identity.name }.flatMap(\.addresses).compactMap { IPAddress($0) }
        var used: [AddressRange: UInt64] = [:]
        for address in Array(leases.keys) + others {
            if let block = subnet.block(holding: address) { used[block.range, default: 0] += 1 }
        }
        return SubnetReport(
            pool: "\(subnet.id)", subnet: "\(subnet.prefix)", range: subnet.range.map { "\($0)" }, gateway: "\(subnet.gateway)",
            auxiliary: subnet.auxiliary.sorted().map { "\($0)" },
            blocks: subnet.blocks.map { Self.report(node, $0, of: subnet, used: used[$0.range] ?? 0) }, leases: leases.count)
    }

    private static func report(_ node: Node, _ block: Block, of subnet: Subnet, used: UInt64) -> BlockReport {
        let isQuarantined = node.catalogue.members[block.owner] == nil
        let reserved = subnet.auxiliary.union([subnet.gateway, subnet.prefix.first, subnet.prefix.last])
            .count { block.range.contains($0) && subnet.isReserved($0) }
        let count = UInt64(clamping: block.range.count) - UInt64(reserved)
        return BlockReport(
            range: "\(block.range)", owner: node.name(of: block.owner), used: used,
            free: isQuarantined || used > count ? 0 : count - used,
            isQuarantined: isQuarantined, isResting: isQuarantined)
    }

    /// Report of `swift-overlay status`.
    static func statusReport(_ node: Node) -> StatusReport {
        let writer = node.catalogueNode.writer
        let others = node.catalogue.members.keys.filter { $0 != node.identity.id }
        return StatusReport(
            version: Node.version, node: node.identity.id.description, name: node.identity.name,
            cluster: node.catalogue.cluster?.id.description, address: "\(node.identity.address):\(node.identity.port)",
            dataPathAddress: "\(node.identity.vtep)", dataPathPort: node.catalogue.cluster?.dataPathPort,
            writer: writer.map { node.name(of: $0) },
            writerState: writer.map {
                $0 == node.identity.id ? PeerState.alive.word : node.peers.state(of: $0).word
            },
            term: node.catalogue.cluster?.termNumber, generation: node.catalogue.cluster?.termNumber,
            catalogueIndex: node.catalogue.index, members: node.catalogue.members.count,
            reachable: others.count { node.peers.isReached($0) }
                + (node.catalogue.cluster == nil ? 0 : 1),
            engine: node.mirror.report, sandboxes: node.sandboxes.count, networks: Self.networkReports(node),
            endpoints: node.inventory.endpointCount,
            leases: node.addresses.leaseCount, protocols: Self.protocolReport(node),
            problems: Self.problems(node))
    }

    /// Things that came with a version of the protocol, in words.
    private static let features: [(version: UInt16, words: String)] = [
        (3, "facts of endpoints that only later releases know")
    ]

    private static func protocolReport(_ node: Node) -> ProtocolReport {
        let versions = node.identity.versions
        let inUse = node.catalogue.versionInUse
        let older = node.catalogue.members.values.filter { $0.versions.newest < versions.newest }
        return ProtocolReport(
            inUse: inUse, oldest: versions.oldest, newest: versions.newest, older: older.map(\.name).sorted(),
            heldBack: Self.features.filter { inUse < $0.version && $0.version <= versions.newest }.map(\.words))
    }

    /// Sentences about what is wrong now.
    private static func problems(_ node: Node) -> [String] {
        var problems: [String] = []
        if node.catalogue.cluster == nil { problems.append(Node.noCluster.message) }
        if let text = CopiedMachine.text(node), node.isWriterSilent { problems.append(text) }
        if node.isWriterSilent || node.catalogueNode.isBehind { problems.append(node.writerText) }
        if node.catalogue.term.number > 1 { problems += PromotionCalls.losses(node) }
        for (id, peer) in node.peers.statuses.sorted(by: { $0.key < $1.key })
        where id != node.catalogueNode.writer && (!peer.state.isReachable || peer.state == .udpBlocked || !peer.reason.isEmpty) {
            let since = (node.now - peer.since).wholeSeconds
            problems.append(
                "node \(node.name(of: id)) \(peer.state.word) since \(since) s\(peer.reason.isEmpty ? "" : ": \(peer.reason)")")
        }
        if let rollback = node.life.rollback {
            problems.append(
                "the state of this node is an old copy (\(rollback.why)); it hands out no address until the catalogue has given "
                    + "it a new epoch"
            )
        }
        if !node.addresses.quarantined.isEmpty {
            problems.append(
                "addresses in quarantine, as containers that an old copy of the state did not know may have them: "
                    + node.quarantineText.joined(separator: "; "))
        }
        if let (endpoint, reason) = node.claims.deafness.min(by: { $0.key < $1.key }) {
            problems.append(
                "addresses that containers take over are not noticed at \(node.claims.deafness.count) ports, such as that of "
                    + "endpoint \(endpoint.short): \(reason); it is tried again every minute")
        }
        problems += KernelFollower.problems(node)
        problems += EngineNews.linkProblems(node)
        problems += RouteFollower.problems(node)
        problems += HostFollower.problems(node)
        if let failure = node.outbox.lastKernelFailure { problems.append("the kernel refused: \(failure)") }
        if let failure = node.outbox.lastStoreFailure { problems.append("state could not be written: \(failure)") }
        return problems
    }

    private static func report(_ node: Node, _ record: EndpointRecord, of owner: NodeID, on network: NetworkID) -> EndpointReport {
        let claims = node.claims.claims(of: Claims.Holder(owner: owner, endpoint: record.endpoint), on: network)
        return EndpointReport(
            id: record.endpoint.text, node: node.name(of: owner), names: record.names.names,
            addresses: record.addresses.map { "\($0)" }, mac: "\(record.mac)",
            claims: claims.map { $0.addresses.map { "\($0.address)" } + $0.macs.map { "\($0.mac)" } } ?? [])
    }
}
