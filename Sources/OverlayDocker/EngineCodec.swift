import FoundationEssentials
import NIOCore
import NIOHTTP1
import OverlayDriver
import OverlayModel

/// Request to an engine.
struct EngineRequest: Sendable {
    var method = HTTPMethod.GET
    /// Path and query, escaped, without the version.
    var target: String
    var body: [UInt8]?
    /// Time until the whole answer must be there.
    var patience = TimeAmount.seconds(30)
    /// Longest body of the answer, in bytes.
    var limit = 8 << 20
    /// True if the engine may keep it waiting for a container's lock.
    var mayBlock = false
}

/// Calls to requests, answers and events to values. The shapes are those of moby's `api/swagger.yaml`, 1.41 and later.
struct EngineCodec: Sendable {
    /// Name of the plugin, as the engine knows it.
    let driver: String

    /// Target of `GET /events` for the events of ``EngineAPINews``.
    ///
    /// - Parameter since: Unix seconds. Engines answer before they listen to their own events, so an event in between would be lost; with
    ///   this the last ones are sent again.
    static func eventsTarget(since: Int) -> String {
        "/events?since=\(since)&filters="
            + percentEncoded(
                #"{"type":["network","container"],"#
                    + #""event":["create","connect","disconnect","destroy","prune","start","rename","die"]}"#)
    }

    /// True if a network with this driver is ours. The name of a managed plugin carries a tag, which users leave out.
    func isOurs(_ name: String) -> Bool {
        name == driver || Self.withoutTag(name) == driver || name == Self.withoutTag(driver)
    }

    private static func withoutTag(_ name: String) -> String {
        // Before a slash is a registry, whose colon is that of a port.
        guard let colon = name.lastIndex(of: ":"), !name[colon...].contains("/") else { return name }
        return String(name[..<colon])
    }

    /// Text of a refusal (`message`).
    static func message(_ body: ByteBuffer) -> String? {
        struct Refusal: Decodable {
            var message: String
        }
        guard let words = (try? decode(Refusal.self, body))?.message, !words.isEmpty else { return nil }
        return words
    }

    static func decode<T: Decodable>(_ type: T.Type, _ body: ByteBuffer) throws(EngineFailure) -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(body.readableBytesView))
        } catch let DecodingError.dataCorrupted(context) {
            throw EngineFailure(words: "the engine's answer is not understood: \(context.debugDescription)")
        } catch let DecodingError.typeMismatch(_, context) {
            let field = context.codingPath.map(\.stringValue).joined(separator: ".")
            throw EngineFailure(words: "the engine's answer is not understood: \(field): \(context.debugDescription)")
        } catch {
            throw EngineFailure(words: "the engine's answer is not understood: \(error)")
        }
    }

    // MARK: Calls

    func request(_ call: EngineAPICall) throws(EngineFailure) -> EngineRequest {
        switch call {
        case .networks, .otherNetworks: EngineRequest(target: "/networks", limit: 64 << 20)
        case .addressPools: EngineRequest(target: "/info")
        case .containers, .endpoints: EngineRequest(target: "/containers/json", limit: 64 << 20)
        case .containersOn(let id):
            EngineRequest(
                target: "/containers/json?filters=\(percentEncoded(#"{"network":["\#(id.text)"]}"#))", limit: 64 << 20)
        case .network(let id): EngineRequest(target: "/networks/\(percentEncoded(id.text))")
        case .container(let id), .interfaces(let id), .lastStart(let id):
            // A container that publishes all ports has 11 MB.
            EngineRequest(
                target: "/containers/\(percentEncoded(id.text))/json", patience: .seconds(60), limit: 32 << 20, mayBlock: true)
        case .createNetwork(let network):
            EngineRequest(method: .POST, target: "/networks/create", body: try Self.encode(NetworkToMake(network, driver: driver)))
        case .removeNetwork(let id): EngineRequest(method: .DELETE, target: "/networks/\(percentEncoded(id.text))")
        case .configured: EngineRequest(target: "/containers/json?all=1", limit: 64 << 20)
        case .start(let id):
            EngineRequest(
                method: .POST, target: "/containers/\(percentEncoded(id.text))/start", patience: .seconds(60), mayBlock: true)
        case .connect(let network, let container, let interface):
            EngineRequest(
                method: .POST, target: "/networks/\(percentEncoded(network.text))/connect",
                body: try Self.encode(InterfaceToMake(interface, of: container)), patience: .seconds(60), mayBlock: true)
        }
    }

    private static func encode(_ value: some Encodable) throws(EngineFailure) -> [UInt8] {
        do {
            return [UInt8](try JSONEncoder().encode(value))
        } catch {
            throw EngineFailure(words: "cannot be asked of the engine: \(error)")
        }
    }

    // MARK: Answers

    func answer(_ call: EngineAPICall, status: Int, body: ByteBuffer) -> EngineAPIAnswer {
        guard (200...299).contains(status) else { return Self.failure(call, status: status, body: body) }
        do {
            return try success(call, body)
        } catch {
            return .unavailable(error.words)
        }
    }

    private static func failure(_ call: EngineAPICall, status: Int, body: ByteBuffer) -> EngineAPIAnswer {
        switch call {
        case .network where status == 404, .container where status == 404, .removeNetwork where status == 404,
            .interfaces where status == 404, .connect where status == 404, .lastStart where status == 404,
            .start where status == 404:
            .notFound
        default: message(body).map { .refused($0) } ?? .unavailable("the engine answered with status \(status)")
        }
    }

    private func success(_ call: EngineAPICall, _ body: ByteBuffer) throws(EngineFailure) -> EngineAPIAnswer {
        switch call {
        case .networks:
            var networks: [EngineNetwork] = []
            for shown in try Self.decode([NetworkShown].self, body) where isOurs(shown.driver) {
                var network = try shown.network()
                network.endpoints = [:]
                network.addresses = nil
                networks.append(network)
            }
            return .networks(networks)
        case .otherNetworks:
            let shown = try Self.decode([Lenient<NetworkShown>].self, body).compactMap(\.value)
            let others = shown.filter { !isOurs($0.driver) }.compactMap { try? $0.network() }
            return .otherNetworks(
                others.map { other in
                    var other = other
                    other.endpoints = [:]
                    other.addresses = nil
                    return other
                })
        case .addressPools:
            return .addressPools(try Self.decode(InfoShown.self, body).pools)
        case .containers, .containersOn:
            var containers: [EngineContainer] = []
            for shown in try Self.decode([ContainerListed].self, body) { containers.append(try shown.container()) }
            return .containers(containers)
        case .endpoints:
            var endpoints: Set<EndpointID> = []
            for shown in try Self.decode([ContainerListed].self, body) {
                endpoints.formUnion(try shown.container().attachments.compactMap(\.endpoint))
            }
            return .endpoints(endpoints)
        case .network:
            let shown = try Self.decode(NetworkShown.self, body)
            return isOurs(shown.driver) ? .network(try shown.network()) : .notFound
        case .container: return .container(try Self.decode(ContainerShown.self, body).container())
        case .createNetwork: return .created(try identifier(try Self.decode(Created.self, body).Id, "network"))
        case .removeNetwork: return .removed
        case .configured:
            var containers: [ConfiguredContainer] = []
            for shown in try Self.decode([ContainerConfigured].self, body) { containers.append(try shown.container()) }
            return .configured(containers)
        case .interfaces: return .interfaces(try Self.decode(ContainerConfigured.self, body).interfaces)
        case .connect: return .connected
        case .lastStart: return .lastStart(try Self.decode(ContainerStarted.self, body).start(of: Self.withoutTag(driver)))
        case .start: return .started
        }
    }

    private struct Created: Decodable {
        var Id: String
    }

    // MARK: Events

    /// Event of interest; nil for any other.
    func news(_ line: ByteBuffer) throws(EngineFailure) -> EngineAPINews? {
        let event = try Self.decode(EventShown.self, line)
        let attributes = event.Actor?.Attributes?.compactMapValues(\.value) ?? [:]
        let id = event.Actor?.ID ?? ""
        switch event.`Type` {
        case "network" where event.Action == "prune": return .pruned
        case "network":
            guard let action = event.Action.flatMap({ EngineAPINews.NetworkAction(rawValue: $0) }) else { return nil }
            let container = attributes["container"].flatMap { ContainerID($0) }
            guard isOurs(attributes["type"] ?? "") else {
                switch action {
                case .connect, .disconnect:
                    guard let container else { return nil }
                    return .elsewhere(try identifier(id, "network"), action, container)
                case .create: return attributes["type"].map { _ in .otherNetworks }
                case .destroy: return .removedElsewhere
                }
            }
            return .network(try identifier(id, "network"), action, container: container)
        case "container":
            guard let action = event.Action.flatMap({ EngineAPINews.ContainerAction(rawValue: $0) }) else { return nil }
            return .container(try identifier(id, "container"), action)
        default: return nil
        }
    }

    private struct EventShown: Decodable {
        struct Actor: Decodable {
            var ID: String?
            var Attributes: [String: Lenient<String>]?
        }

        var `Type`: String?
        var Action: String?
        var Actor: Actor?
    }
}

/// Decodes an id that the engine sent.
func identifier<ID: EngineIdentifier>(_ text: String?, _ kind: String) throws(EngineFailure) -> ID {
    guard let id = ID(text ?? "") else {
        throw EngineFailure(words: "the engine's answer is not understood: \"\((text ?? "").prefix(80))\" is no \(kind) id")
    }
    return id
}

/// Element of a list or map; nil if it is not of this type, so that the other elements are kept.
struct Lenient<Value: Decodable>: Decodable {
    var value: Value?

    init(from decoder: any Decoder) { value = try? Value(from: decoder) }
}

extension Lenient: Sendable where Value: Sendable {}
