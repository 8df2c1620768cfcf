import ArgumentParser
import FoundationEssentials
import NIOHTTP1
import OverlayDaemon
import OverlayModel
import OverlayNode

struct NetworkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "network", abstract: "List, inspect, create and remove networks of the cluster.",
        subcommands: [List.self, Inspect.self, Create.self, Remove.self, Disconnect.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the networks.",
            discussion: "NODES are the hosts that have the network, and HERE says whether this host's engine has it.")
        @OptionGroup var client: ClientOptions
        @Option(help: "Format of the output.") var format = OutputFormat.text

        func run() async throws {
            let data = try await client.raw(.GET, "/networks")
            if format == .json { return show(String(decoding: data, as: UTF8.self), terminator: "") }
            let networks = try JSONDecoder().decode([NetworkReport].self, from: data)
            printTable(
                ["NETWORK ID", "NAME", "VNI", "SUBNET", "ENDPOINTS", "NODES", "HERE"],
                networks.map { network in
                    [
                        String(network.id.prefix(12)), network.name.isEmpty ? "-" : network.name, "\(network.vni)",
                        network.subnets.map(\.subnet).joined(separator: ","), "\(network.endpoints.count)",
                        network.nodes.joined(separator: ",") + (network.isRemoved ? " (being removed)" : ""),
                        network.engineID == nil ? "no" : "yes",
                    ]
                })
        }
    }

    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show one network as JSON.")
        @OptionGroup var client: ClientOptions
        @Argument(help: "Name of the network, or the beginning of its id here or on the engine.") var network: String

        func run() async throws {
            let escaped = percentEncoded(network, keeping: "-._")
            try printJSON(try await client.ask(.GET, "/networks?name=\(escaped)", as: NetworkReport.self))
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Create a network on all hosts.",
            discussion: """
                This host's engine creates it, and the engines of the other hosts follow. The options are those of `docker network create`. \
                With none of them, a network that the cluster already has is created on this host.
                """)
        @OptionGroup var client: ClientOptions
        @Option(help: ArgumentHelp("Subnet in CIDR form. May be repeated.", valueName: "subnet")) var subnet: [String] = []
        @Option(help: ArgumentHelp("Part of a subnet from which addresses are handed out. May be repeated.", valueName: "range"))
        var ipRange: [String] = []
        @Option(help: ArgumentHelp("Gateway address of a subnet. May be repeated.", valueName: "address")) var gateway: [String] =
            []
        @Option(
            help: ArgumentHelp("Address that no container gets, with a name for it. May be repeated.", valueName: "name=address"))
        var auxAddress: [String] = []
        @Option(name: .shortAndLong, help: ArgumentHelp("Option of the network driver. May be repeated.", valueName: "key=value"))
        var opt: [String] = []
        @Option(help: ArgumentHelp("Option of the IPAM driver. May be repeated.", valueName: "key=value")) var ipamOpt: [String] =
            []
        @Option(help: ArgumentHelp("Label of the network. May be repeated.", valueName: "key=value")) var label: [String] = []
        @Flag(help: "Give containers no route out of the network.") var `internal` = false
        @Flag(help: "Hand out IPv6 addresses, too.") var ipv6 = false
        @Flag(help: "Passed on to the engine, which uses it in Swarm mode only.") var attachable = false
        @Argument(help: "Name of the network.") var name: String

        func run() async throws {
            var body = ControlBody.CreateNetwork(name: name)
            body.subnets = subnet
            body.ranges = ipRange
            body.gateways = gateway
            body.auxiliary = try pairs(auxAddress, "--aux-address")
            body.options = try pairs(opt, "--opt", needsValue: false)
            body.ipamOptions = try pairs(ipamOpt, "--ipam-opt")
            body.labels = try pairs(label, "--label", needsValue: false)
            body.isInternal = `internal`
            body.isIPv6 = ipv6
            body.isAttachable = attachable
            show(try await client.ask(.POST, "/networks/create", body, as: Message.self).message)
        }

        private func pairs(_ texts: [String], _ flag: String, needsValue: Bool = true) throws -> [String: String] {
            var all: [String: String] = [:]
            for text in texts {
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard let key = parts.first, !key.isEmpty, parts.count == 2 || !needsValue else {
                    throw ValidationError("\(flag) takes KEY=VALUE, not \(text)")
                }
                all[String(key)] = parts.count == 2 ? String(parts[1]) : ""
            }
            return all
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove a network.",
            discussion: """
                If no container is on it on any host, it is removed from all hosts; else from this host's engine only, if no container uses it \
                here.
                """)
        @OptionGroup var client: ClientOptions
        @Argument(help: "Name of the network, or the beginning of its id.") var network: String

        func run() async throws {
            show(
                try await client.ask(.POST, "/networks/remove", ControlBody.RemoveNetwork(name: network), as: Message.self).message)
        }
    }

    struct Disconnect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "disconnect", abstract: "Free an endpoint of this host whose container is gone.",
            discussion: """
                What an engine or the daemon left behind when it died goes by itself within a minute, once the engine was asked. This frees it \
                by hand where the engine cannot be asked. It refuses what a container of the engine has: use `docker network disconnect` then.
                """)
        @OptionGroup var client: ClientOptions
        @Flag(name: .shortAndLong, help: "Needed, as nothing else is freed than what no container has.") var force = false
        @Argument(help: "Name of the network, or the beginning of its id here or on the engine.") var network: String
        @Argument(
            help: "Id of the endpoint, its beginning, the name of its container, or an address, also one that no endpoint has.")
        var endpoint: String

        func run() async throws {
            let body = ControlBody.Disconnect(network: network, endpoint: endpoint, force: force)
            show(try await client.ask(.POST, "/networks/disconnect", body, as: Message.self).message)
        }
    }
}
