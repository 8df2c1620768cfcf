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
}
