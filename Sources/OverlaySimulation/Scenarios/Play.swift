import OverlayDriver
import OverlayEngine
public import OverlayModel

/// A world with what its engines made in it: the networks and endpoints that are to be found again at the end.
public final class Play {
    public let world: World
    /// What each node's engine has: networks by name.
    var networks: [[String: World.Created]]
    var endpoints: [(host: Int, network: String, attached: World.Attached)] = []
    /// Calls that were refused; not an error where the writer is away.
    private(set) var refused = 0
    private var serial = 0
    var random: SeededGenerator

    public init(nodes: Int, seed: UInt64) throws {
        world = try World(count: nodes, seed: seed)
        networks = Array(repeating: [:], count: nodes)
        random = SeededGenerator(seed: seed ^ 0x5EED)
        guard world.makeCluster() else { throw World.Failed("the cluster could not be formed") }
    }

    /// Every node's engine gets the network, and an endpoint on it where asked for.
    public func open(_ name: String, on hosts: some Collection<Int>) throws {
        // With many hosts a /24 is no more than their blocks.
        let subnet = hosts.count > 12 ? IPPrefix("10.96.0.0/16") : nil
        for host in hosts {
            networks[host][name] = try world.createNetwork(host, name, subnet: subnet)
            try attach(host, name)
        }
    }

    @discardableResult
    public func attach(_ host: Int, _ name: String) throws -> World.Attached {
        guard let network = networks[host][name] else { throw World.Failed("host\(host + 1) has no network \(name)") }
        serial += 1
        let attached = try world.attach(host, "endpoint \(serial)", to: network)
        endpoints.append((host, name, attached))
        return attached
    }

    public func detach(at index: Int) {
        let (host, _, attached) = endpoints.remove(at: index)
        world.detach(host, attached)
    }

    /// What may be refused: the writer may be away, or the pool empty.
    func attempt(_ body: () throws -> Void) {
        do { try body() } catch { refused += 1 }
    }

    // MARK: Random acts

    var upHosts: [Int] { world.nodes.indices.filter { world.nodes[$0].isUp && world.nodes[$0].stalledUntil == nil } }

    func createSomewhere(_ names: [String]) {
        guard let host = random.pick(upHosts), let name = random.pick(names), networks[host][name] == nil else { return }
        attempt { networks[host][name] = try world.createNetwork(host, name) }
    }

    func attachSomewhere() {
        let places = upHosts.flatMap { host in networks[host].keys.sorted().map { (host, $0) } }
        guard let (host, name) = random.pick(places) else { return }
        attempt { try attach(host, name) }
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

    /// The daemon dies; containers and kernel live on.
    func crashDaemon(_ host: Int, for interval: Interval) {
        guard world.nodes[host].isUp else { return }
        world.crash(host)
        world.after(interval) { world in try? world.restart(host) }
    }

    /// The machine dies, and its containers with it.
    func crashHost(_ host: Int, for interval: Interval) {
        guard world.nodes[host].isUp else { return }
        world.crash(host, hostToo: true)
        world.nodes[host].kernel = VirtualKernel()
        endpoints.removeAll { $0.host == host }
        world.after(interval) { world in try? world.restart(host) }
    }

    // MARK: The end

    /// All faults end.
    public func heal() {
        world.heal()
        for index in world.nodes.indices where !world.nodes[index].isUp { try? world.restart(index) }
    }

    /// Everything must be right in a short time, and go on working.
    public func settle(within limit: Interval = .seconds(5)) {
        let stalled = world.nodes.compactMap(\.stalledUntil).max()
        if let stalled { world.run(until: stalled) }
        // Restarts that were still to come.
        for index in world.nodes.indices where !world.nodes[index].isUp { try? world.restart(index) }
        if !world.run(atMost: .seconds(1), until: { world.nodes.allSatisfy(\.engine.isReady) }) {
            world.violate("P", "a daemon has not looked at its kernel a second after its start")
        }
        world.expectConvergence(within: limit, letter: "P", "heal")
        if !world.run(atMost: limit, step: .milliseconds(10), until: { world.agree(world.nodes.indices) }) {
            world.violate("C", "views of who is reachable differ after the heal")
        }
        for (host, name) in world.nodes.indices.compactMap({ host in networks[host].keys.sorted().first.map { (host, $0) } }) {
            do { try attach(host, name) } catch { world.violate("P", "host\(host + 1) cannot attach to \(name): \(error)") }
        }
        world.expectConvergence(within: .seconds(1), letter: "C", "quiet")
        checkAddresses()
    }

    /// U: no address on two endpoints of one network.
    private func checkAddresses() {
        var seen: [String: Set<IPAddress>] = [:]
        for endpoint in endpoints {
            guard seen[endpoint.network, default: []].insert(endpoint.attached.address).inserted else {
                world.violate("U", "\(endpoint.attached.address) is on two endpoints of \(endpoint.network)")
                continue
            }
        }
    }
}
