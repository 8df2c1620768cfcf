import OverlayDriver
import OverlayModel
import OverlayNode

/// Engines with an API create, use and remove networks anywhere, while daemons, engines and links fail.
///
/// In the end every engine has the cluster's networks, except those that its own user removed, and nothing is created any more.
final class NetworkScenario {
    private let workload: Workload
    private var world: World { workload.world }
    private var random: SeededGenerator
    private let names: [String]
    /// Names of networks that users removed on a host and did not create there again.
    private var declined: [Int: Set<String>] = [:]
    private var serial = 0
    /// Containers that do not run, with their networks.
    private var kept: [(host: Int, name: String, container: ContainerID)] = []

    private init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed ^ 0x2E75)
        workload = try Workload(nodes: 2 + random.below(4), seed: seed)
        names = (0...random.below(3)).map { "net\($0)" }
        workload.world.docker.workTime = .milliseconds(Int64(random.below(100)))
        for host in workload.world.nodes.indices { workload.world.startEngine(host) }
    }

    static func run(seed: UInt64) throws -> Workload {
        let scenario = try NetworkScenario(seed: seed)
        for _ in 0..<30 { scenario.act() }
        scenario.settle()
        return scenario.workload
    }

    // MARK: Acts

    private func act() {
        switch random.below(100) {
        case 0..<20: create()
        case 20..<32: remove()
        case 32..<35: prune()
        case 35..<38: keep()
        case 38..<55: start()
        case 55..<66: stop()
        case 66..<84: world.run(for: .milliseconds(Int64(random.below(400))))
        default: fault()
        }
    }

    private func pick() -> (host: Int, name: String)? {
        guard let host = random.pick(workload.upHosts.filter { world.docker.engines[$0]?.isUp == true }),
            let name = random.pick(names)
        else {
            return nil
        }
        return (host, name)
    }

    private func create() {
        guard let (host, name) = pick() else { return }
        var network = EngineNetwork(name: name)
        switch random.below(3) {
        case 0:
            let number = UInt8(names.firstIndex(of: name) ?? 0)
            if let subnet = IPPrefix(IPAddress(v4: 10, 9, number, 0), length: 24) { network.subnets = [.init(subnet: subnet)] }
        case 1: network.ipamOptions[OptionName.net] = name
        default: break
        }
        world.log("host\(host + 1): docker network create \(network)")
        world.dockerCreate(host, network) { [weak self] in if $0 != nil { self?.declined[host]?.remove(name) } }
        world.run(for: .milliseconds(Int64(random.below(60))))
    }

    private func remove() {
        guard let (host, name) = pick(), let id = world.dockerNetworks(host).first(where: { $0.name == name })?.id else { return }
        world.log("host\(host + 1): docker network rm \(name)")
        // The answer may be lost, so it does not matter.
        declined[host, default: []].insert(name)
        // A user who removes a network from an engine takes it from its containers that do not run, too.
        for entry in kept where entry.host == host && entry.name == name {
            EngineConfigurations(world).remove(host, entry.container)
        }
        kept.removeAll { $0.host == host && $0.name == name }
        world.dockerRemove(host, id)
        world.run(for: .milliseconds(Int64(random.below(60))))
    }

    private func prune() {
        guard let (host, _) = pick() else { return }
        world.log("host\(host + 1): docker network prune")
        declined[host, default: []].formUnion(names)
        EngineConfigurations(world).prune(host)
        world.run(for: .milliseconds(Int64(random.below(60))))
    }

    /// A container has run, and runs no more.
    private func keep() {
        guard let (host, name) = pick(), let id = world.dockerNetworks(host).first(where: { $0.name == name })?.id,
            let container = ContainerID(World.networkID(host, "kept \(serial)").text)
        else { return }
        serial += 1
        world.log("host\(host + 1): docker stop, of a container on \(name)")
        EngineConfigurations(world).add(host, container, on: name, id)
        kept.append((host, name, container))
    }

    private func start() {
        guard let (host, name) = pick(), let id = world.dockerNetworks(host).first(where: { $0.name == name })?.id else { return }
        serial += 1
        let container = "c\(serial)"
        world.log("host\(host + 1): docker run --network \(name) --name \(container)")
        do {
            let attached = try world.dockerRun(host, container, on: id)
            // There may be two networks of one name while one of them is being removed, and two pools of one network.
            let subnet = IPPrefix(attached.address, length: 24)?.network
            workload.endpoints.append((host, "\(name) of \(subnet.map { "\($0)" } ?? "")", attached))
        } catch {
            workload.uncertain.insert(World.endpointID(container))
        }
    }

    private func stop() {
        let up = workload.upHosts
        guard let index = random.pick(workload.endpoints.indices.filter { up.contains(workload.endpoints[$0].host) }) else {
            return
        }
        let (host, _, attached) = workload.endpoints.remove(at: index)
        world.log("host\(host + 1): docker stop")
        world.dockerStop(host, attached)
    }

    private func fault() {
        let host = random.below(world.nodes.count)
        let time = Interval.milliseconds(Int64(100 + random.below(random.chance(0.2) ? 20_000 : 3000)))
        switch random.below(7) {
        case 0: world.stall(host, for: time)
        case 1, 2: workload.crashDaemon(host, for: time)
        case 3, 4:
            guard world.docker.engines[host]?.isUp == true else { return }
            world.log("host\(host + 1): the engine is killed")
            world.stopEngine(host)
            world.after(time) { if $0.docker.engines[host]?.isUp == false { $0.startEngine(host) } }
        case 5: world.split(random.below(world.nodes.count - 1) + 1, for: time)
        default: world.refuseWrites(host, for: time)
        }
        world.run(for: .milliseconds(Int64(random.below(500))))
    }

    // MARK: The end

    private func settle() {
        workload.heal()
        for host in world.nodes.indices where world.docker.engines[host]?.isUp == false { world.startEngine(host) }
        // Pools that were never used are given up after ten minutes. An engine that refused is asked again after one.
        world.run(for: .seconds(700))
        let made = world.docker.engines.mapValues(\.created)
        world.run(for: .seconds(130))
        if made != world.docker.engines.mapValues(\.created) { world.violate("P", "networks are made again and again") }
        workload.settle()
        check()
    }

    private func check() {
        for (host, name, container) in kept where EngineConfigurations(world).network(host, of: container, named: name) == nil {
            world.violate(
                "P", "a container of host\(host + 1) has network \(name) in its configuration, and its engine does not find it")
        }
        for host in world.nodes.indices {
            guard case .networks(let reports) = world.control(host, .networks),
                case .status(let status) = world.control(host, .status)
            else { return world.violate("P", "host\(host + 1) does not answer") }
            let engine = world.dockerNetworks(host)
            let used = Set(workload.endpoints.lazy.filter { $0.host == host }.map(\.attached.network))
            for network in engine {
                guard let id = network.id, reports.contains(where: { $0.engineID == id.text }) || problem(id, of: host, in: status)
                else {
                    world.violate("C", "host\(host + 1)'s engine has \(network.name), which its daemon does not know")
                    continue
                }
            }
            for report in reports {
                let isHere = report.engineID.map { id in engine.contains { $0.id?.text == id } }
                if isHere == false { world.violate("C", "host\(host + 1) has \(report.name), which its engine has not") }
                if report.isRemoved {
                    let isUsed = workload.endpoints.contains { endpoint in report.nodes.contains("host\(endpoint.host + 1)") }
                    if !isUsed { world.violate("C", "\(report.id) is removed, and \(report.nodes) have it") }
                } else if isHere == nil, !report.name.isEmpty, declined[host]?.contains(report.name) != true,
                    !engine.contains(where: { $0.name == report.name && problem($0.id, of: host, in: status) })
                {
                    world.violate(
                        "C", "host\(host + 1) has no network \(report.name), which \(report.nodes) have: \(status.problems)")
                }
                if report.nodes.isEmpty { world.violate("C", "\(report.name) is nowhere") }
            }
            // A network with containers on it may keep another one from this host.
            for problem in status.problems where !used.contains(where: { problem.contains($0.short) }) {
                let name = reports.first { problem.hasPrefix("network \($0.name):") }?.name
                if name == nil || !engine.contains(where: { $0.name == name && $0.id.map { used.contains($0) } == true }) {
                    world.violate("C", "host\(host + 1) has a problem: \(problem)")
                }
            }
        }
    }

    /// True if the status reports a network of the engine as one that is not the cluster's.
    private func problem(_ id: EngineNetworkID?, of host: Int, in status: StatusReport) -> Bool {
        guard let id else { return false }
        return status.problems.contains { $0.contains(id.short) }
    }
}
