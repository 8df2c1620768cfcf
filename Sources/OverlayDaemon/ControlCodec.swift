import FoundationEssentials
import OverlayCatalogue
import OverlayCrypto
import OverlayDriver
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNode
import OverlayPluginServer

/// HTTP requests of the control socket to requests of the node, and its answers to JSON.
enum ControlCodec {
    /// Request that cannot be understood. Nothing has changed.
    struct Failure: Error, Hashable {
        /// HTTP status: 400, or 404 for an unknown path.
        var status: Int
        var reason: String
    }

    /// - Parameter dataPathPort: UDP port for VXLAN of a cluster that is made with this request.
    static func decode(_ call: ControlHTTPRequest, dataPathPort: UInt16) throws(Failure) -> ControlRequest {
        do {
            if let request = try request(call, dataPathPort) { return request }
        } catch let error as BadRequest {
            throw Failure(status: 400, reason: error.reason)
        } catch {
            throw Failure(status: 400, reason: "the body is not the JSON that \(call.path) takes: \(error)")
        }
        throw Failure(status: 404, reason: "no such path: \(call.method) \(call.path)")
    }

    static func encode(_ response: ControlResponse, transport counters: GossipTransport.Counters) -> ControlHTTPResponse {
        switch response {
        case .done(let text): json(Message(message: text))
        case .token(let report): json(report)
        case .nodes(let reports): json(reports)
        case .nodeChanges(let changes): json(changes)
        case .networks(let reports): json(reports)
        case .network(let report): json(report)
        case .status(let report): json(StatusBody(status: report, transport: counters))
        case .refused(let reason): error(409, reason)
        }
    }

    static func encode(_ failure: Failure) -> ControlHTTPResponse { error(failure.status, failure.reason) }

    private struct BadRequest: Error {
        var reason: String
    }

    /// nil for a path that does not exist.
    private static func request(_ call: ControlHTTPRequest, _ dataPathPort: UInt16) throws -> ControlRequest? {
        func body<T: Decodable>(_ type: T.Type) throws -> T {
            try JSONDecoder().decode(type, from: Data(call.body.isEmpty ? Array("{}".utf8) : call.body))
        }
        switch (call.method, call.path) {
        case ("POST", "/init"):
            let body = try body(ControlBody.Initialise.self)
            guard let pool = IPPrefix(body.defaultAddressPool ?? "10.32.0.0/12") else {
                throw BadRequest(reason: "\(body.defaultAddressPool ?? "") is not a subnet")
            }
            let root = RootKey()
            return .initialise(
                Initialise(
                    cluster: root.cluster, addressPool: pool, subnetLength: body.defaultAddressPoolMaskLength ?? 24,
                    dataPathPort: dataPathPort, rootKey: root.privateBytes, rootPublicKey: root.publicBytes,
                    gossipKey: systemRandom(count: 32), joinSecret: Self.joinSecret(ttl: try ttl(body.tokenTTL))))
        case ("POST", "/join"):
            let body = try body(ControlBody.Join.self)
            return .join(token: body.token, host: body.host, port: body.port)
        case ("POST", "/leave"): return .leave(force: try body(ControlBody.Force.self).force ?? false)
        case ("POST", "/promote"): return .promote(force: try body(ControlBody.Force.self).force ?? false)
        case ("GET", "/join-token"): return .joinToken(newSecret: nil)
        case ("POST", "/join-token/rotate"):
            return .joinToken(newSecret: Self.joinSecret(ttl: try ttl(try body(ControlBody.RotateToken.self).ttl)))
        case ("POST", "/nodes/remove"):
            let body = try body(ControlBody.RemoveNode.self)
            return .removeNode(body.node, force: body.force ?? false, now: body.now ?? false)
        case ("GET", "/nodes"): return .nodes
        case ("GET", "/nodes/changes"):
            guard let text = call.query["after"] else { return .nodeChanges(after: nil) }
            guard let number = UInt64(text) else { throw BadRequest(reason: "after=\(text) is not a number") }
            return .nodeChanges(after: number)
        case ("GET", "/networks"): return call.query["name"].map { .network($0) } ?? .networks
        case ("POST", "/networks/create"): return .createNetwork(try network(try body(ControlBody.CreateNetwork.self)))
        case ("POST", "/networks/remove"): return .removeNetwork(try body(ControlBody.RemoveNetwork.self).name)
        case ("POST", "/networks/disconnect"):
            let body = try body(ControlBody.Disconnect.self)
            return .disconnect(network: body.network, endpoint: body.endpoint, force: body.force ?? false)
        case ("GET", "/status"): return .status
        default: return nil
        }
    }

    private static func network(_ body: ControlBody.CreateNetwork) throws -> EngineNetwork {
        let subnets = body.subnets ?? []
        let ranges = try (body.ranges ?? []).map { try prefix($0, "--ip-range") }
        let gateways = try (body.gateways ?? []).map { try address($0, "--gateway") }
        let auxiliary = try (body.auxiliary ?? [:]).mapValues { try address($0, "--aux-address") }
        let made = try subnets.map { text in
            let subnet = try prefix(text, "--subnet")
            return EngineNetwork.Subnet(
                subnet: subnet, range: ranges.first { subnet.contains($0) }, gateway: gateways.first { subnet.contains($0) },
                auxiliary: auxiliary.filter { subnet.contains($0.value) })
        }
        let placed = made.count { $0.range != nil } + made.count { $0.gateway != nil } + made.reduce(0) { $0 + $1.auxiliary.count }
        guard placed == ranges.count + gateways.count + auxiliary.count else {
            throw BadRequest(
                reason:
                    "each --ip-range, --gateway and --aux-address must lie in one of the --subnets, at most one range and one gateway per subnet"
            )
        }
        return EngineNetwork(
            name: body.name, labels: body.labels ?? [:], options: body.options ?? [:], ipamOptions: body.ipamOptions ?? [:],
            subnets: made, isInternal: body.isInternal ?? false, isIPv6: body.isIPv6 ?? false,
            isAttachable: body.isAttachable ?? false)
    }

    private static func prefix(_ text: String, _ flag: String) throws -> IPPrefix {
        guard let value = IPPrefix(text) else { throw BadRequest(reason: "\(flag) \(text) is not a subnet such as 10.1.0.0/24") }
        return value
    }

    private static func address(_ text: String, _ flag: String) throws -> IPAddress {
        guard let value = IPAddress(text) else { throw BadRequest(reason: "\(flag) \(text) is not an IP address") }
        return value
    }

    private static func ttl(_ seconds: UInt64?) throws -> UInt64 {
        let seconds = seconds ?? Self.tokenTTL
        guard seconds <= Self.longestTTL else { throw BadRequest(reason: "a token's ttl is at most ten years, or 0 for ever") }
        return seconds
    }

    /// Lifetime of a token in seconds, where none is given, and the longest.
    private static let tokenTTL: UInt64 = 86400
    private static let longestTTL: UInt64 = 10 * 366 * 86400

    private static func joinSecret(ttl: UInt64) -> JoinSecret {
        JoinSecret(secret: systemRandom(count: 16), expires: ttl == 0 ? 0 : UnixClock.now() + ttl)
    }

    private struct Message: Encodable {
        var message: String
    }

    private struct StatusBody: Encodable {
        var status: StatusReport
        var transport: GossipTransport.Counters

        /// Encodes one object: the fields of the status, and the transport's counters beside them.
        func encode(to encoder: any Encoder) throws {
            try status.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(transport, forKey: .transport)
        }

        enum CodingKeys: CodingKey { case transport }
    }

    private static func json(_ value: some Encodable) -> ControlHTTPResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return error(500, "the answer could not be encoded") }
        return ControlHTTPResponse(body: Array(data) + [10])
    }

    private static func error(_ status: Int, _ reason: String) -> ControlHTTPResponse {
        let data = (try? JSONEncoder().encode(["error": reason])) ?? Data()
        return ControlHTTPResponse(status: status, body: Array(data) + [10])
    }
}
