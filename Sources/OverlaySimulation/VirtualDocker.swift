import OverlayCatalogue
public import OverlayDriver
public import OverlayModel
import OverlayNode

/// Engines that have an API, at most one for each node of a world.
///
/// They call the plugin in the order in which real ones do, and their events tell the node what became of a command.
final class VirtualDocker {
    private unowned let world: World
    /// Engines by the index of their node.
    private(set) var engines: [Int: VirtualEngine] = [:]
    /// Longest time that an engine takes between two calls of the plugin.
    var workTime = Interval(nanoseconds: 0)
    /// Time that a call of the API, or an event, takes.
    private static let apiTime = Interval.milliseconds(1)

    init(_ world: World) { self.world = world }

    // MARK: Life

    /// Starts the engine of a node, with the networks that it had.
    func start(_ index: Int) {
        let wasDown = engines[index]?.isUp == false
        engines[index, default: VirtualEngine()].isUp = true
        // A removal that was cut off by the engine's end is completed at its start (libnetwork's networkCleanup).
        for id in engines[index]?.removing.sorted() ?? [] where wasDown {
            if let pool = engines[index]?.pools[id] { ask(index, .releasePool(pool)) { _ in } }
            ask(index, .deleteNetwork(id)) { _ in }
            engines[index]?.removing.remove(id)
            engines[index]?.networks[id] = nil
        }
        tell(index, .connected(apiVersion: "1.41"))
    }

    /// Kills the engine of a node. Commands under way stay half done.
    func stop(_ index: Int) {
        let waiting = engines[index]?.apiCalls ?? [:]
        engines[index]?.isUp = false
        engines[index]?.apiCalls = [:]
        engines[index]?.calls = [:]
        engines[index]?.creating = []
        for answer in waiting.sorted(by: { $0.key.value < $1.key.value }) {
            answer.value(.unavailable("the engine closed the connection"))
        }
        tell(index, .disconnected("the engine closed the connection"))
    }

    /// Sets whether the engine leaves calls of its API without an answer.
    func setMute(_ index: Int, _ isMute: Bool) { engines[index]?.isMute = isMute }

    /// Removes the networks of an engine, as when its state is lost.
    func wipe(_ index: Int) { engines[index]?.networks = [:] }

    /// Connects a node that has started to its engine.
    func nodeStarted(_ index: Int) {
        if engines[index]?.isUp == true { start(index) }
    }

    /// Fails the calls of a node's plugin, as the end of its process does.
    func endCalls(_ index: Int) {
        let calls = engines[index]?.calls ?? [:]
        engines[index]?.calls = [:]
        for next in calls.sorted(by: { $0.key.value < $1.key.value }) { next.value(Self.connectionLost) }
    }

    // MARK: API

    private func tell(_ index: Int, _ news: EngineAPINews) {
        world.schedule(.event(index, boot: world.nodes[index].boot, .engineNews(news)), in: Self.apiTime)
    }

    func networks(_ index: Int) -> [EngineNetwork] {
        (engines[index]?.networks ?? [:]).values.sorted { ($0.name, $0.id?.text ?? "") < ($1.name, $1.id?.text ?? "") }
    }

    /// Answers a node's call of its engine's API.
    func answer(_ index: Int, _ id: EffectID, _ call: EngineAPICall) {
        let boot = world.nodes[index].boot
        engines[index]?.apiCalls[id] = { [unowned world] answer in
            world.schedule(.event(index, boot: boot, .engineAnswer(id, answer)), in: Self.apiTime)
        }
        let answer: (EngineAPIAnswer) -> Void = { [unowned self] in engines[index]?.apiCalls.removeValue(forKey: id)?($0) }
        let execute: (World) -> Void = { [unowned self] _ in
            guard let engine = engines[index], engine.isUp, !engine.isMute else {
                return answer(.unavailable("nobody listens"))
            }
            switch call {
            case .networks: answer(.networks(networks(index)))
            case .containers: answer(.containers(engine.containers.values.sorted { $0.id < $1.id }))
            case .containersOn(let network):
                let on = engine.containers.values.filter { $0.attachments.contains { $0.network == network } }
                answer(.containers(on.sorted { $0.id < $1.id }))
            case .container(let id): answer(engine.containers[id].map { .container($0) } ?? .notFound)
            case .network(let id):
                guard var network = engine.networks[id] else { return answer(.notFound) }
                network.endpoints = engine.endpoints.filter { $0.value.network == id }.mapValues(\.container)
                answer(.network(network))
            case .createNetwork(let network):
                create(index, network) { answer($0.map { .created($0) } ?? .refused("refused")) }
            case .removeNetwork(let id): remove(index, id, then: answer)
            }
        }
        world.schedule(.action(execute), in: Self.apiTime)
    }

    // MARK: Commands

    /// Calls the plugin. The call fails when the daemon ends, and at once where none runs.
    private func ask(_ index: Int, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void) {
        guard world.nodes[index].isUp else {
            return world.schedule(.action { _ in next(Self.connectionLost) }, in: Self.apiTime)
        }
        let id = world.newRequest()
        engines[index]?.calls[id] = next
        world.begin(index, id, request) { [unowned self] in engines[index]?.calls.removeValue(forKey: id)?($0) }
    }

    private static let connectionLost = DriverResponse.failed(DriverError(.unavailable, "connection lost"))

    /// Lets the engine do work of its own first, such as writing its state.
    private func later(_ action: @escaping () -> Void) {
        let most = workTime.nanoseconds / 1000
        world.schedule(.action { _ in action() }, in: .microseconds(most > 0 ? Int64(world.random.below(Int(most))) : 0))
    }

    /// `docker network create`
    ///
    /// - Parameter done: Called with the new network; with nil if it is refused.
    func create(_ index: Int, _ wanted: EngineNetwork, then done: @escaping (EngineNetworkID?) -> Void) {
        guard let engine = engines[index], engine.isUp, !engine.creating.contains(wanted.name),
            !engine.networks.values.contains(where: { $0.name == wanted.name })
        else { return done(nil) }
        engines[index]?.creating.insert(wanted.name)
        engines[index]?.created += 1
        let id = World.networkID(index, "\(wanted.name) \(engines[index]?.created ?? 0)")
        let asked = wanted.subnets.first
        let request = RequestPool(
            addressSpace: "swift-overlay", pool: asked?.subnet, subPool: asked?.range,
            networkName: wanted.ipamOptions[OptionName.net], family: .v4)
        let end: (EngineNetworkID?) -> Void = { [unowned self] created in
            engines[index]?.creating.remove(wanted.name)
            done(created)
        }
        ask(index, .requestPool(request)) { [unowned self] answer in
            guard case .pool(let pool, let prefix, let gateway) = answer else { return end(nil) }
            let data = IPAMData(addressSpace: "swift-overlay", pool: prefix, gateway: gateway)
            ask(index, .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: []))) { [unowned self] answer in
                if case .failed = answer {
                    return ask(index, .releasePool(pool)) { _ in end(nil) }
                }
                later { [unowned self] in
                    guard engines[index]?.isUp == true else { return end(nil) }
                    var network = wanted
                    network.id = id
                    network.subnets = [.init(subnet: prefix, range: asked?.range, gateway: gateway?.address)]
                    engines[index]?.networks[id] = network
                    engines[index]?.pools[id] = pool
                    tell(index, .network(id, .create, container: nil))
                    end(id)
                }
            }
        }
    }

    /// `docker network rm`
    func remove(_ index: Int, _ id: EngineNetworkID, then done: @escaping (EngineAPIAnswer) -> Void) {
        guard var engine = engines[index], engine.isUp, let network = engine.networks[id] else { return done(.notFound) }
        guard !engine.endpoints.values.contains(where: { $0.network == id }), engine.removing.insert(id).inserted else {
            return done(.refused("network \(network.name) has active endpoints, or is being removed"))
        }
        engines[index] = engine
        let delete: () -> Void = { [unowned self] in
            // Engines remove a network whatever the driver answers (libnetwork's network.deleteNetwork).
            ask(index, .deleteNetwork(id)) { [unowned self] _ in
                engines[index]?.removing.remove(id)
                engines[index]?.networks[id] = nil
                tell(index, .network(id, .destroy, container: nil))
                done(.removed)
            }
        }
        guard let pool = engine.pools[id] else { return delete() }
        ask(index, .releasePool(pool)) { [unowned self] _ in later(delete) }
    }

    /// `docker run --network`. The node learns the container's name from the API.
    func run(_ index: Int, _ name: String, on id: EngineNetworkID) throws -> World.Attached {
        guard let engine = engines[index], !engine.removing.contains(id), let prefix = engine.networks[id]?.subnets.first?.subnet,
            let pool = engine.pools[id]
        else { throw World.Failed("no such network on host\(index + 1)") }
        // An engine locks a network against removal while an endpoint is created on it.
        engines[index]?.endpoints[World.endpointID(name)] = (id, name)
        let attached: World.Attached
        do {
            attached = try world.attach(
                index, name, to: World.Created(network: id, pool: pool, prefix: prefix), isNamed: false)
        } catch {
            engines[index]?.endpoints[World.endpointID(name)] = nil
            throw error
        }
        tell(index, .network(id, .connect, container: nil))
        return attached
    }

    /// `docker stop`
    func stop(_ index: Int, _ attached: World.Attached) {
        engines[index]?.endpoints[attached.endpoint] = nil
        world.detach(index, attached)
    }

    // MARK: State from elsewhere

    /// Gives an engine a container whose endpoints the plugin already has, or renames one.
    func adopt(_ index: Int, _ container: EngineContainer) {
        engines[index, default: VirtualEngine()].containers[container.id] = container
        tell(index, .container(container.id, .rename))
    }

    /// Gives an engine a network that the plugin already has.
    func adopt(_ index: Int, _ network: EngineNetwork) {
        guard let id = network.id else { return }
        engines[index, default: VirtualEngine()].networks[id] = network
    }
}

/// Engines of a world's nodes, by the index of the node.
extension World {
    public func startEngine(_ index: Int) { docker.start(index) }
    public func stopEngine(_ index: Int) { docker.stop(index) }
    public func setMute(_ index: Int, _ isMute: Bool) { docker.setMute(index, isMute) }
    public func wipeEngine(_ index: Int) { docker.wipe(index) }
    public func dockerNetworks(_ index: Int) -> [EngineNetwork] { docker.networks(index) }
    public func dockerCreate(_ index: Int, _ wanted: EngineNetwork, then done: @escaping (EngineNetworkID?) -> Void = { _ in }) {
        docker.create(index, wanted, then: done)
    }
    public func dockerRemove(_ index: Int, _ id: EngineNetworkID, then done: @escaping (EngineAPIAnswer) -> Void = { _ in }) {
        docker.remove(index, id, then: done)
    }
    public func dockerRun(_ index: Int, _ name: String, on id: EngineNetworkID) throws -> Attached {
        try docker.run(index, name, on: id)
    }
    public func dockerStop(_ index: Int, _ attached: Attached) { docker.stop(index, attached) }
    public func adopt(_ index: Int, _ container: EngineContainer) { docker.adopt(index, container) }
    public func adopt(_ index: Int, _ network: EngineNetwork) { docker.adopt(index, network) }
}
