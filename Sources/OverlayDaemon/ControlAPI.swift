import FoundationEssentials
import OverlayCatalogue
import OverlayCrypto
import OverlayDriver
import OverlayNode
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayPluginServer

/// The control socket: JSON over HTTP, spoken by `swift-overlay` the client, and by `curl --unix-socket` as well.
struct ControlAPI: Sendable {
    let controller: NodeController
    let transport: GossipTransport
    let dataPathPort: UInt16

    func answer(_ call: OverlayPluginServer.ControlRequest) async -> OverlayPluginServer.ControlResponse {
        let request: OverlayNode.ControlRequest
        do {
            guard let decoded = try decode(call) else { return Self.error(404, "no such path: \(call.method) \(call.path)") }
            request = decoded
        } catch let error as BadRequest {
            return Self.error(400, error.reason)
        } catch {
            return Self.error(400, "the body is not the JSON that \(call.path) takes: \(error)")
        }
        switch await controller.control(request) {
        case .done(let text): return Self.json(Message(message: text))
        case .token(let report): return Self.json(report)
        case .nodes(let reports): return Self.json(reports)
        case .nodeChanges(let changes): return Self.json(changes)
        case .networks(let reports): return Self.json(reports)
        case .network(let report): return Self.json(report)
        case .status(let report): return Self.json(StatusBody(status: report, transport: await transport.counters))
        case .refused(let reason): return Self.error(409, reason)
        }
    }

    private struct BadRequest: Error {
        var reason: String
    }

    private func decode(_ call: OverlayPluginServer.ControlRequest) throws -> OverlayNode.ControlRequest? {
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
            return .join(token: body.token, host: body.host, port: body.port ?? 7946)
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
        case ("GET", "/status"): return .status
        default: return nil
        }
    }

    private func network(_ body: ControlBody.CreateNetwork) throws -> EngineNetwork {
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
                reason: "every --ip-range, --gateway and --aux-address is to be in one --subnet, one of a kind in each")
        }
        return EngineNetwork(
            name: body.name, labels: body.labels ?? [:], options: body.options ?? [:], ipamOptions: body.ipamOptions ?? [:],
            subnets: made, isInternal: body.isInternal ?? false, isIPv6: body.isIPv6 ?? false,
            isAttachable: body.isAttachable ?? false)
    }

    private func prefix(_ text: String, _ flag: String) throws -> IPPrefix {
        guard let value = IPPrefix(text) else { throw BadRequest(reason: "\(flag) \(text) is not a subnet such as 10.1.0.0/24") }
        return value
    }

    private func address(_ text: String, _ flag: String) throws -> IPAddress {
        guard let value = IPAddress(text) else { throw BadRequest(reason: "\(flag) \(text) is not an IP address") }
        return value
    }

    private func ttl(_ seconds: UInt64?) throws -> UInt64 {
        let seconds = seconds ?? Self.tokenTTL
        guard seconds <= Self.longestTTL else { throw BadRequest(reason: "a token's ttl is at most ten years, or 0 for ever") }
        return seconds
    }

    /// Of a token, in seconds.
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

        /// One object: the transport's counters beside the fields of the status.
        func encode(to encoder: any Encoder) throws {
            try status.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(transport, forKey: .transport)
        }

        enum CodingKeys: CodingKey { case transport }
    }

    private static func json(_ value: some Encodable) -> OverlayPluginServer.ControlResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return error(500, "the answer could not be encoded") }
        return OverlayPluginServer.ControlResponse(body: Array(data) + [10])
    }

    private static func error(_ status: Int, _ reason: String) -> OverlayPluginServer.ControlResponse {
        let data = (try? JSONEncoder().encode(["error": reason])) ?? Data()
        return OverlayPluginServer.ControlResponse(status: status, body: Array(data) + [10])
    }
}

/// The bodies of control requests.
public enum ControlBody {
    public struct Initialise: Codable, Sendable {
        public var defaultAddressPool: String?
        public var defaultAddressPoolMaskLength: Int?
        /// Seconds for which the token holds; 0 is for ever, nil a day.
        public var tokenTTL: UInt64?
        public init(defaultAddressPool: String?, defaultAddressPoolMaskLength: Int?, tokenTTL: UInt64? = nil) {
            self.defaultAddressPool = defaultAddressPool
            self.defaultAddressPoolMaskLength = defaultAddressPoolMaskLength
            self.tokenTTL = tokenTTL
        }
    }

    public struct RotateToken: Codable, Sendable {
        /// Seconds; 0 is for ever, nil a day.
        public var ttl: UInt64?
        public init(ttl: UInt64?) { self.ttl = ttl }
    }

    public struct Join: Codable, Sendable {
        public var token: String
        public var host: String
        public var port: UInt16?
        public init(token: String, host: String, port: UInt16?) {
            self.token = token
            self.host = host
            self.port = port
        }
    }

    public struct Force: Codable, Sendable {
        public var force: Bool?
        public init(force: Bool?) { self.force = force }
    }

    /// What `docker network create` takes.
    public struct CreateNetwork: Codable, Sendable {
        public var name: String
        public var subnets: [String]?
        public var ranges: [String]?
        public var gateways: [String]?
        public var auxiliary: [String: String]?
        public var labels: [String: String]?
        public var options: [String: String]?
        public var ipamOptions: [String: String]?
        public var isInternal: Bool?
        public var isIPv6: Bool?
        public var isAttachable: Bool?
        public init(name: String) { self.name = name }
    }

    /// `swift-overlay network rm`, by name or the beginning of an id.
    public struct RemoveNetwork: Codable, Sendable {
        public var name: String
        public init(name: String) { self.name = name }
    }

    public struct RemoveNode: Codable, Sendable {
        public var node: String
        public var force: Bool?
        public var now: Bool?
        public init(node: String, force: Bool?, now: Bool?) {
            self.node = node
            self.force = force
            self.now = now
        }
    }
}
