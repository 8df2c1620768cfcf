import OverlayDatapath
import OverlayDriver
public import OverlayModel
import OverlayNode

/// A world and what its engines made in it: the networks and endpoints that must be found again at the end.
public final class Workload {
    public let world: World
    /// Networks of each node's engine, by name.
    var networks: [[String: World.Created]]
    var endpoints: [(host: Int, network: String, attached: World.Attached)] = []
    /// Subnets of networks that do not take the next free one.
    var subnets: [String: IPPrefix?] = [:]
    /// Endpoints whose calls were cut off. They may exist or not.
    var uncertain: Set<EndpointID> = []
    /// Containers that still run, though their node's state is older than they are.
    private(set) var strangers: [(host: Int, network: String, attached: World.Attached)] = []
    /// Number of calls that were refused. That is no error while the writer is away.
    private(set) var refused = 0
    private var serial = 0
    /// Places that the scenario has to visit.
    var coverage = Coverage()
    var random: SeededGenerator

    /// Takes a world, whose nodes need not be in a cluster.
    init(_ world: World, seed: UInt64) {
        self.world = world
        networks = Array(repeating: [:], count: world.nodes.count)
        random = SeededGenerator(seed: seed ^ 0x5EED)
    }

    public convenience init(nodes: Int, seed: UInt64) throws {
        self.init(try World(count: nodes, seed: seed), seed: seed)
        guard world.makeCluster() else { throw World.Failed("the cluster could not be formed") }
    }

    /// Creates the network and an endpoint on it on each of the hosts.
    public func open(_ name: String, on hosts: some Collection<Int>, subnet: IPPrefix? = nil) throws {
        // With many hosts their blocks would use up a /24.
        let subnet = subnet ?? (hosts.count > 12 ? IPPrefix("10.96.0.0/16") : nil)
        for host in hosts {
            networks[host][name] = try world.createNetwork(host, name, subnet: subnet)
            try attach(host, name)
        }
    }

    @discardableResult
    public func attach(_ host: Int, _ name: String, address: IPAddress? = nil) throws -> World.Attached {
        guard let network = networks[host][name] else { throw World.Failed("host\(host + 1) has no network \(name)") }
        serial += 1
        let title = "endpoint \(serial)"
        do {
            let attached = try world.attach(host, title, to: network, address: address)
            endpoints.append((host, name, attached))
            checkAddresses()
            return attached
        } catch {
            uncertain.insert(World.endpointID(title))
            throw error
        }
    }

    public func detach(at index: Int) {
        let (host, _, attached) = endpoints.remove(at: index)
        world.detach(host, attached)
    }

    /// Runs calls that may be refused, because the writer is away or the pool is empty.
    func attempt(_ body: () throws -> Void) {
        do { try body() } catch { refused += 1 }
    }

    // MARK: Random acts

    var upHosts: [Int] { world.nodes.indices.filter { world.nodes[$0].isUp && world.nodes[$0].stalledUntil == nil } }

    func createSomewhere(_ names: [String]) {
        guard let host = random.pick(upHosts), let name = random.pick(names), networks[host][name] == nil else { return }
        attempt { networks[host][name] = try world.createNetwork(host, name, subnet: subnets[name] ?? nil) }
        world.checkCatalogues()
    }

    /// - Parameter byName: True if the engine chooses the address.
    func attachSomewhere(byName: Bool = false) {
        let places = upHosts.flatMap { host in networks[host].keys.sorted().map { (host, $0) } }
        guard let (host, name) = random.pick(places) else { return }
        var address: IPAddress?
        if byName, let prefix = networks[host][name]?.prefix {
            address = prefix.first.advanced(by: UInt128(1 + random.below(Int(clamping: prefix.usable.count))))
        }
        attempt { try attach(host, name, address: address) }
        world.checkCatalogues()
    }

    func detachSomewhere() {
        let candidates = endpoints.indices.filter { upHosts.contains(endpoints[$0].host) }
        guard let index = random.pick(candidates) else { return }
        detach(at: index)
    }

    func removeSomewhere() {
        let places = upHosts.flatMap { host in
            networks[host].keys.sorted().filter { name in !endpoints.contains { $0.host == host && $0.network == name } }
                .map { (host, $0) }
        }
        guard let (host, name) = random.pick(places), let network = networks[host].removeValue(forKey: name) else { return }
        world.removeNetwork(host, network)
    }

    /// Ends the daemon for a while. Containers and kernel stay.
    func crashDaemon(_ host: Int, for interval: Interval) {
        guard world.nodes[host].isUp else { return }
        world.crash(host)
        restart(host, after: interval)
    }

    /// Ends the machine for a while, with its containers.
    func crashHost(_ host: Int, for interval: Interval) {
        guard world.nodes[host].isUp else { return }
        world.crash(host, hostToo: true)
        world.nodes[host].kernel = VirtualKernel()
        endpoints.removeAll { $0.host == host }
        restart(host, after: interval)
    }

    /// Backup of a node, with the endpoints in it.
    struct Copy {
        var host: Int
        var rows: StoredRows
        var endpoints: Set<EndpointID>
    }

    func copy(of host: Int) -> Copy {
        Copy(
            host: host, rows: world.nodes[host].rows,
            endpoints: Set(endpoints.lazy.filter { $0.host == host }.map(\.attached.endpoint)))
    }

    /// Replaces a node's state by a backup. The containers of the host are not in it.
    func restore(_ copy: Copy, after interval: Interval) {
        let host = copy.host
        guard world.nodes[host].isUp else { return }
        world.crash(host)
        world.rollBack(host, to: copy.rows)
        let isUnknown = { (endpoint: (host: Int, network: String, attached: World.Attached)) in
            endpoint.host == host && !copy.endpoints.contains(endpoint.attached.endpoint)
        }
        strangers += endpoints.filter(isUnknown)
        endpoints.removeAll(where: isUnknown)
        // Endpoints that ended since then may be back for a while.
        uncertain.formUnion(copy.endpoints)
        restart(host, after: interval)
    }

    /// Ends a container that its node does not know.
    func endStranger() {
        let candidates = strangers.indices.filter { upHosts.contains(strangers[$0].host) }
        guard let index = random.pick(candidates) else { return }
        let (host, _, attached) = strangers.remove(at: index)
        world.detach(host, attached)
    }

    private func restart(_ host: Int, after interval: Interval) {
        let boot = world.nodes[host].boot
        world.after(interval) { [weak self] world in if world.nodes[host].boot == boot { self?.restart(host) } }
    }

    private func restart(_ host: Int) {
        guard !world.nodes[host].isUp else { return }
        do { try world.restart(host) } catch { world.violate("P", "host\(host + 1) does not start with what it stored: \(error)") }
    }

    /// Promotes the node to catalogue writer.
    ///
    /// - Parameter isContested: True if another one may have been promoted.
    func promote(_ host: Int, force: Bool, isContested: Bool = false) {
        var answer = world.control(host, .promote(force: force))
        if case .refused(let reason) = answer, reason.contains("try again in a moment") {
            world.run(for: .seconds(1))
            answer = world.control(host, .promote(force: force))
        }
        if case .refused(let reason) = answer, !isContested { world.violate("P", "host\(host + 1) is not promoted: \(reason)") }
        world.checkCatalogues()
    }

    // MARK: The end

    /// Ends all faults.
    public func heal() {
        world.heal()
        for index in world.nodes.indices { restart(index) }
    }

    /// Checks that everything is right within the limit, and goes on working.
    public func settle(within limit: Interval = .seconds(5)) {
        let stalled = world.nodes.compactMap(\.stalledUntil).max()
        if let stalled { world.run(until: stalled) }
        // Restarts that were still to come.
        for index in world.nodes.indices { restart(index) }
        let end = world.now + limit
        if !world.run(atMost: .seconds(1), until: { world.nodes.allSatisfy(\.core.isReady) }) {
            world.violate("P", "a daemon has not looked at its kernel a second after its start")
        }
        world.expectConvergence(within: max(end - world.now, .milliseconds(1)), letter: "P", "heal")
        let left = max(end - world.now, .milliseconds(1))
        if !world.run(atMost: left, step: .milliseconds(10), until: { world.agree(world.nodes.indices) }) {
            world.violate("P", "views of who is reachable differ \(limit.wholeSeconds) s after the heal")
        }
        // The last change by others in a kernel may have come a moment ago: it is right within a second.
        world.run(for: .seconds(1))
        checkEndpoints()
        for (host, name) in world.nodes.indices.compactMap({ host in networks[host].keys.sorted().first.map { (host, $0) } }) {
            do { try attach(host, name) } catch {
                // A small subnet may be used up.
                if (error as? DriverError)?.code != .exhausted {
                    world.violate("P", "host\(host + 1) cannot attach to \(name): \(error)")
                }
            }
        }
        world.expectConvergence(within: .seconds(1), letter: "C", "quiet")
        // Time in which links gather, and that in which what was deleted last is told.
        world.run(for: .milliseconds(300))
        for host in world.nodes.indices where world.nodes[host].isUp && !world.nodes[host].kernel.state.unreaped.isEmpty {
            world.violate("C", "host\(host + 1) has links of deleted ports")
        }
        checkEndpoints()
        checkAddresses()
        world.checkCatalogues()
    }

    /// Checks C against what the engines were told: every endpoint is in its node's records and kernel, as it was made, and there
    /// is no other.
    private func checkEndpoints() {
        for host in world.nodes.indices where world.nodes[host].isUp {
            let records = Dictionary(
                uniqueKeysWithValues: world.nodes[host].core.localRecords.map { ($0.endpoint, $0) })
            let mine = endpoints.filter { $0.host == host }
            for (_, name, attached) in mine {
                guard let record = records[attached.endpoint], record.mac == attached.mac, record.addresses == [attached.address]
                else {
                    world.violate(
                        "C", "host\(host + 1) has lost endpoint \(attached.endpoint.short) of \(name), or has it otherwise")
                    continue
                }
                let port = world.nodes[host].kernel.state.networks[record.vni]?.ports[KernelName.port(attached.endpoint)]
                if port?.mac != attached.mac {
                    world.violate(
                        "C", "endpoint \(attached.endpoint.short) of \(name) has no port in the kernel of host\(host + 1)")
                }
            }
            let known = Set(mine.map(\.attached.endpoint)).union(uncertain)
            for endpoint in records.keys where !known.contains(endpoint) {
                world.violate("C", "host\(host + 1) has endpoint \(endpoint.short), which no engine has")
            }
        }
    }

    /// Checks U: no address is on two endpoints of one network.
    private func checkAddresses() {
        var seen: [String: Set<IPAddress>] = [:]
        for endpoint in endpoints + strangers where !seen[endpoint.network, default: []].insert(endpoint.attached.address).inserted
        {
            world.violate("U", "\(endpoint.attached.address) is on two endpoints of \(endpoint.network)")
        }
    }
}
