import ArgumentParser
import FoundationEssentials
import NIOHTTP1
import OverlayDaemon
import OverlayEngine
import OverlayModel

struct NetworkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "network", abstract: "Networks of the cluster.",
        subcommands: [List.self, Inspect.self, Create.self, Remove.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the networks.")
        @OptionGroup var client: ClientOptions
        @Option(help: "text or json.") var format = OutputFormat.text

        func run() async throws {
            let data = try await client.raw(.GET, "/networks")
            if format == .json { return print(String(decoding: data, as: UTF8.self), terminator: "") }
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
        static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show one network.")
        @OptionGroup var client: ClientOptions
        @Argument(help: "Name, id, or the engine's id.") var network: String

        func run() async throws {
            let escaped = percentEncoded(network, keeping: "-._")
            try printJSON(try await client.ask(.GET, "/networks?name=\(escaped)", as: NetworkReport.self))
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Create a network, by this host's engine and on all others.",
            discussion: """
                The flags are those of `docker network create`. Without any, a network that the cluster has is brought to this host.
                """)
        @OptionGroup var client: ClientOptions
        @Option(help: "Subnet in CIDR form; again for another one.") var subnet: [String] = []
        @Option(help: "Addresses are handed out of this part of a subnet.") var ipRange: [String] = []
        @Option(help: "Gateway of a subnet.") var gateway: [String] = []
        @Option(help: "NAME=ADDRESS that no container is given.") var auxAddress: [String] = []
        @Option(name: .shortAndLong, help: "KEY=VALUE for the driver.") var opt: [String] = []
        @Option(help: "KEY=VALUE for the IPAM driver.") var ipamOpt: [String] = []
        @Option(help: "KEY=VALUE.") var label: [String] = []
        @Flag(help: "No way out of the network.") var `internal` = false
        @Flag(help: "IPv6 addresses, too.") var ipv6 = false
        @Flag(help: "As docker's.") var attachable = false
        @Argument(help: "Name.") var name: String

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
            print(try await client.ask(.POST, "/networks/create", body, as: Message.self).message)
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
                With no container on it anywhere, it goes from all hosts; else from this one's engine only, if nobody uses it here.
                """)
        @OptionGroup var client: ClientOptions
        @Argument(help: "Name or id.") var network: String

        func run() async throws {
            print(
                try await client.ask(.POST, "/networks/remove", ControlBody.RemoveNetwork(name: network), as: Message.self).message)
        }
    }
}
