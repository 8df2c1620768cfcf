public import OverlayDriver
import OverlayModel

/// Remote driver and remote IPAM protocol of the engine: a path and a body to a ``DriverRequest``, a ``DriverResponse`` to a body.
/// Pure functions. The source of the shapes is moby `libnetwork/drivers/remote/api` and `libnetwork/ipams/remote/api`.
public enum PluginCodec {
    /// Content type that engines ask for in `Accept`.
    public static let contentType = "application/vnd.docker.plugins.v1.2+json"

    /// Scope that the network driver reports.
    public enum Scope: String, Sendable {
        /// Networks of one engine. A plugin found by its socket must say this: Swarm refuses such plugins.
        case local
        /// Networks of the Swarm; only for a managed plugin (`docker plugin install`).
        case global
    }

    /// Decodes a request. Everything from outside is checked for form here: ids, addresses, lengths, depth.
    public static func decode(path: String, body: [UInt8]) -> Result<DriverRequest, ProtocolError> {
        do throws(ProtocolError) {
            return .success(try request(path: path, body: body))
        } catch {
            return .failure(error)
        }
    }

    private static func request(path: String, body: [UInt8]) throws(ProtocolError) -> DriverRequest {
        // Engines send no body with these, and one that did would not matter.
        switch path {
        case "/Plugin.Activate": return .activate
        case "/NetworkDriver.GetCapabilities": return .networkCapabilities
        case "/IpamDriver.GetCapabilities": return .ipamCapabilities
        case "/IpamDriver.GetDefaultAddressSpaces": return .defaultAddressSpaces
        default: break
        }

        guard let method = methods[path] else { throw ProtocolError(.unknownMethod, "there is no plugin method \(excerpt(path))") }
        var reader = try BodyReader(method: String(path.dropFirst()), body: body)
        return try method(&reader)
    }

    /// Methods whose bodies list the ports of a container: each port twice or three times, whatever their number. Nothing is done with the
    /// lists here, as traffic from outside comes over docker_gwbridge, and the engine's API tells which ports are exposed.
    private static let portMethods: Set = [
        "/NetworkDriver.CreateEndpoint", "/NetworkDriver.Join", "/NetworkDriver.ProgramExternalConnectivity",
    ]

    private static let withoutPorts = JSONSelection.fields(
        ["Options": .fields([OptionName.portMap: .nothing, OptionName.exposedPorts: .nothing], others: .everything)],
        others: .everything)

    /// Collector for the body of a call.
    static func collector(for path: String) -> BodyCollector {
        portMethods.contains(path)
            ? BodyCollector(path, limit: Limits.portBodyBytes, selection: withoutPorts) : BodyCollector(path)
    }

    private typealias Method = @Sendable (inout BodyReader) throws(ProtocolError) -> DriverRequest

    private static let methods: [String: Method] = [
        // The content of these does not matter here. The reader has checked that they are JSON objects.
        "/NetworkDriver.GwAllocCheck": { _ in .gatewayAllocationCheck },
        "/NetworkDriver.EndpointOperInfo": { _ in .endpointOperationalInfo },
        "/NetworkDriver.ProgramExternalConnectivity": { _ in .programExternalConnectivity },
        "/NetworkDriver.RevokeExternalConnectivity": { _ in .revokeExternalConnectivity },
        "/NetworkDriver.DiscoverNew": { _ in .discoverNew },
        "/NetworkDriver.DiscoverDelete": { _ in .discoverDelete },
        "/NetworkDriver.FreeNetwork": { _ in .freeNetwork },

        "/NetworkDriver.AllocateNetwork": { reader throws(ProtocolError) in try reader.allocateNetwork() },
        "/NetworkDriver.CreateNetwork": { reader throws(ProtocolError) in try reader.createNetwork() },
        "/NetworkDriver.DeleteNetwork": { reader throws(ProtocolError) in try reader.deleteNetwork() },
        "/NetworkDriver.CreateEndpoint": { reader throws(ProtocolError) in try reader.createEndpoint() },
        "/NetworkDriver.DeleteEndpoint": { reader throws(ProtocolError) in try reader.deleteEndpoint() },
        "/NetworkDriver.Join": { reader throws(ProtocolError) in try reader.join() },
        "/NetworkDriver.Leave": { reader throws(ProtocolError) in try reader.leave() },
        "/IpamDriver.RequestPool": { reader throws(ProtocolError) in try reader.requestPool() },
        "/IpamDriver.ReleasePool": { reader throws(ProtocolError) in try reader.releasePool() },
        "/IpamDriver.RequestAddress": { reader throws(ProtocolError) in try reader.requestAddress() },
        "/IpamDriver.ReleaseAddress": { reader throws(ProtocolError) in try reader.releaseAddress() },
    ]

    /// JSON text of an answer.
    public static func encode(_ response: DriverResponse, scope: Scope = .local) -> [UInt8] {
        JSONText.render(value(of: response, scope: scope))
    }

    /// JSON text of a failure. Engines read `Err` for network driver calls, and for IPAM calls `Error` with status 200 and `Err` with
    /// others: both are always there.
    public static func encode(failure message: String) -> [UInt8] {
        JSONText.render(failure(message))
    }

    /// Route through the link itself (libnetwork's `types.CONNECTED`), whose next hop does not count.
    private static func staticRoute(_ destination: IPPrefix) -> OptionValue {
        .object(["Destination": .string(destination.description), "RouteType": .number(1), "NextHop": .string("")])
    }

    /// HTTP status of a driver's refusal. With 200 engines show the bare text after "remote: "; otherwise they put the method before it.
    static let refusalStatus = 200

    private static func failure(_ message: String) -> OptionValue {
        // An empty text would mean success.
        let text = message.isEmpty ? "unknown error" : message
        return .object(["Err": .string(text), "Error": .string(text)])
    }

    private static func value(of response: DriverResponse, scope: Scope) -> OptionValue {
        switch response {
        case .done:
            .object([:])
        case .activated:
            .object(["Implements": .list([.string("NetworkDriver"), .string("IpamDriver")])])
        case .networkCapabilities:
            // Connectivity is global whatever the scope: a network spans hosts.
            .object(["Scope": .string(scope.rawValue), "ConnectivityScope": .string("global"), "GwAllocChecker": .bool(true)])
        case .ipamCapabilities:
            // No replay: leases are on disk. The MAC is what makes RequestAddress idempotent.
            .object(["RequiresMACAddress": .bool(true), "RequiresRequestReplay": .bool(false)])
        case .defaultAddressSpaces:
            .object([
                "LocalDefaultAddressSpace": .string(DriverRequest.addressSpace),
                "GlobalDefaultAddressSpace": .string(DriverRequest.addressSpace),
            ])
        case .gatewayAllocationCheck:
            .object(["SkipIPv4": .bool(false), "SkipIPv6": .bool(false)])
        case .operationalInfo:
            .object(["Value": .object([:])])
        case .allocatedNetwork(let options):
            .object(["Options": .object(options.mapValues { .string($0) })])
        case .pool(let id, let pool, let gateway):
            .object([
                "PoolID": .string(id.description),
                "Pool": .string(pool.description),
                "Data": .object(gateway.map { [OptionName.gateway: .string($0.description)] } ?? [:]),
            ])
        case .address(let address):
            .object(["Address": .string(address.description), "Data": .object([:])])
        case .endpoint(let mac):
            // An empty object is safe with every engine; a field that the request had set is not, even with the same value.
            .object(["Interface": .object(mac.map { ["MacAddress": .string($0.description)] } ?? [:])])
        case .joined(let sourceName, let destinationPrefix, let routes):
            // Nothing else: a gateway would do away with docker_gwbridge, and a route without a destination stops engine 28.
            .object(
                ["InterfaceName": .object(["SrcName": .string(sourceName), "DstPrefix": .string(destinationPrefix)])]
                    .merging(routes.isEmpty ? [:] : ["StaticRoutes": .list(routes.map { staticRoute($0) })]) { $1 })
        case .failed(let error):
            failure(error.message)
        }
    }
}
