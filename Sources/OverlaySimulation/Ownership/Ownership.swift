import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayMembership
import OverlayModel
import OverlayNode

/// Randomised test of who owns an address: the shipped cores with one small subnet, driven by random calls and faults, one at a
/// time. The invariants are checked after each step.
///
/// Membership is left out, as it would cost most of the time. Which peers a node thinks away is one more thing that may be wrong at
/// any time.
final class Ownership {
    struct Container {
        var id: Int
        var node: Int
        var network: World.Created
        var endpoint: EndpointID
        var mac: MACAddress
        /// Address with the subnet's length, as the engine was told.
        var prefix: IPPrefix?
        /// Epoch of its node in which it was made.
        var epoch: UInt32 = 0
        /// True from CreateEndpoint's answer to Leave or DeleteEndpoint.
        var isAdmitted = false
        /// True while a call is under way.
        var isBusy = true
        /// True if it had ended and came back with the machine's snapshot. Until its node knows that its state is old, nobody can
        /// tell.
        var isBack = false
    }

    struct Identity: Hashable {
        var node: Int
        var epoch: UInt32
    }

    struct Knowledge: Hashable {
        var identity: Identity
        var observer: Int
        var boot: UInt32
    }

    /// Time after which a node has compared its kernel (200 ms after the start) and removed what an earlier process left there.
    static let repairTime = Interval.milliseconds(250)

    /// Network that containers are on, followed by others that may be opened. Not all of them can exist together.
    static let networks: [(name: String, subnet: IPPrefix?)] = [
        ("net", IPPrefix("10.9.0.0/27")), ("other", nil), ("net", nil), ("third", IPPrefix("10.9.0.16/28")),
    ]

    let world: World
    private let token: String
    var containers: [Container] = []
    /// Networks of each node's engine.
    var networks: [[Int: World.Created]]
    /// Process of each peer that a node was last told of, by observer and subject.
    private var lives: [[StateMark]]
    /// Backups of each node.
    var copies: [[Copy]]
    /// Newest state that each observer heard each subject to be in.
    var heard: [[StateMark]]
    /// Mark of each node when its state was rolled back.
    var lost: [StateMark]
    /// Nodes that start when a witness is there, with the time after which they are told that their state is old.
    var waiting: [Int: Interval] = [:]
    private var indices: [UInt64] = []
    /// Catalogue index at which an identity ceased to exist.
    var ends: [Identity: UInt64] = [:]
    /// Time at which a process learned that.
    private var known: [Knowledge: Instant] = [:]
    /// Number of addresses given to containers.
    private(set) var given = 0
    let tells: Bool

    init(nodes: Int, seed: UInt64, rules: SafetyRules, tells: Bool = false) throws {
        // Periods so long that nothing of membership comes due by itself.
        var parameters = MembershipParameters()
        parameters.period = .seconds(1_000_000_000)
        parameters.gossipTick = .seconds(1_000_000_000)
        world = try World(count: nodes, seed: seed, parameters: parameters, rules: rules, hasMembership: false)
        networks = Array(repeating: [:], count: nodes)
        heard = Array(repeating: Array(repeating: .none, count: nodes), count: nodes)
        lives = heard
        lost = Array(repeating: .none, count: nodes)
        copies = Array(repeating: [], count: nodes)
        self.tells = tells
        guard world.makeCluster() else { throw World.Failed("the cluster could not be formed") }
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)) else { throw World.Failed("no token") }
        token = report.token
        for node in 0..<nodes {
            networks[node][0] = try world.createNetwork(node, Self.networks[0].name, subnet: Self.networks[0].subnet)
            for peer in 0..<nodes { lives[peer][node] = mark(of: node).process }
        }
    }

    func perform(_ step: OwnershipStep) throws {
        if tells { world.log("\(step)") }
        try perform(step.act)
        world.run(for: step.pause)
        for (node, witnessDelay) in waiting.sorted(by: { $0.key < $1.key }) { try restart(node, witnessDelay) }
        forgetLost()
        check()
    }

    private func perform(_ act: OwnershipStep.Act) throws {
        let nodes = world.nodes
        switch act {
        case .attach(let node, let container, let address, let calls): attach(node, container, address, calls)
        case .detach(let container, let calls): detach(container, calls)
        case .open(let node, let network): open(node, network)
        case .close(let node, let network): close(node, network)
        case .crash(let node, let kept): if nodes[node].isUp { crash(node, kept) }
        case .restart(let node, let witnessDelay): if !nodes[node].isUp { try restart(node, witnessDelay) }
        case .copy(let node): copy(node)
        case .rollBack(let node, let choice, let hostToo): rollBack(node, choice, hostToo: hostToo)
        case .split(let mask):
            let sides = Dictionary(grouping: nodes.indices) { mask >> UInt8($0) & 1 }
            world.network.split(sides[0] ?? [], sides[1] ?? [])
        case .cut(let from, let to): if nodes.indices.contains(to) { world.network.cuts.insert(.init(from, to)) }
        case .heal: world.network.heal()
        case .hold(let from, let to): world.late.links.insert(.init(from, to))
        case .holdNothing: world.late.links = []
        case .deliver(let choice): deliver(choice)
        case .notice(let node): notice(node)
        case .rest:
            world.network.heal()
            world.late.links = []
            for node in nodes.indices {
                world.nodes[node].failsStores = false
                notice(node)
            }
        case .disk(let node, let time): world.nodes[node].storeTime = time
        case .refusal(let node, let refuses): world.nodes[node].failsStores = refuses
        case .remove(let node, let other, let now): control(other, .removeNode("host\(node + 1)", force: true, now: now))
        case .leave(let node): control(node, .leave(force: true))
        case .join(let node): control(node, .join(token: token, host: "\(World.address(0))", port: nil))
        }
    }

    private func control(_ node: Int, _ request: ControlRequest) { _ = world.beginControl(node, request) }

    private func deliver(_ choice: Int) {
        guard let (link, bytes, path) = world.late.remove(choice) else { return }
        guard world.nodes[link.to].isUp, world.nodes[link.to].peers[World.id(link.from)] != nil else { return }
        world.handle(link.to, .message(from: World.id(link.from), bytes, path))
    }

    /// True if two nodes hear each other.
    func reach(_ node: Int, _ peer: Int) -> Bool {
        let nodes = world.nodes
        return nodes[node].isUp && nodes[peer].isUp && nodes[node].peers[World.id(peer)] != nil
            && nodes[peer].peers[World.id(node)] != nil
            && world.network.cuts.isDisjoint(with: [.init(node, peer), .init(peer, node)])
    }

    /// Tells a node what membership would tell it after having had time to notice.
    private func notice(_ node: Int) {
        guard world.nodes[node].isUp else { return }
        tell(node)
        for peer in world.nodes.indices where world.nodes[node].peers[World.id(peer)] != nil {
            let id = World.id(peer)
            let isReached = reach(node, peer)
            let status = PeerStatus(state: isReached ? .alive : .unreachable, since: world.now)
            world.handle(node, .membership(.status(id, status)))
            guard isReached else { continue }
            let mark = mark(of: peer)
            heard[node][peer].take(mark)
            if lives[node][peer] != mark.process {
                lives[node][peer] = mark.process
                world.handle(node, .membership(.restarted(id)))
            }
            var core = world.nodes[peer].core
            let report = core.report(for: World.id(node))
            world.handle(node, .membership(.heard(id, report, roundTrip: nil)))
        }
    }

    // MARK: Calls

    private func index(of id: Int) -> Int? { containers.firstIndex { $0.id == id } }

    private func change(_ id: Int, _ body: (inout Container) -> Void) {
        if let index = index(of: id) { body(&containers[index]) }
    }

    private func open(_ node: Int, _ network: Int) {
        guard world.nodes[node].isUp, networks[node][network] == nil else { return }
        let (name, subnet) = Self.networks[network]
        world.beginCreateNetwork(node, name, subnet: subnet) { [unowned self] in networks[node][network] = $0 }
    }

    private func close(_ node: Int, _ network: Int) {
        // Engines refuse to remove a network with containers.
        guard world.nodes[node].isUp, let created = networks[node][network],
            !containers.contains(where: { $0.node == node && $0.network.network == created.network })
        else { return }
        networks[node][network] = nil
        _ = world.begin(node, .releasePool(created.pool))
        _ = world.begin(node, .deleteNetwork(created.network))
    }

    private func attach(_ node: Int, _ id: Int, _ place: Int?, _ calls: Int) {
        guard world.nodes[node].isUp, let network = networks[node][0], index(of: id) == nil else { return }
        let name = "container \(id)"
        let container = Container(
            id: id, node: node, network: network, endpoint: World.endpointID(name), mac: World.mac(name))
        containers.append(container)
        let address = place.flatMap { network.prefix.first.advanced(by: UInt128($0)) }
        let request = RequestAddress(pool: network.pool, address: address, purpose: .endpoint(container.mac))
        world.begin(node, .requestAddress(request)) { [unowned self] answer in
            guard case .address(let prefix) = answer else { return end(id, answer) }
            if tells { world.log("container \(id) is given \(prefix.address) on host\(node + 1)") }
            given += 1
            change(id) {
                $0.prefix = prefix
                $0.isBusy = calls > 1
            }
            if calls > 1 { create(container, prefix, calls) }
        }
    }

    private func end(_ id: Int, _ answer: DriverResponse) {
        if tells { world.log("container \(id): \(answer)") }
        containers.removeAll { $0.id == id }
    }

    private func create(_ container: Container, _ prefix: IPPrefix, _ calls: Int) {
        let (id, node, network) = (container.id, container.node, container.network)
        let create = CreateEndpoint(
            network: network.network, endpoint: container.endpoint, v4: prefix, v6: nil, mac: container.mac, options: [:])
        world.begin(node, .createEndpoint(create)) { [unowned self] answer in
            if case .failed = answer {
                _ = world.begin(node, .releaseAddress(network.pool, prefix.address))
                return end(id, answer)
            }
            let epoch = world.nodes[node].core.member.epoch
            change(id) {
                $0.epoch = epoch
                $0.isAdmitted = true
                $0.isBusy = calls > 2
            }
            guard calls > 2 else { return }
            let join = Join(network: network.network, endpoint: container.endpoint, sandboxKey: "/run/docker/netns/1")
            world.begin(node, .join(join)) { [unowned self] answer in
                guard case .failed = answer else { return change(id) { $0.isBusy = false } }
                _ = world.begin(node, .deleteEndpoint(network: network.network, endpoint: container.endpoint))
                _ = world.begin(node, .releaseAddress(network.pool, prefix.address))
                end(id, answer)
            }
        }
    }

    private func detach(_ id: Int, _ calls: Int) {
        guard let index = index(of: id), world.nodes[containers[index].node].isUp, !containers[index].isBusy,
            let prefix = containers[index].prefix
        else { return }
        containers[index].isAdmitted = false
        let container = containers[index]
        let release = DriverRequest.releaseAddress(container.network.pool, prefix.address)
        let all: [DriverRequest] = [
            .leave(network: container.network.network, endpoint: container.endpoint),
            .deleteEndpoint(network: container.network.network, endpoint: container.endpoint), release,
        ]
        if calls == 0 || calls == 3 { containers.remove(at: index) }
        call(container.node, calls == 0 ? [release] : Array(all.prefix(calls)))
    }

    /// Makes the calls one after the other.
    private func call(_ node: Int, _ requests: [DriverRequest]) {
        guard let first = requests.first else { return }
        world.begin(node, first) { [unowned self] _ in call(node, Array(requests.dropFirst())) }
    }

    /// Drops the containers of a node that left the cluster and so has taken their links down.
    private func forgetLost() {
        for node in world.nodes.indices where world.nodes[node].isUp && world.nodes[node].core.catalogue.cluster == nil {
            networks[node] = [:]
            containers.removeAll { $0.node == node }
            lost[node] = .none
        }
        for node in world.nodes.indices where world.nodes[node].isUp {
            for peer in world.nodes.indices where world.nodes[node].peers[World.id(peer)] == nil { heard[node][peer] = .none }
        }
    }

    // MARK: What must hold

    private func check() {
        let now = world.nodes.map { $0.isUp ? $0.core.catalogue.index : 0 }
        if now != indices {
            indices = now
            world.checkCatalogues()
        }
        followRollbacks()
        var holders: [IPAddress: Container] = [:]
        for container in containers where container.isAdmitted && counts(container) {
            guard let address = container.prefix?.address else { continue }
            if let other = holders.updateValue(container, forKey: address) {
                world.violate(
                    "U",
                    "\(address) is on container \(other.id) of host\(other.node + 1) and on container \(container.id) of "
                        + "host\(container.node + 1)")
            }
        }
    }

    /// True if the container is an endpoint of a member. Where a removal is known, endpoints of the removed node do not count and
    /// must be gone.
    private func counts(_ container: Container) -> Bool {
        let id = World.id(container.node)
        if container.isBack, !isKept(container) { return false }
        // The writer's catalogue is the newest.
        let newest = world.nodes[0].core.catalogue
        if newest.members[id]?.epoch == container.epoch { return true }
        let identity = Identity(node: container.node, epoch: container.epoch)
        let end = ends[identity] ?? newest.index
        ends[identity] = end
        let vtep = world.nodes[container.node].vtep
        for index in world.nodes.indices where world.nodes[index].isUp && world.nodes[index].core.catalogue.index >= end {
            let host = world.nodes[index]
            if index == container.node {
                if host.core.localRecords.contains(where: { $0.endpoint == container.endpoint }) { return true }
                continue
            }
            let knowledge = Knowledge(identity: identity, observer: index, boot: host.boot)
            let since = known[knowledge] ?? world.now
            known[knowledge] = since
            if world.now - since > Self.repairTime,
                host.kernel.state.networks.values.contains(where: { $0.forwarding[container.mac] == .vtep(vtep) })
            {
                return true
            }
        }
        return false
    }
}
