import OverlayDNS
import OverlayModel

extension Scenario {
    static let names = [
        Scenario(
            "resolvers", "containers ask for names, while Docker's resolvers are slow, dead, lying, gone and back",
            { try ResolverScenario(seed: $0).run() })
    ]
}

/// Scenario of names: containers ask, while containers, daemons, links and Docker's resolvers change.
///
/// Always: no answer reaches a question that it does not belong to, and every question is answered or expires in bounded time
/// (``World/askName(_:_:_:byConnection:answered:)`` looks at both); a name has an address that it had, or that the resolver
/// knows. After quiet: names are exactly those of the live endpoints, whatever the resolver does.
final class ResolverScenario {
    private struct Container {
        var host: Int
        var path: String
        var network: String
        var name: String
        var attached: World.Attached
    }

    private struct Place: Hashable {
        var host: Int
        var path: String
    }

    private static let networks = ["net-1", "net-2"]
    private static let sharedNames = ["web", "db"]

    private let workload: Workload
    private let world: World
    private var random: SeededGenerator
    private var containers: [Container] = []
    /// Addresses that a name has had, on any network.
    private var held: [String: Set<IPAddress>] = [:]
    /// Names and sandboxes of containers that may be there, or not.
    private var uncertain: (names: Set<String>, places: Set<Place>) = ([], [])
    private var serial = 0

    init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed ^ 0xD15)
        workload = try Workload(nodes: 2 + random.below(3), seed: seed)
        world = workload.world
        world.startNames()
    }

    func run() throws -> Workload {
        for host in world.nodes.indices {
            for name in Self.networks { workload.networks[host][name] = try world.createNetwork(host, name) }
        }
        for _ in 0..<4 { attach() }
        for _ in 0..<60 {
            act()
            guard world.violations.isEmpty else { return workload }
        }
        workload.heal()
        workload.settle()
        for mode in [VirtualResolver.Mode.slow, .lying, .dead, .gone, .well] { check(mode) }
        // Longer than any question may wait.
        world.run(for: .seconds(17))
        for (host, server) in world.nameServers.sorted(by: { $0.key < $1.key }) {
            let forwards = server.sandboxes.values.reduce(0) { $0 + $1.responder.forwards }
            guard server.questions.isEmpty, forwards == 0 else {
                world.violate(
                    "P", "host\(host + 1): \(server.questions.count) questions wait after 17 s, \(forwards) in the server")
                continue
            }
        }
        return workload
    }

    // MARK: Acts

    private func act() {
        switch random.below(100) {
        case 0..<14: attach()
        case 14..<22: detach()
        case 22..<36: changeResolver(random.below(world.nodes.count), random.pick(VirtualResolver.Mode.allCases) ?? .well)
        case 36..<40: workload.crashDaemon(random.below(world.nodes.count), for: .milliseconds(Int64(random.below(3000))))
        case 40..<43:
            world.split(1 + random.below(world.nodes.count - 1), for: .milliseconds(Int64(100 + random.below(8000))))
        default: askSeveral()
        }
        world.run(for: .milliseconds(Int64(random.below(random.chance(0.1) ? 10_000 : 400))))
    }

    private func attach() {
        serial += 1
        guard let host = random.pick(workload.upHosts), let network = random.pick(Self.networks),
            let created = workload.networks[host][network]
        else { return }
        let path = "/run/docker/netns/s\(random.below(3))"
        let name = random.chance(0.4) ? random.pick(Self.sharedNames) ?? "" : "c\(serial)"
        world.log("host\(host + 1): docker run --network \(network) --name \(name), in \(path)")
        do {
            let attached = try world.attach(host, "container \(serial)", to: created, called: name, sandbox: path)
            workload.endpoints.append((host, network, attached))
            containers.append(Container(host: host, path: path, network: network, name: name, attached: attached))
            held[name, default: []].insert(attached.address)
        } catch {
            workload.uncertain.insert(World.endpointID("container \(serial)"))
            uncertain.names.insert(name)
            uncertain.places.insert(Place(host: host, path: path))
        }
    }

    private func detach() {
        let up = workload.upHosts
        guard let index = random.pick(containers.indices.filter { up.contains(containers[$0].host) }) else { return }
        let container = containers.remove(at: index)
        world.log("host\(container.host + 1): docker rm \(container.name)")
        workload.endpoints.removeAll { $0.attached.endpoint == container.attached.endpoint }
        world.detach(container.host, container.attached)
    }

    private func changeResolver(_ host: Int, _ mode: VirtualResolver.Mode) {
        world.log("host\(host + 1): Docker's resolver is \(mode)")
        world.changeResolver(host, mode)
    }

    private func askSeveral() {
        guard let host = random.pick(workload.upHosts), let path = random.pick(paths(of: host)) else { return }
        for _ in 0..<1 + random.below(12) {
            var name = "site\(random.below(20)).example"
            if random.chance(0.5) {
                name = random.pick(held.keys.sorted()) ?? name
                if random.chance(0.3) { name += ".\(random.pick(Self.networks) ?? "")" }
            }
            ask(host, path, name)
            if random.chance(0.2) { world.run(for: .milliseconds(Int64(random.below(50)))) }
        }
    }

    private func paths(of host: Int) -> [String] {
        (world.nameServers[host]?.sandboxes.keys.sorted() ?? []).filter { $0.hasPrefix("/run/docker/netns/s") }
    }

    private func ask(_ host: Int, _ path: String, _ name: String) {
        world.askName(host, path, name, byConnection: random.chance(0.3)) { [weak self] in self?.look(at: $0, to: name, host) }
    }

    /// A name has an address that it had, or that the resolver knows; SERVFAIL and, of our own, NXDOMAIN are answers, too.
    private func look(at answer: NameAnswer, to name: String, _ host: Int) {
        let own = Self.networks.reduce(name) { $0.hasSuffix(".\($1)") ? String($0.dropLast($1.count + 1)) : $0 }
        let possible = held[own, default: []].union([VirtualResolver.address(of: name)])
        let codes: Set<UInt8> = held[own] == nil && !uncertain.names.contains(own) ? [0, 2] : [0, 2, 3]
        guard codes.contains(answer.code), possible.isSuperset(of: answer.addresses) || uncertain.names.contains(own) else {
            return world.violate("C", "host\(host + 1): \(name) is \(answer), and never was")
        }
    }

    // MARK: After quiet

    /// All names of all sandboxes, with all resolvers in one mode.
    private func check(_ mode: VirtualResolver.Mode) {
        for host in world.nodes.indices { changeResolver(host, mode) }
        // A resolver that was not found is searched again after a moment.
        world.run(for: .seconds(1))
        for host in world.nodes.indices {
            for path in paths(of: host) where !uncertain.places.contains(Place(host: host, path: path)) {
                let mine = containers.filter { $0.host == host && $0.path == path }
                guard !mine.isEmpty else {
                    world.violate("C", "host\(host + 1): \(path) is served, and has no container")
                    continue
                }
                for name in held.keys.sorted() where !uncertain.names.contains(name) {
                    check(name, host, path, Set(mine.map(\.network)).sorted(), mode)
                }
            }
            for place in Set(containers.map { Place(host: $0.host, path: $0.path) }) where place.host == host {
                if !paths(of: host).contains(place.path) { world.violate("C", "host\(host + 1): \(place.path) is not served") }
            }
        }
        var asked = 0
        var right = 0
        for host in world.nodes.indices {
            for path in paths(of: host) {
                for (name, byConnection) in [("one.example", false), ("two.example", true)] {
                    asked += 1
                    world.askName(host, path, name, byConnection: byConnection) {
                        if $0 == NameAnswer(code: 0, addresses: [VirtualResolver.address(of: name)]) { right += 1 }
                    }
                }
            }
        }
        world.run(for: .seconds(1))
        if mode == .well, right < asked {
            world.violate("P", "\(right) of \(asked) questions are forwarded and answered after quiet")
        }
    }

    /// One name, in a sandbox with these networks: the first that has it counts.
    private func check(_ name: String, _ host: Int, _ path: String, _ networks: [String], _ mode: VirtualResolver.Mode) {
        let found = networks.map { network in containers.filter { $0.network == network && $0.name == name } }
        if let live = found.first(where: { !$0.isEmpty }) {
            expect(live, asked: name, host, path, mode)
        } else if mode == .well {
            // It is as good as any other name by now.
            var answer: NameAnswer?
            world.askName(host, path, name) { answer = $0 }
            world.run(atMost: .seconds(1)) { answer != nil }
            if answer?.addresses != [VirtualResolver.address(of: name)] {
                world.violate("C", "host\(host + 1): \(name) is \(answer.map { "\($0)" } ?? "unanswered"), and nobody has it")
            }
        }
        // With its network's name it is of that network, and of nobody else.
        for (network, live) in zip(networks, found) { expect(live, asked: "\(name).\(network)", host, path, mode) }
    }

    private func expect(_ live: [Container], asked name: String, _ host: Int, _ path: String, _ mode: VirtualResolver.Mode) {
        var answer: NameAnswer?
        world.askName(host, path, name, byConnection: random.chance(0.5)) { answer = $0 }
        let expected = NameAnswer(code: live.isEmpty ? 3 : 0, addresses: live.map(\.attached.address).sorted())
        guard answer != expected else { return }
        let seen = answer.map { "\($0)" } ?? "unanswered"
        world.violate("C", "host\(host + 1), resolver \(mode): \(name) in \(path) is \(seen), not \(expected.addresses)")
    }
}
