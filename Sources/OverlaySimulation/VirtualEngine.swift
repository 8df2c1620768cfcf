import OverlayDriver
import OverlayModel
import OverlayNode

/// State of one engine that has an API, as `docker network` and `docker ps` show it.
struct VirtualEngine {
    var isUp = true
    /// True if the engine is connected, but leaves calls of its API without an answer.
    var isMute = false
    var networks: [EngineNetworkID: EngineNetwork] = [:]
    /// Networks of other drivers, docker_gwbridge among them.
    var others: [EngineNetworkID: EngineNetwork] = [:]
    /// Pools that the engine was configured with; none for those that are built in.
    var addressPools: [EngineAddressPool] = []
    /// Pools of the networks that were created here, as the plugin named them.
    var pools: [EngineNetworkID: SubnetID] = [:]
    /// Networks that were created with a subnet. Engines take `--ip` on those alone.
    var withSubnet: Set<EngineNetworkID> = []
    /// Networks and container names of endpoints.
    var endpoints: [EndpointID: (network: EngineNetworkID, container: String)] = [:]
    /// Addresses of endpoints that the engine's own commands made.
    var addresses: [EndpointID: [IPAddress]] = [:]
    /// Endpoints that the engine does not have any more, though the plugin was not told: their containers ended while nobody heard.
    var lost: Set<EndpointID> = []
    /// True if the engine has what its own commands made, and nothing else; if not, it has what the plugin has, too, as callers of
    /// the plugin took the engine's place.
    var isExact = false
    var containers: [ContainerID: EngineContainer] = [:]
    /// Networks in the configuration of containers that do not run, by name: the id is nil for one that never ran.
    var configured: [ContainerID: [String: EngineNetworkID?]] = [:]
    /// Last starts of those containers that matter to a test.
    var starts: [ContainerID: ContainerStart] = [:]
    /// Containers that were started through the API, in this order.
    var startCalls: [ContainerID] = []
    /// Names of networks that are being created.
    var creating: Set<String> = []
    /// Networks that are being removed.
    var removing: Set<EngineNetworkID> = []
    /// Calls of the plugin that wait for an answer.
    var calls: [RequestID: (DriverResponse) -> Void] = [:]
    /// Calls of the engine's API that wait for an answer.
    var apiCalls: [EffectID: (EngineAPIAnswer) -> Void] = [:]
    /// Number of networks whose creation was begun.
    var created = 0
    /// Interfaces of containers, as the engine's own store has them.
    var attached: [EndpointID: EngineAttachment] = [:]
    /// Number of containers that were begun to be started.
    var started = 0
    /// Number of times that the engine ended.
    var life = 0
    /// True if containers outlive the engine (`live-restore`).
    var livesOn = true
    /// Fate of the endpoints of other containers when it starts.
    var staleEndpoints = StaleEndpoints.deleted
}
