import NIOCore
import OverlayDriver
import OverlayModel

@testable import OverlayDocker

/// Ids of 64 hexadecimal digits, as engines make them.
enum Sample {
    static let network = String(repeating: "a1", count: 32)
    static let bridge = String(repeating: "b2", count: 32)
    static let container = String(repeating: "c3", count: 32)
    static let other = String(repeating: "d4", count: 32)
    static let endpoint = String(repeating: "e5", count: 32)
    static let unjoined = String(repeating: "f6", count: 32)

    /// `GET /networks/{id}` of 20.10.
    static let network20 = """
        {"Name":"blue","Id":"\(network)","Created":"2026-11-02T10:11:12.131415161Z","Scope":"global","Driver":"swift-overlay",
        "EnableIPv6":true,"IPAM":{"Driver":"swift-overlay","Options":{"net":"blue"},"Config":[
        {"Subnet":"10.5.0.0/24","IPRange":"10.5.0.128/25","Gateway":"10.5.0.1/24","AuxiliaryAddresses":{"printer":"10.5.0.9","x":"?"}},
        {"Subnet":"fd00::/64","Gateway":"fd00::1"},{"Subnet":"nonsense"},null]},"Internal":false,"Attachable":true,"Ingress":false,
        "ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{
        "\(container)":{"Name":"web","EndpointID":"\(endpoint)","MacAddress":"02:42:0a:05:00:02","IPv4Address":"10.5.0.2/24",
        "IPv6Address":""},
        "ep-\(unjoined)":{"Name":"db","EndpointID":"\(unjoined)","MacAddress":"","IPv4Address":"","IPv6Address":""},
        "broken":7,"worse":{"Name":"x","EndpointID":""}},
        "Options":{"encrypted":"true","odd":3},"Labels":{"team":"a"}}
        """

    /// `GET /networks/{id}` of 28, for an empty network.
    static let network28 = """
        {"Name":"green","Id":"\(network)","Created":"2026-11-02T10:11:12Z","Scope":"local","Driver":"swift-overlay:latest",
        "EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.6.0.0/24",
        "IPRange":"","Gateway":"10.6.0.1","AuxAddress":{"a":"10.6.0.7"}}]},"Internal":true,"Attachable":false,"Ingress":false,
        "ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":null,"Options":null,"Labels":null}
        """

    /// `GET /networks/{id}` of a network of another driver.
    static let bridge20 = """
        {"Name":"bridge","Id":"\(bridge)","Scope":"local","Driver":"bridge","EnableIPv6":false,"IPAM":{"Driver":"default",
        "Options":null,"Config":[{"Subnet":"172.17.0.0/16"}]},"Containers":{},"Options":{},"Labels":{}}
        """

    /// `GET /containers/{id}/json` of 28: no aliases, but DNS names.
    static let container28 = """
        {"Id":"\(container)","Created":"2026-11-02T10:11:12Z","Path":"sleep","Args":["1"],"State":{"Status":"running","Pid":77},
        "Name":"/web","RestartCount":0,"Config":{"Hostname":"www","Domainname":"example.org","ExposedPorts":{"443/udp":{},"80/tcp":{},
        "53":{},"0/tcp":{},"99999/tcp":{},"+7/tcp":{},"80/carrier-pigeon":{}},"Labels":{"app":"web","n":1},"Env":null},
        "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/1","Ports":{},"Networks":{
        "blue":{"IPAMConfig":null,"Links":null,"Aliases":null,"DriverOpts":null,"GwPriority":-7,"NetworkID":"\(network)",
        "EndpointID":"\(endpoint)","Gateway":"","IPAddress":"10.5.0.2","DNSNames":["web","cccccccccccc","www"]},
        "never":{"Aliases":[],"NetworkID":"","EndpointID":""},
        "bridge":{"Aliases":["b"],"NetworkID":"\(bridge)","EndpointID":""}}}}
        """

    /// `GET /containers/{id}/json` of 20.10: the host name is the short id, which is also an alias.
    static let container20 = """
        {"Id":"\(container)","Name":"/db","Config":{"Hostname":"\(container.prefix(12))","Domainname":"","ExposedPorts":null,"Labels":null},
        "NetworkSettings":{"Networks":{"blue":{"Aliases":["store","\(container.prefix(12))","store",null,5],"NetworkID":"\(network)",
        "EndpointID":"\(endpoint)"}}}}
        """

    /// `GET /containers/json`
    static let containers = """
        [{"Id":"\(container)","Names":["/other/link","/web"],"Image":"busybox","Labels":{"app":"web"},"State":"running",
        "NetworkSettings":{"Networks":{"blue":{"IPAMConfig":null,"Links":null,"Aliases":null,"NetworkID":"\(network)",
        "EndpointID":"\(endpoint)","DNSNames":null}}},"Mounts":[]},
        {"Id":"\(other)","Names":null,"Labels":null,"NetworkSettings":null}]
        """

    static func event(_ type: String, _ action: String, _ id: String, _ attributes: String) -> String {
        """
        {"status":"x","Type":"\(type)","Action":"\(action)","Actor":{"ID":"\(id)","Attributes":{\(attributes)}},"scope":"local",\
        "time":1793000000,"timeNano":1793000000123456789}

        """
    }

    static let connect = event("network", "connect", network, #""container":"\#(container)","name":"blue","type":"swift-overlay""#)
    static let rename = event("container", "rename", container, #""image":"busybox","name":"new","oldName":"/web""#)
    static let foreign = event("network", "create", bridge, #""name":"bridge","type":"bridge""#)

    static func id<ID: EngineIdentifier>(_ text: String) -> ID { ID(unchecked: text) }
}

extension IPAddress {
    /// Parses text that the tests themselves write.
    static func of(_ text: String) -> IPAddress { IPAddress(text) ?? IPAddress(v4: 0, 0, 0, 0) }
}

extension ByteBuffer {
    init(_ text: String) { self.init(string: text) }
}
