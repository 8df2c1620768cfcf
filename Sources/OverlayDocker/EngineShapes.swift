import OverlayDriver
import OverlayModel

// Objects of the engine's API, under its own names. Other fields are ignored; missing and null ones count as empty. Elements of lists and
// maps that do not decode are left out; any other field of a wrong type makes the answer unusable.

/// `NetworkInspect` of `GET /networks` and `GET /networks/{id}`.
struct NetworkShown: Decodable {
    struct IPAMShown: Decodable {
        var Driver: String?
        var Options: [String: Lenient<String>]?
        var Config: [Lenient<ConfigShown>]?
    }

    struct ConfigShown: Decodable {
        var Subnet: String?
        var IPRange: String?
        var Gateway: String?
        var AuxiliaryAddresses: [String: Lenient<String>]?
        /// The same under its name in Go, which some versions send.
        var AuxAddress: [String: Lenient<String>]?

        var subnet: EngineNetwork.Subnet? {
            guard let prefix = Subnet.flatMap({ IPPrefix($0) }) else { return nil }
            var addresses: [String: IPAddress] = [:]
            for (name, text) in (AuxiliaryAddresses ?? [:]).merging(AuxAddress ?? [:], uniquingKeysWith: { first, _ in first }) {
                if let address = text.value.flatMap({ Self.address($0) }) { addresses[name] = address }
            }
            return EngineNetwork.Subnet(
                subnet: prefix, range: IPRange.flatMap { IPPrefix($0) }, gateway: Gateway.flatMap { Self.address($0) },
                auxiliary: addresses)
        }

        /// Address with or without a prefix length: engines send a gateway that a driver chose with that of its subnet.
        private static func address(_ text: String) -> IPAddress? { IPAddress(text) ?? IPPrefix(text)?.address }
    }

    struct EndpointShown: Decodable {
        var EndpointID: String?
        var Name: String?
        var IPv4Address: String?
        var IPv6Address: String?

        /// Addresses; nil where one is not understood.
        var addresses: [IPAddress]? {
            let texts = [IPv4Address, IPv6Address].compactMap { $0 }.filter { !$0.isEmpty }
            let found = texts.compactMap { IPPrefix($0)?.address ?? IPAddress($0) }
            return found.count == texts.count ? found : nil
        }
    }

    var Id: String?
    var Name: String?
    var Driver: String?
    var EnableIPv6: Bool?
    var Internal: Bool?
    var Attachable: Bool?
    var IPAM: IPAMShown?
    var Options: [String: Lenient<String>]?
    var Labels: [String: Lenient<String>]?
    /// Endpoints by container id, or by "ep-" and the endpoint's id while no container has joined.
    var Containers: [String: Lenient<EndpointShown>]?

    var driver: String { Driver ?? "" }

    func network() throws(EngineFailure) -> EngineNetwork {
        var network = EngineNetwork(
            id: try identifier(Id, "network"), name: Name ?? "", driver: driver, ipamDriver: IPAM?.Driver ?? "",
            labels: Labels?.compactMapValues(\.value) ?? [:], options: Options?.compactMapValues(\.value) ?? [:],
            ipamOptions: IPAM?.Options?.compactMapValues(\.value) ?? [:], subnets: (IPAM?.Config ?? []).compactMap(\.value?.subnet),
            isInternal: Internal ?? false, isIPv6: EnableIPv6 ?? false, isAttachable: Attachable ?? false)
        // A network that is shown by the managers of a swarm alone comes without its endpoints.
        var addresses = Containers.map { _ in Set<IPAddress>() }
        for shown in (Containers ?? [:]).values {
            guard let endpoint = shown.value, let id = EndpointID(endpoint.EndpointID ?? "") else {
                addresses = nil
                continue
            }
            network.endpoints[id] = endpoint.Name ?? ""
            if let own = endpoint.addresses { addresses?.formUnion(own) } else { addresses = nil }
        }
        network.addresses = addresses
        return network
    }
}

/// `SystemInfo` of `GET /info`.
struct InfoShown: Decodable {
    struct PoolShown: Decodable {
        var Base: String?
        var Size: Int?
    }

    /// Pools that the engine was configured with. Engines leave it out where there are none.
    var DefaultAddressPools: [Lenient<PoolShown>]?

    var pools: [EngineAddressPool] {
        (DefaultAddressPools ?? []).compactMap { shown in
            guard let base = shown.value?.Base.flatMap({ IPPrefix($0) }), let size = shown.value?.Size else { return nil }
            return EngineAddressPool(base: base, size: size)
        }
    }
}

/// `NetworkCreateRequest`.
struct NetworkToMake: Encodable {
    struct IPAMToMake: Encodable {
        var Driver: String
        var Options: [String: String]
        var Config: [ConfigToMake]
    }

    struct ConfigToMake: Encodable {
        var Subnet: String
        var IPRange: String?
        var Gateway: String?
        var AuxiliaryAddresses: [String: String]?
    }

    var Name: String
    /// True, because engines before 25 would create a second network of the same name.
    var CheckDuplicate = true
    var Driver: String
    var Internal: Bool
    var Attachable: Bool
    var EnableIPv6: Bool
    var Labels: [String: String]
    var Options: [String: String]
    var IPAM: IPAMToMake

    init(_ network: EngineNetwork, driver: String) {
        Name = network.name
        Driver = network.driver.isEmpty ? driver : network.driver
        Internal = network.isInternal
        Attachable = network.isAttachable
        EnableIPv6 = network.isIPv6
        Labels = network.labels
        Options = network.options
        IPAM = IPAMToMake(
            Driver: network.ipamDriver.isEmpty ? driver : network.ipamDriver, Options: network.ipamOptions,
            Config: network.subnets.map { subnet in
                ConfigToMake(
                    Subnet: subnet.subnet.description, IPRange: subnet.range?.description, Gateway: subnet.gateway?.description,
                    AuxiliaryAddresses: subnet.auxiliary.isEmpty ? nil : subnet.auxiliary.mapValues(\.description))
            })
    }
}

/// `NetworkSettings` of containers.
struct NetworksShown: Decodable {
    struct EndpointShown: Decodable {
        var NetworkID: String?
        var EndpointID: String?
        var Aliases: [Lenient<String>]?
        /// The container's name, aliases, short id and host name; from API 1.44 on.
        var DNSNames: [Lenient<String>]?
        /// Priority among the container's networks; from API 1.48 on.
        var GwPriority: Lenient<Int>?
    }

    var Networks: [String: Lenient<EndpointShown>]?

    /// Attachments by network. An endpoint of a container that never ran has no id and is left out.
    var attachments: [EngineContainer.Attachment] {
        (Networks ?? [:]).compactMap { name, shown -> EngineContainer.Attachment? in
            guard let endpoint = shown.value, let network = EngineNetworkID(endpoint.NetworkID ?? "") else { return nil }
            var names: [String] = []
            var seen: Set<String> = []
            for name in ((endpoint.Aliases ?? []) + (endpoint.DNSNames ?? [])).compactMap(\.value)
            where seen.insert(name).inserted { names.append(name) }
            return EngineContainer.Attachment(
                network: network, networkName: name, endpoint: EndpointID(endpoint.EndpointID ?? ""), aliases: names,
                priority: endpoint.GwPriority?.value ?? 0)
        }.sorted { ($0.network, $0.endpoint?.text ?? "") < ($1.network, $1.endpoint?.text ?? "") }
    }
}

/// `ContainerSummary` of `GET /containers/json`.
struct ContainerListed: Decodable {
    var Id: String?
    var Names: [Lenient<String>]?
    var Labels: [String: Lenient<String>]?
    var NetworkSettings: NetworksShown?

    func container() throws(EngineFailure) -> EngineContainer {
        return EngineContainer(
            id: try identifier(Id, "container"), name: Self.name(of: (Names ?? []).compactMap(\.value)),
            labels: Labels?.compactMapValues(\.value) ?? [:],
            attachments: NetworkSettings?.attachments ?? [])
    }

    /// The container's own name. One with a second slash is a link of another container.
    static func name(of names: [String]) -> String {
        names.map { $0.hasPrefix("/") ? String($0.dropFirst()) : $0 }.first { !$0.contains("/") } ?? ""
    }
}

/// `ContainerInspectResponse` of `GET /containers/{id}/json`.
struct ContainerShown: Decodable {
    struct ConfigShown: Decodable {
        var Hostname: String?
        var Domainname: String?
        var Labels: [String: Lenient<String>]?
        /// Ports; the values are empty objects.
        var ExposedPorts: FieldNames?
    }

    var Id: String?
    var Name: String?
    var Config: ConfigShown?
    var NetworkSettings: NetworksShown?

    func container() throws(EngineFailure) -> EngineContainer {
        let id: ContainerID = try identifier(Id, "container")
        let name = Name ?? ""
        return EngineContainer(
            id: id, name: name.hasPrefix("/") ? String(name.dropFirst()) : name, hostname: hostname(of: id),
            labels: Config?.Labels?.compactMapValues(\.value) ?? [:],
            ports: (Config?.ExposedPorts?.names ?? []).compactMap { Self.port($0) }.sorted(),
            attachments: NetworkSettings?.attachments ?? [])
    }

    private func hostname(of id: ContainerID) -> String {
        let host = Config?.Hostname ?? ""
        guard !host.isEmpty, host != id.short else { return "" }
        let domain = Config?.Domainname ?? ""
        return domain.isEmpty ? host : "\(host).\(domain)"
    }

    /// Port such as "80/tcp"; TCP if the transport is missing.
    private static func port(_ text: String) -> ExposedPort? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), isDigits(parts[0]), let number = UInt16(parts[0]),
            number > 0,
            let transport = parts.count == 1 ? .tcp : ExposedPort.Transport(name: parts[1])
        else { return nil }
        return ExposedPort(number: number, transport: transport)
    }
}

/// Names of the fields of an object. The values are not looked at: there may be 65 535 of them.
struct FieldNames: Decodable {
    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    var names: [String]

    init(from decoder: any Decoder) throws { names = try decoder.container(keyedBy: Key.self).allKeys.map(\.stringValue) }
}
