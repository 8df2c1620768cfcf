import OverlayCatalogue
import OverlayDriver
import OverlayMembership
import OverlayModel
import OverlayNode

/// Workload of engines that call their plugins step by step, without anybody waiting: a call may be the last of its command.
final class EngineWorkload {
    /// The simulation does not play the handshake, so any token is as good as the cluster's.
    static let token = JoinToken(pin: [UInt8](repeating: 0, count: 20), secret: [UInt8](repeating: 2, count: 16)).description
    /// Time after which nothing may be left over.
    private static let patience = Interval.seconds(60)

    let workload: Workload
    var world: World { workload.world }
    /// Words for what is being done, for the report of a violation.
    let title: String
    private let planted: Planted?
    /// Containers that were started last, by host.
    private(set) var started: [Int: EngineAttachment] = [:]
    /// Commands under way, by host and life of the engine. Those of an engine that died are over.
    private var underWay: [Place: Int] = [:]

    private struct Place: Hashable {
        var host: Int
        var life: Int
    }

    /// Fault of a daemon, by which a test shows that the checks see it.
    enum Planted: Sendable {
        /// Rows of this space never reach the disk.
        case lostRows(StoreSpace)
        /// This rule is not kept.
        case without(SafetyRules)
        /// The daemon does not ask its engine what is left over.
        case noQuestions
    }

    init(hosts: Int, seed: UInt64, title: String, planted: Planted? = nil) throws {
        var rules = SafetyRules.all
        if case .without(let rule) = planted { rules.subtract(rule) }
        workload = Workload(try World(count: hosts, seed: seed, parameters: .init(), rules: rules), seed: seed)
        self.title = title
        self.planted = planted
        world.docker.isPatient = true
        world.docker.workTime = .milliseconds(2)
        for index in world.nodes.indices {
            world.startEngine(index)
            world.docker.setExact(index, true)
        }
        world.run(for: .milliseconds(2))
    }

    // MARK: Clusters

    /// Makes a cluster of all hosts but one, and networks on all of them, with a container on the first network of each.
    func open(_ names: [String], without missing: Int? = nil, idle: Int? = nil) throws {
        guard world.initialise() != nil else { throw World.Failed("no cluster") }
        for index in world.nodes.indices.dropFirst() where index != missing { join(index) }
        world.run(for: .seconds(1))
        for name in names {
            create(0, name)
            guard world.run(atMost: .seconds(20), step: .milliseconds(10), until: { hosts.allSatisfy { network($0, name) != nil } })
            else { throw World.Failed("network \(name) is not on all engines") }
        }
        for index in hosts where index != idle { start(index, "first") }
        guard world.run(atMost: .seconds(20), step: .milliseconds(10), until: { isIdle && difference == nil }) else {
            throw World.Failed("not right before the operation: \(difference ?? "")")
        }
        world.run(for: .seconds(1))
        switch planted {
        case .lostRows(let space): world.faults.lostSpace = space
        case .noQuestions: for index in hosts { world.setMute(index, true) }
        case .without, nil: break
        }
        world.docker.callFaults.forgetLast()
    }

    func join(_ index: Int) { insist(index, .join(token: Self.token, host: "192.0.2.1", port: nil)) }

    /// Hosts in the cluster.
    var hosts: [Int] { world.nodes.indices.filter { world.nodes[$0].core.catalogue.cluster != nil } }

    /// Repeats a command until it is done, as a user does who does not know what became of it.
    ///
    /// - Parameter excuses: Parts of refusals that mean that nothing is left to do.
    func insist(_ index: Int, _ request: ControlRequest, unless excuses: String...) {
        // Others may have waited for it until now.
        if world.nodes[index].core.catalogue.cluster == nil { world.trouble(index, until: world.now) }
        var answer = world.control(index, request)
        for _ in 0..<30 {
            guard case .refused(let reason) = answer else { return }
            if excuses.contains(where: { reason.contains($0) }) { return }
            world.run(for: .seconds(1))
            answer = world.control(index, request)
        }
        violate("P", "host\(index + 1) does not take the command: \(answer)")
    }

    func restart(_ index: Int) {
        guard !world.nodes[index].isUp else { return }
        do { try world.restart(index) } catch {
            violate("P", "host\(index + 1) does not start with what it stored: \(error)")
        }
    }

    // MARK: Engines

    /// True if no engine carries out a command.
    var isIdle: Bool {
        underWay.allSatisfy { $0.value == 0 || world.docker.engines[$0.key.host]?.life != $0.key.life }
    }

    private func begin(_ index: Int) -> () -> Void {
        let place = Place(host: index, life: world.docker.engines[index]?.life ?? 0)
        underWay[place, default: 0] += 1
        return { [weak self] in self?.underWay[place, default: 1] -= 1 }
    }

    func network(_ index: Int, _ name: String) -> EngineNetworkID? {
        world.dockerNetworks(index).first { $0.name == name }?.id
    }

    /// `docker network create`
    func create(_ index: Int, _ name: String) {
        var wanted = EngineNetwork(name: name)
        if let subnet = IPPrefix(IPAddress(v4: 10, 9, UInt8(name.utf8.count), 0), length: 26) {
            wanted.subnets = [.init(subnet: subnet)]
        }
        let end = begin(index)
        world.dockerCreate(index, wanted) { _ in end() }
    }

    /// `docker network rm`
    func remove(_ index: Int, _ name: String) {
        guard let id = network(index, name) else { return }
        let end = begin(index)
        world.dockerRemove(index, id) { _ in end() }
    }

    /// `docker run`
    func start(_ index: Int, _ name: String, address: IPAddress? = nil) {
        guard let id = network(index, "net") else { return }
        let end = begin(index)
        world.docker.begin(run: name, index, on: id, address: address) { [weak self] entry in
            end()
            if let entry { self?.started[index] = entry }
        }
    }

    /// `docker stop` of the container that was started last.
    func stop(_ index: Int, hasPair: Bool = true) {
        guard let entry = started.removeValue(forKey: index) else { return }
        let end = begin(index)
        world.docker.begin(stop: entry.attached.endpoint, index, hasPair: hasPair, then: end)
    }

    // MARK: The end

    func violate(_ letter: String, _ text: String) { world.violate(letter, "\(title): \(text)") }

    /// The first thing that is not as the engines have it; nil if all is right.
    var difference: String? {
        var hearsProblems = true
        // A daemon whose engine is mute says so.
        if case .noQuestions = planted { hearsProblems = false }
        return Leftovers(in: world, hearsProblems: hearsProblems).first ?? world.difference()
    }

    /// Ends all faults, and lets the engines end their commands.
    func heal() {
        world.heal()
        world.storeTime = .microseconds(100)
        for index in world.nodes.indices {
            restart(index)
            if world.docker.engines[index]?.isUp == false { world.startEngine(index) }
        }
        if let stalled = world.nodes.compactMap(\.stalledUntil).max() { world.run(until: stalled) }
        if !world.run(atMost: .seconds(90), step: .milliseconds(100), until: { isIdle }) {
            violate("P", "an engine still waits for its daemon after a minute and a half")
        }
    }

    /// Checks that nothing is left over a minute later, and that containers start everywhere.
    ///
    /// - Parameter isLong: True to wait for late work, too.
    func settle(isLong: Bool) {
        guard settles("a minute later") else { return }
        for index in hosts { start(index, "last") }
        world.run(atMost: .seconds(20), step: .milliseconds(10)) { isIdle }
        for index in hosts where network(index, "net") != nil && started[index]?.name != "last" {
            violate("P", "no container can be started on host\(index + 1)")
        }
        if isLong { world.run(for: .seconds(130)) }
        guard settles("after a container was started") else { return }
        let writers = world.nodes.indices.filter { world.nodes[$0].core.isCatalogueWriter }
        if writers.count != 1 { violate("L", "the catalogue is written by hosts \(writers.map { $0 + 1 })") }
        world.checkCatalogues()
    }

    private func settles(_ when: String) -> Bool {
        let isRight = world.run(atMost: Self.patience, step: .milliseconds(500)) { difference == nil }
        if !isRight { violate("C", "\(when): \(difference ?? "")") }
        return isRight
    }
}
