import OverlayCatalogue
public import OverlayDriver
public import OverlayModel
import OverlayNode

/// Engines that have an API, at most one for each node of a world.
///
/// They call the plugin in the order in which real ones do, and their events tell the node what became of a command.
final class VirtualDocker {
    unowned let world: World
    /// Engines by the index of their node.
    var engines: [Int: VirtualEngine] = [:]
    /// Faults of calls of the plugin.
    var callFaults = CallFaults()
    /// True if calls that find no daemon, or lose it, are made again for about 15 s, as engines do (moby's `callWithRetry`).
    var isPatient = false
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
        if wasDown, engines[index]?.attached.isEmpty == false {
            ask(index, .activate) { [unowned self] _ in endStale(index) }
        }
        tell(index, .connected(apiVersion: "1.41"))
    }

    /// Kills the engine of a node. Commands under way stay half done.
    func stop(_ index: Int) {
        let waiting = engines[index]?.apiCalls ?? [:]
        engines[index]?.isUp = false
        engines[index]?.life += 1
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

    /// Takes a call of the plugin from those that fail when the daemon ends, as its answer is on the way.
    func takeCall(_ index: Int, _ id: RequestID) -> ((DriverResponse) -> Void)? { engines[index]?.calls.removeValue(forKey: id) }

    // MARK: API

    func setStart(_ index: Int, of container: ContainerID, _ start: ContainerStart) { engines[index]?.starts[container] = start }

    func tell(_ index: Int, _ news: EngineAPINews) {
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
            case .otherNetworks: answer(.otherNetworks(engine.others.values.sorted { $0.name < $1.name }))
            case .addressPools: answer(.addressPools(engine.addressPools))
            case .containers: answer(.containers(engine.containers.values.sorted { $0.id < $1.id }))
            case .containersOn(let network):
                let on = engine.containers.values.filter { $0.attachments.contains { $0.network == network } }
                answer(.containers(on.sorted { $0.id < $1.id }))
            case .container(let id): answer(engine.containers[id].map { .container($0) } ?? .notFound)
            case .network(let id):
                guard var network = engine.networks[id] else { return answer(.notFound) }
                let held = held(index, on: id)
                network.endpoints = held.mapValues(\.name)
                network.addresses = Set(held.values.flatMap(\.addresses))
                answer(.network(network))
            case .endpoints:
                let running = engine.containers.values.flatMap { $0.attachments.compactMap(\.endpoint) }
                answer(.endpoints(Set(running).subtracting(engine.lost)))
            case .createNetwork(let network) where !network.driver.isEmpty:
                answer(createOther(index, network).map { .created($0) } ?? .refused("refused"))
            case .createNetwork(let network):
                create(index, network) { answer($0.map { .created($0) } ?? .refused("refused")) }
            case .removeNetwork(let id): remove(index, id, then: answer)
            case .configured:
                answer(
                    .configured(
                        engine.configured.sorted { $0.key < $1.key }.map { id, networks in
                            ConfiguredContainer(
                                id: id,
                                references: networks.sorted { $0.key < $1.key }.map { .init(name: $0.key, network: $0.value) },
                                name: id.short, hasEnded: engine.starts[id]?.hasEnded ?? false)
                        }))
            case .interfaces(let id):
                answer(engine.configured[id].map { .interfaces($0.mapValues { _ in EngineInterface() }) } ?? .notFound)
            case .connect(let network, let container, _):
                guard let name = engine.networks[network]?.name, engine.configured[container] != nil else {
                    return answer(.notFound)
                }
                engines[index]?.configured[container]?[name] = .some(.some(network))
                answer(.connected)
            case .lastStart(let container): answer(engine.starts[container].map { .lastStart($0) } ?? .notFound)
            case .start(let container):
                guard engine.starts[container] != nil else { return answer(.notFound) }
                engines[index]?.starts[container] = ContainerStart(hasEnded: false, error: "", isRestarted: true)
                engines[index]?.startCalls.append(container)
                tell(index, .container(container, .start))
                answer(.started)
            }
        }
        world.schedule(.action(execute), in: Self.apiTime)
    }

    // MARK: Commands

    /// Calls the plugin. The call fails when the daemon ends, and at once where none runs, unless engines are patient.
    func ask(_ index: Int, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void) {
        let fault = callFaults.take(index, request)
        fault?.onStrike()
        switch fault?.kind {
        case nil: place(index, request, then: next)
        case .lost: fail(index, in: .seconds(1), next)
        case .answerLost: place(index, request) { [unowned self] _ in fail(index, in: .seconds(1), next) }
        case .again: place(index, request) { [unowned self] _ in place(index, request, then: next) }
        case .twice:
            place(index, request) { _ in }
            place(index, request, then: next)
        case .engineDies:
            place(index, request) { _ in }
            stop(index)
        case .engineDiesAfter: place(index, request) { [unowned self] _ in stop(index) }
        }
    }

    private func fail(_ index: Int, in time: Interval, _ next: @escaping (DriverResponse) -> Void) {
        let life = engines[index]?.life
        world.after(time) { [unowned self] _ in if engines[index]?.life == life { next(Self.connectionLost) } }
    }

    /// - Parameter tries: Number of times that no daemon was found.
    private func place(_ index: Int, _ request: DriverRequest, tries: Int = 0, then next: @escaping (DriverResponse) -> Void) {
        guard world.nodes[index].isUp else {
            return tryLater(index, tries, next) { [unowned self] in place(index, request, tries: tries + 1, then: next) }
        }
        let id = world.newRequest()
        engines[index]?.calls[id] = { [unowned self] answer in
            guard isPatient, answer == Self.connectionLost else { return next(answer) }
            // The request was written, so that engines write it again without its body, which the daemon refuses.
            sendEmpty(index, tries, next)
        }
        world.begin(index, id, request) { [unowned self] in engines[index]?.calls.removeValue(forKey: id)?($0) }
    }

    private func sendEmpty(_ index: Int, _ tries: Int, _ next: @escaping (DriverResponse) -> Void) {
        tryLater(index, tries, next) { [unowned self] in
            guard !world.nodes[index].isUp else { return next(.failed(DriverError(.invalid, "the request has no body"))) }
            sendEmpty(index, tries + 1, next)
        }
    }

    /// Tries again after 1, 2, 4 and 8 s; then the call fails.
    private func tryLater(
        _ index: Int, _ tries: Int, _ next: @escaping (DriverResponse) -> Void, _ again: @escaping () -> Void
    ) {
        guard isPatient, tries < 4 else { return fail(index, in: Self.apiTime, next) }
        let life = engines[index]?.life
        world.after(.seconds(1 << Int64(tries))) { [unowned self] _ in if engines[index]?.life == life { again() } }
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
            !engine.networks.values.contains(where: { $0.name == wanted.name }),
            !engine.others.values.contains(where: { $0.name == wanted.name })
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
            var options: Options = [OptionName.generic: .object(wanted.options.mapValues { .string($0) })]
            if wanted.isInternal { options[OptionName.isInternal] = .bool(true) }
            ask(index, .createNetwork(CreateNetwork(network: id, options: options, v4: [data], v6: []))) { [unowned self] answer in
                if case .failed = answer {
                    // Engines release the gateway that the pool came with, though they never asked for it.
                    return release(index, pool, gateway?.address) { end(nil) }
                }
                later { [unowned self] in
                    guard engines[index]?.isUp == true else { return end(nil) }
                    var network = wanted
                    network.id = id
                    network.subnets = [.init(subnet: prefix, range: asked?.range, gateway: gateway?.address)]
                    engines[index]?.networks[id] = network
                    engines[index]?.pools[id] = pool
                    if asked != nil { engines[index]?.withSubnet.insert(id) }
                    tell(index, .network(id, .create, container: nil))
                    end(id)
                }
            }
        }
    }

    /// `docker network create` with another driver: the host has a route for the subnet from then on.
    ///
    /// - Parameter wanted: Network; without a subnet it gets the engine's next free one.
    /// - Returns: nil where the engine refuses it, as its name or subnet is taken by another network of such a driver.
    @discardableResult
    func createOther(_ index: Int, _ wanted: EngineNetwork) -> EngineNetworkID? {
        guard let engine = engines[index], engine.isUp,
            !(Array(engine.networks.values) + Array(engine.others.values)).contains(where: { $0.name == wanted.name })
        else { return nil }
        var network = wanted
        let taken = engine.others.values.flatMap { $0.subnets.map(\.subnet) } + routes(index).map(\.prefix)
        if network.subnets.isEmpty {
            let free = (18...31).lazy.map { IPPrefix(IPAddress(v4: 172, $0, 0, 0), length: 16) }.compactMap { $0 }
                .first { prefix in !taken.contains { $0.overlaps(prefix) } }
            guard let free else { return nil }
            network.subnets = [.init(subnet: free)]
        } else if network.subnets.contains(where: { wanted in
            engine.others.values.contains { $0.subnets.contains { $0.subnet.overlaps(wanted.subnet) } }
        }) {
            return nil
        }
        engines[index]?.created += 1
        let id = World.networkID(index, "\(wanted.name) \(engine.created + 1)")
        network.id = id
        engines[index]?.others[id] = network
        tell(index, .otherNetworks)
        return id
    }

    /// `docker network rm` of a network with another driver.
    func removeOther(_ index: Int, _ name: String) {
        guard let id = engines[index]?.others.first(where: { $0.value.name == name })?.key else { return }
        engines[index]?.others[id] = nil
        tell(index, .removedElsewhere)
    }

    func otherNetworks(_ index: Int) -> [EngineNetwork] { (engines[index]?.others ?? [:]).values.sorted { $0.name < $1.name } }

    /// Sets the pools that an engine is configured with.
    func setAddressPools(_ index: Int, _ pools: [EngineAddressPool]) {
        engines[index, default: VirtualEngine()].addressPools = pools
    }

    /// Routes of a host at present, those for networks of its engine among them.
    private func routes(_ index: Int) -> [HostSubnet] {
        VirtualHost.routes(index).map { HostSubnet(prefix: $0, link: "eth0") } + world.nodes[index].routes
            + otherNetworks(index).flatMap { $0.subnets.map { HostSubnet(prefix: $0.subnet, link: "br-1") } }
    }

    /// Carries out an effect about routes, of the host or of a sandbox.
    func carryOut(_ index: Int, _ effect: NodeEffect) {
        func answer(_ event: NodeEvent) {
            world.schedule(.event(index, boot: world.nodes[index].boot, event), in: .microseconds(100))
        }
        let kernel = world.nodes[index].kernel
        switch effect {
        case .readRoutes(let id): answer(.hostRoutes(id, routes(index), isWhole: true))
        case .readHost(let id, let isChoosing): answer(.host(id, world.nodes[index].view(choosing: isChoosing)))
        case .lookForRoutes(let id, let path, let destinations):
            let isAny = destinations.contains { kernel.routes[path]?[$0] != nil }
            answer(.routesSeen(id, kernel.missingSandboxes.contains(path) ? .missing : isAny ? .taken : .free))
        case .addRoutes(let path, let mac, let routes):
            world.nodes[index].kernel.addRoutes(routes, through: mac, in: path)
        case .moveRoutes(let path, let mac, let routes):
            world.nodes[index].kernel.moveRoutes(routes, through: mac, in: path)
        default: preconditionFailure("\(effect) is not about the host")
        }
    }

    /// Gives a container its interface on docker_gwbridge, which the engine makes where it is not there (libnetwork's
    /// `setupDefaultGW`). Throws where the container has that subnet already (`checkRouteConflict`).
    private func connectGateway(_ index: Int, beside prefix: IPPrefix) throws {
        if !otherNetworks(index).contains(where: { $0.name == EngineNetwork.gatewayName }) {
            createOther(index, EngineNetwork(name: EngineNetwork.gatewayName, driver: "bridge"))
        }
        let gateway = otherNetworks(index).first { $0.name == EngineNetwork.gatewayName }
        if gateway?.subnets.contains(where: { $0.subnet.overlaps(prefix) }) == true {
            throw World.Failed("cannot program address \(prefix) in sandbox interface because it conflicts with existing route")
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
        release(index, pool, network.subnets.first?.gateway) { [unowned self] in later(delete) }
    }

    private func release(_ index: Int, _ pool: SubnetID, _ gateway: IPAddress?, then next: @escaping () -> Void) {
        guard let gateway else { return ask(index, .releasePool(pool)) { _ in next() } }
        ask(index, .releaseAddress(pool, gateway)) { [unowned self] _ in ask(index, .releasePool(pool)) { _ in next() } }
    }

    /// `docker network prune`: removes what no container is on, one after another.
    func prune(_ index: Int, then done: @escaping () -> Void = {}) {
        guard let engine = engines[index], engine.isUp else { return done() }
        var unused = networks(index).compactMap(\.id).filter { id in !engine.endpoints.values.contains { $0.network == id } }
        func next() {
            guard let id = unused.popLast() else {
                if engines[index]?.isUp == true { tell(index, .pruned) }
                return done()
            }
            remove(index, id) { _ in next() }
        }
        next()
    }

    /// Gives an engine a container that does not run, with the network in its configuration.
    func configure(_ index: Int, _ container: ContainerID, on name: String, _ id: EngineNetworkID?) {
        engines[index, default: VirtualEngine()].configured[container, default: [:]][name] = .some(id)
        tell(index, .container(container, .create))
    }

    /// `docker rm`
    func forget(_ index: Int, _ container: ContainerID) { engines[index]?.configured[container] = nil }

    /// Network that the engine finds when it starts the container: by its id once the container has run, else by its name.
    func network(_ index: Int, of container: ContainerID, named name: String) -> EngineNetworkID? {
        guard let engine = engines[index], let known = engine.configured[container]?[name] else { return nil }
        guard let id = known else { return engine.networks.first { $0.value.name == name }?.key }
        return engine.networks[id] == nil ? nil : id
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
            if engine.networks[id]?.isInternal != true {
                do {
                    try connectGateway(index, beside: prefix)
                } catch {
                    world.detach(index, attached)
                    throw error
                }
            }
        } catch {
            engines[index]?.endpoints[World.endpointID(name)] = nil
            throw error
        }
        engines[index]?.addresses[attached.endpoint] = [attached.address]
        engines[index]?.lost.remove(attached.endpoint)
        tell(index, .network(id, .connect, container: nil))
        return attached
    }

    /// Endpoints of a network as the engine shows them, with the names and addresses that it knows.
    private func held(_ index: Int, on id: EngineNetworkID) -> [EndpointID: (name: String, addresses: [IPAddress])] {
        guard let engine = engines[index] else { return [:] }
        var all = engine.endpoints.filter { $0.value.network == id }.reduce(
            into: [EndpointID: (name: String, addresses: [IPAddress])]()
        ) { $0[$1.key] = ($1.value.container, engine.addresses[$1.key] ?? []) }
        guard !engine.isExact else { return all }
        for record in world.nodes[index].core.localRecords
        where record.engineNetwork == id && all[record.endpoint] == nil && !engine.lost.contains(record.endpoint) {
            all[record.endpoint] = ("", record.addresses)
        }
        return all
    }

    /// Ends a container of which the plugin hears nothing. Its interface is back in the host's namespace.
    func lose(_ index: Int, _ attached: World.Attached) {
        engines[index]?.endpoints[attached.endpoint] = nil
        engines[index]?.addresses[attached.endpoint] = nil
        engines[index, default: VirtualEngine()].lost.insert(attached.endpoint)
    }

    /// Gives an engine an endpoint by hand.
    func hold(_ index: Int, _ endpoint: EndpointID, on id: EngineNetworkID, _ name: String, _ addresses: [IPAddress]) {
        engines[index]?.endpoints[endpoint] = (id, name)
        engines[index]?.addresses[endpoint] = addresses
    }

    func setExact(_ index: Int, _ isExact: Bool) { engines[index]?.isExact = isExact }

    /// `docker stop`
    func stop(_ index: Int, _ attached: World.Attached) {
        engines[index]?.endpoints[attached.endpoint] = nil
        engines[index]?.addresses[attached.endpoint] = nil
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

/// Networks of other drivers of an engine.
public struct OtherNetworks {
    let docker: VirtualDocker
    let index: Int

    public var all: [EngineNetwork] { docker.otherNetworks(index) }
    @discardableResult
    public func create(_ wanted: EngineNetwork) -> EngineNetworkID? { docker.createOther(index, wanted) }
    public func remove(_ name: String) { docker.removeOther(index, name) }
    public func setAddressPools(_ pools: [EngineAddressPool]) { docker.setAddressPools(index, pools) }
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
    public func otherNetworks(_ index: Int) -> OtherNetworks { OtherNetworks(docker: docker, index: index) }
    public func dockerStop(_ index: Int, _ attached: Attached) { docker.stop(index, attached) }
    public func adopt(_ index: Int, _ container: EngineContainer) { docker.adopt(index, container) }
    public func adopt(_ index: Int, _ network: EngineNetwork) { docker.adopt(index, network) }
}
