import OverlayCatalogue
public import OverlayDriver
import OverlayEngine
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
    var made = 0
}

/// Engines with an API, one for each node that has one: `docker network create` goes to the plugin as the transcripts show it, and events
/// tell of what became of it.
extension World {
    /// How long a call, or an event, takes.
    private static let apiTime = Interval.milliseconds(1)

    /// Starts the engine of a node, with the networks that it had.
    public func startEngine(_ index: Int) {
        engines[index, default: VirtualEngine()].isUp = true
        tell(index, .connected(apiVersion: "1.41"))
    }

    public func stopEngine(_ index: Int) {
        engines[index]?.isUp = false
        tell(index, .disconnected("the engine closed the connection"))
    }

    /// Whether its API has answers.
    public func setMute(_ index: Int, _ isMute: Bool) { engines[index]?.isMute = isMute }

    /// The engine's state is lost.
    public func wipeEngine(_ index: Int) { engines[index]?.networks = [:] }

    private func tell(_ index: Int, _ news: EngineAPINews) {
        schedule(.event(index, boot: nodes[index].boot, .engine(.engineNews(news))), in: Self.apiTime)
    }

    public func dockerNetworks(_ index: Int) -> [EngineNetwork] {
        (engines[index]?.networks ?? [:]).values.sorted { ($0.name, $0.id?.text ?? "") < ($1.name, $1.id?.text ?? "") }
    }

    func engineCall(_ index: Int, _ id: EffectID, _ call: EngineAPICall) {
        let boot = nodes[index].boot
        let answer: (EngineAPIAnswer) -> Void = { [unowned self] answer in
            schedule(.event(index, boot: boot, .engine(.engineAnswer(id, answer))), in: Self.apiTime)
        }
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
        begin(index, .requestPool(request)) { [unowned self] answer in
            guard case .pool(let pool, let prefix, let gateway) = answer else { return end(nil) }
            let data = IPAMData(addressSpace: "swift-overlay", pool: prefix, gateway: gateway)
            begin(index, .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: []))) { [unowned self] answer in
                if case .failed = answer {
                    _ = begin(index, .releasePool(pool))
                    return end(nil)
                }
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

    /// `docker network rm`
    public func dockerRemove(_ index: Int, _ id: EngineNetworkID, then done: @escaping (EngineAPIAnswer) -> Void = { _ in }) {
        guard let network = engines[index]?.networks[id] else { return done(.notFound) }
        guard engines[index]?.endpoints.values.contains(where: { $0.network == id }) != true else {
            return done(.refused("network \(network.name) has active endpoints"))
        }
        engines[index]?.networks[id] = nil
        if let pool = engines[index]?.pools.removeValue(forKey: id) { _ = begin(index, .releasePool(pool)) }
        begin(index, .deleteNetwork(id)) { [unowned self] _ in
            tell(index, .network(id, .destroy, container: nil))
            done(.removed)
        }
    }

    /// `docker run --network`; the engine's API tells the name.
    public func dockerRun(_ index: Int, _ name: String, on id: EngineNetworkID) throws -> Attached {
        guard let engine = engines[index], let prefix = engine.networks[id]?.subnets.first?.subnet, let pool = engine.pools[id]
        else { throw Failed("no such network on host\(index + 1)") }
        let attached = try attach(index, name, to: Created(network: id, pool: pool, prefix: prefix), isNamed: false)
        engines[index]?.endpoints[attached.endpoint] = (id, name)
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
