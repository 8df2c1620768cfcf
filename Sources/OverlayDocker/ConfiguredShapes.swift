import OverlayDriver
import OverlayModel

/// `ContainerSummary` and `ContainerInspectResponse`, with the networks that the configuration names.
struct ContainerConfigured: Decodable {
    struct NetworksShown: Decodable {
        var Networks: [String: Lenient<InterfaceShown>]?
    }

    /// `EndpointSettings`
    struct InterfaceShown: Decodable {
        struct AddressesShown: Decodable {
            var IPv4Address: String?
            var IPv6Address: String?
            var LinkLocalIPs: [Lenient<String>]?
        }

        var NetworkID: String?
        var IPAMConfig: Lenient<AddressesShown>?
        var Links: [Lenient<String>]?
        var Aliases: [Lenient<String>]?
        var DriverOpts: [String: Lenient<String>]?

        var interface: EngineInterface {
            let addresses = IPAMConfig?.value
            return EngineInterface(
                v4: Self.filled(addresses?.IPv4Address), v6: Self.filled(addresses?.IPv6Address),
                linkLocal: (addresses?.LinkLocalIPs ?? []).compactMap(\.value), links: (Links ?? []).compactMap(\.value),
                aliases: (Aliases ?? []).compactMap(\.value), driverOptions: (DriverOpts ?? [:]).compactMapValues(\.value))
        }

        private static func filled(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
    }

    var Id: String?
    var Names: Lenient<[Lenient<String>]>?
    /// A word in the list of containers, and an object in an inspection.
    var State: Lenient<String>?
    var NetworkSettings: NetworksShown?

    private var shown: [(name: String, interface: InterfaceShown)] {
        (NetworkSettings?.Networks ?? [:]).compactMap { name, shown in shown.value.map { (name, $0) } }.sorted { $0.name < $1.name }
    }

    func container() throws(EngineFailure) -> ConfiguredContainer {
        ConfiguredContainer(
            id: try identifier(Id, "container"),
            references: shown.map { .init(name: $0.name, network: EngineNetworkID($0.interface.NetworkID ?? "")) },
            name: ContainerListed.name(of: (Names?.value ?? []).compactMap(\.value)), hasEnded: State?.value == "exited")
    }

    var interfaces: [String: EngineInterface] { shown.reduce(into: [:]) { $0[$1.name] = $1.interface.interface } }
}

/// `ContainerInspectResponse`, with the last start.
struct ContainerStarted: Decodable {
    struct StateShown: Decodable {
        var Status: String?
        var Error: String?
    }

    struct HostConfigShown: Decodable {
        struct PolicyShown: Decodable {
            var Name: String?
        }

        var RestartPolicy: Lenient<PolicyShown>?
    }

    var State: StateShown?
    var HostConfig: Lenient<HostConfigShown>?
    var RestartCount: Int?

    /// - Parameter driver: Name of the plugin. The errors of calls that it did not take have it, in the path of its socket.
    func start(of driver: String) -> ContainerStart {
        let policy = HostConfig?.value?.RestartPolicy?.value?.Name ?? ""
        let hasEnded = State?.Status == "exited"
        let error = State?.Error ?? ""
        let hasPolicy = !policy.isEmpty && policy != "no"
        // Newer engines count no restart that failed. One by `on-failure` shows in the count alone.
        let isWanted = policy == "always" || policy == "unless-stopped"
        return ContainerStart(
            hasEnded: hasEnded, error: error, isRestarted: isWanted || hasPolicy && (RestartCount ?? 0) > 0,
            isMissed: hasPolicy && hasEnded && !driver.isEmpty && error.contains(driver))
    }
}

/// `NetworkConnectRequest`
struct InterfaceToMake: Encodable {
    struct SettingsToMake: Encodable {
        var IPAMConfig: AddressesToMake?
        var Links: [String]
        var Aliases: [String]
        var DriverOpts: [String: String]
    }

    struct AddressesToMake: Encodable {
        var IPv4Address: String?
        var IPv6Address: String?
        var LinkLocalIPs: [String]
    }

    var Container: String
    var EndpointConfig: SettingsToMake

    init(_ interface: EngineInterface, of container: ContainerID) {
        Container = container.text
        let hasAddresses = interface.v4 != nil || interface.v6 != nil || !interface.linkLocal.isEmpty
        EndpointConfig = SettingsToMake(
            IPAMConfig: hasAddresses
                ? AddressesToMake(IPv4Address: interface.v4, IPv6Address: interface.v6, LinkLocalIPs: interface.linkLocal) : nil,
            Links: interface.links, Aliases: interface.aliases, DriverOpts: interface.driverOptions)
    }
}
