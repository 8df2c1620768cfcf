import OverlayCatalogue
public import OverlayDriver
public import OverlayModel
import OverlayNode

/// An engine with its own API: what `docker network` and `docker ps` know.
struct VirtualEngine {
    var isUp = true
    /// Answers nothing, though it is connected.
    var isMute = false
    var networks: [EngineNetworkID: EngineNetwork] = [:]
    /// What the plugin called the pools of the networks that were made here.
    var pools: [EngineNetworkID: SubnetID] = [:]
    /// Names of containers by their endpoint, and on which network that is.
    var endpoints: [EndpointID: (network: EngineNetworkID, container: String)] = [:]
    var containers: [ContainerID: EngineContainer] = [:]
    /// Names that networks are being made by.
    var making: Set<String> = []
    /// And those that are being removed.
    var removing: Set<EngineNetworkID> = []
    /// Calls of the plugin that have no answer yet.
    var calls: [RequestID: (DriverResponse) -> Void] = [:]
    /// Calls of its API that it has not answered.
    var asked: [EffectID: (EngineAPIAnswer) -> Void] = [:]
    var made = 0
}

/// Engines with an API, one for each node that has one: `docker network create` goes to the plugin as the transcripts show it, and events
/// tell of what became of it.
extension World {
    /// How long a call, or an event, takes.
    private static let apiTime = Interval.milliseconds(1)

    /// Starts the engine of a node, with the networks that it had.
    public func startEngine(_ index: Int) {
        let wasDown = engines[index]?.isUp == false
        engines[index, default: VirtualEngine()].isUp = true
        // What it was removing when it was killed, it removes now (libnetwork's networkCleanup).
        for id in engines[index]?.removing.sorted() ?? [] where wasDown {
            if let pool = engines[index]?.pools[id] { ask(index, .releasePool(pool)) { _ in } }
            ask(index, .deleteNetwork(id)) { _ in }
            engines[index]?.removing.remove(id)
            engines[index]?.networks[id] = nil
        }
        tell(index, .connected(apiVersion: "1.41"))
    }

    /// Kills it: what it was at is left as it is.
    public func stopEngine(_ index: Int) {
        let asked = engines[index]?.asked ?? [:]
        engines[index]?.isUp = false
        engines[index]?.asked = [:]
        engines[index]?.calls = [:]
        engines[index]?.making = []
        for answer in asked.sorted(by: { $0.key.value < $1.key.value }) {
            answer.value(.unavailable("the engine closed the connection"))
        }
        tell(index, .disconnected("the engine closed the connection"))
    }

    /// Whether its API has answers.
    public func setMute(_ index: Int, _ isMute: Bool) { engines[index]?.isMute = isMute }

    /// The engine's state is lost.
    public func wipeEngine(_ index: Int) { engines[index]?.networks = [:] }

    private func tell(_ index: Int, _ news: EngineAPINews) {
        schedule(.event(index, boot: nodes[index].boot, .engineNews(news)), in: Self.apiTime)
    }

    public func dockerNetworks(_ index: Int) -> [EngineNetwork] {
        (engines[index]?.networks ?? [:]).values.sorted { ($0.name, $0.id?.text ?? "") < ($1.name, $1.id?.text ?? "") }
    }

    func engineCall(_ index: Int, _ id: EffectID, _ call: EngineAPICall) {
        let boot = nodes[index].boot
        engines[index]?.asked[id] = { [unowned self] answer in
            schedule(.event(index, boot: boot, .engineAnswer(id, answer)), in: Self.apiTime)
        }
        let answer: (EngineAPIAnswer) -> Void = { [unowned self] in engines[index]?.asked.removeValue(forKey: id)?($0) }
        schedule(
            .action { world in
                guard let engine = world.engines[index], engine.isUp, !engine.isMute else {
                    return answer(.unavailable("nobody listens"))
                }
                switch call {
                case .networks: answer(.networks(world.dockerNetworks(index)))
                case .containers: answer(.containers(engine.containers.values.sorted { $0.id < $1.id }))
                case .container(let id): answer(engine.containers[id].map { .container($0) } ?? .notFound)
                case .network(let id):
                    guard var network = engine.networks[id] else { return answer(.notFound) }
                    network.endpoints = engine.endpoints.filter { $0.value.network == id }.mapValues(\.container)
                    answer(.network(network))
                case .createNetwork(let network):
                    world.dockerCreate(index, network) { answer($0.map { .created($0) } ?? .refused("refused")) }
                case .removeNetwork(let id): world.dockerRemove(index, id, then: answer)
                }
            }, in: Self.apiTime)
    }

    // MARK: Calls of the engine

    /// A call whose connection ends with the daemon, and is refused where there is none.
    private func ask(_ index: Int, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void) {
        guard nodes[index].isUp else {
            return schedule(.action { _ in next(Self.connectionLost) }, in: Self.apiTime)
        }
        let id = newRequest()
        engines[index]?.calls[id] = next
        begin(index, id, request) { [unowned self] in engines[index]?.calls.removeValue(forKey: id)?($0) }
    }

    private static let connectionLost = DriverResponse.failed(DriverError(.unavailable, "connection lost"))

    /// The daemon is gone.
    func endCalls(_ index: Int) {
        let calls = engines[index]?.calls ?? [:]
        engines[index]?.calls = [:]
        for next in calls.sorted(by: { $0.key.value < $1.key.value }) { next.value(Self.connectionLost) }
    }

    /// What an engine does of its own, before the next thing: writing its state, mostly.
    private func later(_ action: @escaping (World) -> Void) {
        let most = engineWork.nanoseconds / 1000
        schedule(.action(action), in: .microseconds(most > 0 ? Int64(random.below(Int(most))) : 0))
    }

    /// `docker network create`; nil where it is refused.
    public func dockerCreate(_ index: Int, _ wanted: EngineNetwork, then done: @escaping (EngineNetworkID?) -> Void = { _ in }) {
        guard let engine = engines[index], engine.isUp, !engine.making.contains(wanted.name),
            !engine.networks.values.contains(where: { $0.name == wanted.name })
        else { return done(nil) }
        engines[index]?.making.insert(wanted.name)
        engines[index]?.made += 1
        let id = Self.networkID(index, "\(wanted.name) \(engines[index]?.made ?? 0)")
        let asked = wanted.subnets.first
        let request = RequestPool(
            addressSpace: "swift-overlay", pool: asked?.subnet, subPool: asked?.range,
            networkName: wanted.ipamOptions[OptionName.net], family: .v4)
        let end: (EngineNetworkID?) -> Void = { [unowned self] made in
            engines[index]?.making.remove(wanted.name)
            done(made)
        }
        ask(index, .requestPool(request)) { [unowned self] answer in
            guard case .pool(let pool, let prefix, let gateway) = answer else { return end(nil) }
            let data = IPAMData(addressSpace: "swift-overlay", pool: prefix, gateway: gateway)
            ask(index, .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: []))) { [unowned self] answer in
                if case .failed = answer {
                    return ask(index, .releasePool(pool)) { _ in end(nil) }
                }
                later { world in
                    guard world.engines[index]?.isUp == true else { return end(nil) }
                    var network = wanted
                    network.id = id
                    network.subnets = [.init(subnet: prefix, range: asked?.range, gateway: gateway?.address)]
                    world.engines[index]?.networks[id] = network
                    world.engines[index]?.pools[id] = pool
                    world.tell(index, .network(id, .create, container: nil))
                    end(id)
                }
            }
        }
    }

    /// `docker network rm`
    public func dockerRemove(_ index: Int, _ id: EngineNetworkID, then done: @escaping (EngineAPIAnswer) -> Void = { _ in }) {
        guard var engine = engines[index], engine.isUp, let network = engine.networks[id] else { return done(.notFound) }
        guard !engine.endpoints.values.contains(where: { $0.network == id }), engine.removing.insert(id).inserted else {
            return done(.refused("network \(network.name) has active endpoints, or is being removed"))
        }
        engines[index] = engine
        let delete: (World) -> Void = { world in
            // Engines do not care what a driver says to that (libnetwork's network.deleteNetwork).
            world.ask(index, .deleteNetwork(id)) { [unowned world] _ in
                world.engines[index]?.removing.remove(id)
                world.engines[index]?.networks[id] = nil
                world.tell(index, .network(id, .destroy, container: nil))
                done(.removed)
            }
        }
        guard let pool = engines[index]?.pools[id] else { return delete(self) }
        ask(index, .releasePool(pool)) { [unowned self] _ in later(delete) }
    }

    /// `docker run --network`; the engine's API tells the name.
    public func dockerRun(_ index: Int, _ name: String, on id: EngineNetworkID) throws -> Attached {
        guard let engine = engines[index], !engine.removing.contains(id), let prefix = engine.networks[id]?.subnets.first?.subnet,
            let pool = engine.pools[id]
        else { throw Failed("no such network on host\(index + 1)") }
        // An engine locks a network against removal while an endpoint is made on it.
        engines[index]?.endpoints[Self.endpointID(name)] = (id, name)
        let attached: Attached
        do {
            attached = try attach(index, name, to: Created(network: id, pool: pool, prefix: prefix), isNamed: false)
        } catch {
            engines[index]?.endpoints[Self.endpointID(name)] = nil
            throw error
        }
        tell(index, .network(id, .connect, container: nil))
        return attached
    }

    public func dockerStop(_ index: Int, _ attached: Attached) {
        engines[index]?.endpoints[attached.endpoint] = nil
        detach(index, attached)
    }
}

extension World {
    /// Gives an engine a container that the plugin has endpoints of already, or another name to one.
    public func adopt(_ index: Int, _ container: EngineContainer) {
        engines[index, default: VirtualEngine()].containers[container.id] = container
        tell(index, .container(container.id, .rename))
    }

    /// Gives an engine a network that the plugin has already.
    public func adopt(_ index: Int, _ network: EngineNetwork) {
        guard let id = network.id else { return }
        engines[index, default: VirtualEngine()].networks[id] = network
    }
}
