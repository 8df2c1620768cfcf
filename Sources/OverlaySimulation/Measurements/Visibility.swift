import OverlayDatapath
import OverlayDriver
import OverlayModel

/// Time from an engine's CreateEndpoint until every other kernel has the endpoint's row: targets T1, T2 and T3.
struct Visibility {
    let workload: Workload
    private let network = "measured"
    /// Hosts on which the row is waited for.
    private let observers: Set<Int>

    init(nodes: Int, seed: UInt64, without excluded: Set<Int> = []) throws {
        workload = try Workload(nodes: nodes, seed: seed)
        let all = Array(workload.world.nodes.indices)
        try workload.open(network, on: all)
        workload.world.run(for: .seconds(2))
        observers = Set(all).subtracting(excluded)
    }

    /// - Parameters:
    ///   - pause: Time between two endpoints.
    ///   - hosts: Hosts on which endpoints are created.
    mutating func measure(_ count: Int, on hosts: [Int], pause: Interval = .milliseconds(40)) throws -> Samples {
        let world = workload.world
        var samples = Samples()
        for index in 0..<count {
            let host = hosts[index % hosts.count]
            let watch = Watch(missing: observers.subtracting([host]))
            guard let created = workload.networks[host][network] else { throw World.Failed("no network on host\(host + 1)") }
            world.onApply = { node, operations in
                guard let mac = watch.mac else { return }
                for case .setForwarding(_, mac, .vtep) in operations
                where watch.missing.remove(node) != nil && watch.missing.isEmpty {
                    watch.end = world.now
                }
            }
            let attached = try world.attach(host, "sample \(index)", to: created) { mac in
                watch.mac = mac
                watch.start = world.now
            }
            guard world.run(atMost: .seconds(60), step: .microseconds(50), until: { watch.end != nil }), let end = watch.end else {
                throw World.Failed("an endpoint of host\(host + 1) did not become visible in 60 s")
            }
            world.onApply = nil
            samples.add(end - watch.start)
            // A random pause keeps out of step with anything periodic.
            world.run(for: Interval(nanoseconds: pause.nanoseconds + Int64(workload.random.below(Int(pause.nanoseconds)))))
            world.detach(host, attached)
        }
        return samples
    }

    private final class Watch {
        var mac: MACAddress?
        var missing: Set<Int>
        var start = Instant(nanoseconds: 0)
        var end: Instant?
        init(missing: Set<Int>) { self.missing = missing }
    }

    /// Starts churn: other hosts write eight times in 20 ms, and the last node leaves and joins the network all the time.
    @discardableResult
    func churn() -> Churn {
        let world = workload.world
        let churners = Array(world.nodes.indices.dropLast().dropFirst())
        let junk = Churn(workload: workload, hosts: churners, flapper: world.nodes.count - 1, network: network)
        junk.step()
        return junk
    }
}

/// Endpoints that come and go while nobody waits for them.
final class Churn {
    private let workload: Workload
    private let hosts: [Int]
    private let flapper: Int
    private let network: String
    private var live: [(Int, World.Attached)] = []
    private var steps = 0
    private var serial = 0
    private var isStopped = false
    /// True while the last node's engine removes or creates the network.
    private var isFlapping = false
    private let subnet: IPPrefix?

    init(workload: Workload, hosts: [Int], flapper: Int, network: String) {
        self.workload = workload
        subnet = workload.networks[hosts[0]][network]?.prefix
        self.hosts = hosts
        self.flapper = flapper
        self.network = network
    }

    func stop() { isStopped = true }

    func step() {
        guard !isStopped else { return }
        steps += 1
        let host = hosts[steps % hosts.count]
        for index in 0..<8 { write(host, index) }
        if steps % 5 == 0 { flap() }
        workload.world.after(.milliseconds(20)) { [self] _ in step() }
    }

    private func write(_ host: Int, _ index: Int) {
        let world = workload.world
        // As many endpoints go as come, so that pools are not used up.
        if index.isMultiple(of: 2), live.count > 60 {
            let (host, attached) = live.removeFirst()
            _ = world.begin(host, .leave(network: attached.network, endpoint: attached.endpoint))
            _ = world.begin(host, .deleteEndpoint(network: attached.network, endpoint: attached.endpoint))
            _ = world.begin(host, .releaseAddress(attached.pool, attached.address))
            return
        }
        guard let created = workload.networks[host][network] else { return }
        serial += 1
        // An endpoint whose call is under way when the churn stops may exist or not.
        workload.uncertain.insert(World.endpointID("junk \(serial)"))
        world.beginAttach(host, "junk \(serial)", to: created) { [self] attached in
            if let attached { live.append((host, attached)) }
        }
    }

    /// Removes and creates the network and one endpoint on the last node, again and again.
    private func flap() {
        guard !isFlapping else { return }
        isFlapping = true
        let world = workload.world
        if let index = workload.endpoints.firstIndex(where: { $0.host == flapper }) {
            let (_, _, attached) = workload.endpoints.remove(at: index)
            _ = world.begin(flapper, .leave(network: attached.network, endpoint: attached.endpoint))
            _ = world.begin(flapper, .deleteEndpoint(network: attached.network, endpoint: attached.endpoint))
            _ = world.begin(flapper, .releaseAddress(attached.pool, attached.address))
            _ = world.begin(flapper, .releasePool(attached.pool))
            workload.networks[flapper][network] = nil
            world.begin(flapper, .deleteNetwork(attached.network)) { [self] _ in isFlapping = false }
        } else {
            serial += 1
            world.beginCreateNetwork(flapper, network, subnet: subnet) { [self] created in
                guard let created else {
                    isFlapping = false
                    return
                }
                workload.networks[flapper][network] = created
                workload.uncertain.insert(World.endpointID("flap \(serial)"))
                world.beginAttach(flapper, "flap \(serial)", to: created) { [self] attached in
                    if let attached { workload.endpoints.append((flapper, network, attached)) }
                    isFlapping = false
                }
            }
        }
    }
}
