public import OverlayDriver
public import OverlayModel

/// Containers that do not run, with the networks that their configuration names, on the engines of a world.
public struct EngineConfigurations {
    private let docker: VirtualDocker

    public init(_ world: World) { docker = world.docker }

    /// `docker network prune`
    public func prune(_ index: Int, then done: @escaping () -> Void = {}) { docker.prune(index, then: done) }

    /// Gives an engine such a container. It has run where the id of the network is given.
    public func add(_ index: Int, _ container: ContainerID, on name: String, _ id: EngineNetworkID? = nil) {
        docker.configure(index, container, on: name, id)
    }

    /// How a container's last start ended; nil where that is not followed.
    public func start(_ index: Int, of container: ContainerID) -> ContainerStart? { docker.engines[index]?.starts[container] }
    public func setStart(_ index: Int, of container: ContainerID, _ start: ContainerStart) {
        docker.setStart(index, of: container, start)
    }

    /// `docker rm`
    public func remove(_ index: Int, _ container: ContainerID) { docker.forget(index, container) }

    /// Network that `docker start` finds; nil for "network … not found".
    public func network(_ index: Int, of container: ContainerID, named name: String) -> EngineNetworkID? {
        docker.network(index, of: container, named: name)
    }

    /// True if `docker run --ip` is possible on a network.
    public func takesAddresses(_ index: Int, _ id: EngineNetworkID) -> Bool {
        docker.engines[index]?.withSubnet.contains(id) == true
    }

    /// Containers that were started through the API, in this order.
    public func startCalls(_ index: Int) -> [ContainerID] { docker.engines[index]?.startCalls ?? [] }

    /// Ends a container while the plugin hears nothing of it.
    public func lose(_ index: Int, _ attached: World.Attached) { docker.lose(index, attached) }

    /// Lets an engine have an endpoint of which only the plugin was told.
    public func hold(_ index: Int, _ endpoint: EndpointID, on id: EngineNetworkID, _ name: String, _ addresses: [IPAddress]) {
        docker.hold(index, endpoint, on: id, name, addresses)
    }

    /// Sets whether an engine has what its own commands made, and nothing else.
    public func setExact(_ index: Int, _ isExact: Bool) { docker.setExact(index, isExact) }

    /// PoolID of a network that the engine created.
    public func pool(_ index: Int, of id: EngineNetworkID) -> SubnetID? { docker.engines[index]?.pools[id] }
}
