import Foundation
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayPluginServer

private let network = String(repeating: "5a7a384ff4e3", count: 6).prefix(64)
private let endpoint = String(repeating: "7567acc21e80", count: 6).prefix(64)
private let pool = SubnetID(7)

private func decode(_ path: String, _ body: String) throws(ProtocolError) -> DriverRequest {
    try PluginCodec.decode(path: path, body: Array(body.utf8)).get()
}

private func failure(_ path: String, _ body: String) -> ProtocolError? {
    if case .failure(let error) = PluginCodec.decode(path: path, body: Array(body.utf8)) { error } else { nil }
}

private func encoded(_ response: DriverResponse) -> String { String(decoding: PluginCodec.encode(response), as: UTF8.self) }

@Suite struct DecodingTests {
    @Test(arguments: [
        ("/Plugin.Activate", DriverRequest.activate), ("/NetworkDriver.GetCapabilities", .networkCapabilities),
        ("/IpamDriver.GetCapabilities", .ipamCapabilities), ("/IpamDriver.GetDefaultAddressSpaces", .defaultAddressSpaces),
    ])
    func `Calls without a body take any body`(path: String, request: DriverRequest) throws {
        for body in ["", "\n", "{}", "garbage", "{\"a\":1}"] { #expect(try decode(path, body) == request) }
    }

    static let bodied = [
        "/NetworkDriver.GwAllocCheck", "/NetworkDriver.AllocateNetwork", "/NetworkDriver.FreeNetwork",
        "/NetworkDriver.CreateNetwork",
        "/NetworkDriver.DeleteNetwork", "/NetworkDriver.CreateEndpoint", "/NetworkDriver.DeleteEndpoint",
        "/NetworkDriver.EndpointOperInfo", "/NetworkDriver.Join", "/NetworkDriver.Leave",
        "/NetworkDriver.ProgramExternalConnectivity",
        "/NetworkDriver.RevokeExternalConnectivity", "/NetworkDriver.DiscoverNew", "/NetworkDriver.DiscoverDelete",
        "/IpamDriver.RequestPool", "/IpamDriver.ReleasePool", "/IpamDriver.RequestAddress", "/IpamDriver.ReleaseAddress",
    ]

    @Test(arguments: bodied)
    func `An empty body is an error that says so`(path: String) throws {
        for body in ["", "\n", " \r\n\t"] {
            let error = try #require(failure(path, body))
            #expect(error.code == .malformed)
            #expect(error.message.hasPrefix(path.dropFirst() + ": the body is empty"))
        }
    }

    @Test(arguments: bodied)
    func `Anything but an object is an error`(path: String) {
        for body in ["null", "[]", "3", "\"text\"", "true", "{", "{\"NetworkID\"", "{}x", "\u{0}", "{\"a\":\u{0}1}", "\u{FEFF}"] {
            #expect(failure(path, body)?.code == .malformed, "\(body)")
        }
    }

    @Test(arguments: [
        ("/NetworkDriver.GwAllocCheck", DriverRequest.gatewayAllocationCheck), ("/NetworkDriver.FreeNetwork", .freeNetwork),
        ("/NetworkDriver.EndpointOperInfo", .endpointOperationalInfo), ("/NetworkDriver.DiscoverNew", .discoverNew),
        ("/NetworkDriver.DiscoverDelete", .discoverDelete),
        ("/NetworkDriver.ProgramExternalConnectivity", .programExternalConnectivity),
        ("/NetworkDriver.RevokeExternalConnectivity", .revokeExternalConnectivity),
    ])
    func `Calls without content take any object`(path: String, request: DriverRequest) throws {
        for body in ["{}", #"{"NetworkID":5,"Options":[1,{"a":null}],"x":1e300}"#] { #expect(try decode(path, body) == request) }
    }

    @Test func `AllocateNetwork gives the options back`() throws {
        #expect(
            try decode("/NetworkDriver.AllocateNetwork", #"{"NetworkID":"x","Options":{"a":"b","n":3},"IPv4Data":null}"#)
                == .allocateNetwork(options: ["a": "b"]))
        #expect(try decode("/NetworkDriver.AllocateNetwork", #"{"Options":null}"#) == .allocateNetwork(options: [:]))
    }

    @Test func `Networks`() throws {
        let body = """
            {"NetworkID":"\(network)","Options":{"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"encrypted":""}},
             "IPv4Data":[{"AddressSpace":"s","Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24","AuxAddresses":{"r1":"10.1.0.5/24"}}],
             "IPv6Data":[{"AddressSpace":"s","Pool":"fd00::/64"}],"Later":[1]}
            """
        #expect(
            try decode("/NetworkDriver.CreateNetwork", body)
                == .createNetwork(
                    CreateNetwork(
                        network: try #require(EngineNetworkID(String(network))),
                        options: [OptionName.enableIPv6: .bool(true), OptionName.generic: .object(["encrypted": .string("")])],
                        v4: [
                            IPAMData(
                                addressSpace: "s", pool: IPPrefix("10.1.0.0/24"), gateway: IPPrefix("10.1.0.1/24"),
                                auxiliary: ["r1": try #require(IPPrefix("10.1.0.5/24"))])
                        ],
                        v6: [IPAMData(addressSpace: "s", pool: IPPrefix("fd00::/64"))]
                    )))
    }

    @Test func `Absent, null and empty are equal`() throws {
        let forms = ["", #","Options":null,"IPv4Data":null,"IPv6Data":null"#, #","Options":{},"IPv4Data":[],"IPv6Data":[]"#]
        let requests = try forms.map { try decode("/NetworkDriver.CreateNetwork", #"{"NetworkID":"\#(network)"\#($0)}"#) }
        #expect(Set(requests).count == 1)

        let interfaces = [
            "", #","Interface":null,"Options":null"#, #","Interface":{},"Options":{}"#,
            #","Interface":{"Address":"","AddressIPv6":"","MacAddress":""}"#, #","Interface":{"Address":null}"#,
        ]
        let endpoints = try interfaces.map {
            try decode("/NetworkDriver.CreateEndpoint", #"{"NetworkID":"\#(network)","EndpointID":"\#(endpoint)"\#($0)}"#)
        }
        #expect(Set(endpoints).count == 1)
    }

    @Test func `Options may be of any type`() throws {
        let body = #"{"NetworkID":"\#(network)","Options":{"a":null,"b":[1,"x",{"c":[]}],"d":-1.5e3,"e":{"f":{}},"g":true}}"#
        guard case .createNetwork(let ask) = try decode("/NetworkDriver.CreateNetwork", body) else {
            throw RawError(description: "kind")
        }
        #expect(ask.options["a"] == .null)
        #expect(ask.options["b"] == .list([.number(1), .string("x"), .object(["c": .list([])])]))
        #expect(ask.options["d"] == .number(-1500))
        #expect(ask.options["g"] == .bool(true))
    }

    @Test func `Duplicate keys are tolerated`() throws {
        _ = try decode("/NetworkDriver.DeleteNetwork", #"{"NetworkID":"\#(network)","NetworkID":"\#(network)"}"#)
    }

    @Test func `Ids of Swarm are taken`() throws {
        #expect(
            try decode("/NetworkDriver.DeleteNetwork", #"{"NetworkID":"p2vwhhb4kyd5yy6lqpvbjnkxv"}"#)
                == .deleteNetwork(try #require(EngineNetworkID("p2vwhhb4kyd5yy6lqpvbjnkxv"))))
    }

    @Test func `Endpoints`() throws {
        let network = try #require(EngineNetworkID(String(network)))
        let endpoint = try #require(EndpointID(String(endpoint)))
        let ids = #""NetworkID":"\#(network)","EndpointID":"\#(endpoint)""#
        #expect(
            try decode(
                "/NetworkDriver.CreateEndpoint",
                #"{\#(ids),"Interface":{"Address":"10.1.0.9/24","AddressIPv6":"fd00::9/64","MacAddress":"02:AA:bb:cc:dd:01"}}"#)
                == .createEndpoint(
                    CreateEndpoint(
                        network: network, endpoint: endpoint, v4: IPPrefix("10.1.0.9/24"), v6: IPPrefix("fd00::9/64"),
                        mac: MACAddress("02:aa:bb:cc:dd:01"), options: [:])))
        #expect(
            try decode("/NetworkDriver.Join", #"{\#(ids),"SandboxKey":"/run/docker/netns/1","Options":5}"#)
                == .join(Join(network: network, endpoint: endpoint, sandboxKey: "/run/docker/netns/1")))
        #expect(try decode("/NetworkDriver.Leave", "{\(ids)}") == .leave(network: network, endpoint: endpoint))
        #expect(try decode("/NetworkDriver.DeleteEndpoint", "{\(ids)}") == .deleteEndpoint(network: network, endpoint: endpoint))
    }

    @Test func `Pools`() throws {
        #expect(
            try decode("/IpamDriver.RequestPool", #"{"AddressSpace":"s","Pool":"","SubPool":"","Options":null,"V6":false}"#)
                == .requestPool(RequestPool(addressSpace: "s", pool: nil, subPool: nil, networkName: nil, family: .v4)))
        #expect(
            try decode(
                "/IpamDriver.RequestPool",
                #"{"AddressSpace":"s","Pool":"fd00::/64","SubPool":"fd00::8000:0:0:0/65","Options":{"net":"blue","k":[1]},"V6":true}"#
            )
                == .requestPool(
                    RequestPool(
                        addressSpace: "s", pool: IPPrefix("fd00::/64"), subPool: IPPrefix("fd00::8000:0:0:0/65"),
                        networkName: "blue",
                        family: .v6)))
        #expect(failure("/IpamDriver.RequestPool", #"{"Pool":"fd00::/64","V6":false}"#)?.message.contains(#""fd00::/64""#) == true)
        #expect(failure("/IpamDriver.RequestPool", #"{"Options":{"net":5}}"#) != nil)
        #expect(try decode("/IpamDriver.ReleasePool", #"{"PoolID":"\#(pool)"}"#) == .releasePool(pool))
    }

    @Test func `The purpose of an address`() throws {
        func ask(_ rest: String) throws -> DriverRequest {
            try decode("/IpamDriver.RequestAddress", #"{"PoolID":"\#(pool)"\#(rest)}"#)
        }
        let gateway = #""RequestAddressType":"com.docker.network.gateway""#
        let mac = #""com.docker.network.endpoint.macaddress":"02:42:00:00:00:09""#
        #expect(
            try ask(#","Address":"","Options":{\#(gateway)}"#)
                == .requestAddress(RequestAddress(pool: pool, address: nil, purpose: .gateway)))
        #expect(
            try ask(#","Address":"10.1.0.1","Options":{\#(gateway),\#(mac)}"#)
                == .requestAddress(RequestAddress(pool: pool, address: IPAddress("10.1.0.1"), purpose: .gateway)))
        #expect(
            try ask(#","Address":"","Options":{\#(mac)}"#)
                == .requestAddress(
                    RequestAddress(pool: pool, address: nil, purpose: .endpoint(try #require(MACAddress("02:42:00:00:00:09"))))))
        let name = #""com.docker.network.endpoint.name":"web-1""#
        #expect(
            try ask(#","Address":"","Options":{\#(mac),\#(name)}"#)
                == .requestAddress(
                    RequestAddress(
                        pool: pool, address: nil, purpose: .endpoint(try #require(MACAddress("02:42:00:00:00:09"))),
                        containerName: "web-1")))
        #expect(
            try ask(#","Address":"10.1.0.5","Options":null"#)
                == .requestAddress(RequestAddress(pool: pool, address: IPAddress("10.1.0.5"), purpose: .auxiliary)))

        let path = "/IpamDriver.RequestAddress"
        #expect(failure(path, #"{"PoolID":"\#(pool)","Address":""}"#)?.message.contains("sent no MAC address") == true)
        #expect(failure(path, #"{"PoolID":"\#(pool)","Address":"10.1.0.5/24"}"#)?.message.contains(#""10.1.0.5/24""#) == true)
        for bad in [#""02:42""#, #""01:00:5e:00:00:01""#, #""00:00:00:00:00:00""#, "5", "[]"] {
            #expect(
                failure(path, #"{"PoolID":"\#(pool)","Options":{"com.docker.network.endpoint.macaddress":\#(bad)}}"#)?.code
                    == .malformed,
                "\(bad)")
        }
    }

    @Test(arguments: [
        "", "pool-0", "pool-000000000000000G", "pool-00000000000000 7", "pool-+000000000000007", "pool-000000000000000A",
    ])
    func `A PoolID that is none of ours is refused`(text: String) {
        for method in ["ReleasePool", "RequestAddress", "ReleaseAddress"] {
            #expect(failure("/IpamDriver.\(method)", #"{"PoolID":"\#(text)","Address":"10.0.0.1"}"#)?.code == .malformed)
        }
    }

    @Test func `ReleaseAddress`() throws {
        #expect(
            try decode("/IpamDriver.ReleaseAddress", #"{"PoolID":"\#(pool)","Address":"fd00::1"}"#)
                == .releaseAddress(pool, try #require(IPAddress("fd00::1"))))
        #expect(failure("/IpamDriver.ReleaseAddress", #"{"PoolID":"\#(pool)","Address":""}"#)?.message.contains("missing") == true)
    }

    @Test func `Errors name method, network, endpoint and value, and are bounded`() throws {
        let long = String(repeating: "9", count: 5000)
        let error = try #require(
            failure(
                "/NetworkDriver.CreateEndpoint",
                #"{"NetworkID":"\#(network)","EndpointID":"\#(endpoint)","Interface":{"Address":"\#(long)"}}"#))
        #expect(
            error.message.hasPrefix(
                "NetworkDriver.CreateEndpoint on network 5a7a384ff4e3 for endpoint 7567acc21e80: Interface.Address \"999"))
        #expect(error.message.utf8.count < 400)
        let type = try #require(failure("/NetworkDriver.CreateNetwork", #"{"NetworkID":"\#(network)","IPv4Data":[{"Pool":5}]}"#))
        #expect(
            type.message == "NetworkDriver.CreateNetwork on network 5a7a384ff4e3: the field IPv4Data[0].Pool is a number, not text")
        let id = try #require(failure("/NetworkDriver.DeleteNetwork", #"{"NetworkID":"../../etc\u0007"}"#))
        #expect(id.message.contains(#""../../etc\u{07}""#))
    }

    @Test func `Counts are bounded`() {
        let many = Array(repeating: #"{"Pool":"10.0.0.0/24"}"#, count: Limits.subnetsPerNetwork + 1).joined(separator: ",")
        #expect(
            failure("/NetworkDriver.CreateNetwork", #"{"NetworkID":"\#(network)","IPv4Data":[\#(many)]}"#)?.message.contains(
                "limit") == true)
        let aux = (0...Limits.auxiliaryAddresses).map { #""a\#($0)":"10.0.0.1/24""# }.joined(separator: ",")
        let body = #"{"NetworkID":"\#(network)","IPv4Data":[{"AuxAddresses":{\#(aux)}}]}"#
        #expect(failure("/NetworkDriver.CreateNetwork", body)?.message.contains("limit") == true)
    }

    @Test func `Depth is bounded`() {
        let open = String(repeating: "[", count: 1 << 20)
        #expect(failure("/NetworkDriver.DiscoverNew", open)?.message.contains("deeper than 64") == true)
        let options = String(repeating: #"{"a":"#, count: 1000) + "1" + String(repeating: "}", count: 1000)
        #expect(
            failure("/NetworkDriver.CreateNetwork", #"{"NetworkID":"\#(network)","Options":\#(options)}"#)?.message.contains(
                "deeper") == true)
        let text = String(repeating: "[{", count: 500)
        #expect((try? decode("/NetworkDriver.DiscoverNew", #"{"a":"\\\"\#(text)","b\\":"\#(text)"}"#)) == .discoverNew)
        func lists(_ count: Int) -> String {
            #"{"a":"# + String(repeating: "[", count: count) + String(repeating: "]", count: count) + "}"
        }
        #expect((try? decode("/NetworkDriver.DiscoverNew", lists(63))) == .discoverNew)
        #expect(failure("/NetworkDriver.DiscoverNew", lists(64)) != nil)
    }

    @Test func `Unknown methods`() {
        for path in [
            "", "/", "/NetworkDriver", "/NetworkDriver.", "/networkdriver.join", "/VolumeDriver.List", "//Plugin.Activate",
        ] {
            #expect(failure(path, "{}")?.code == .unknownMethod, "\(path)")
        }
    }
}

@Suite struct EncodingTests {
    @Test func `Constant answers`() {
        #expect(encoded(.done) == "{}")
        #expect(encoded(.activated) == #"{"Implements":["NetworkDriver","IpamDriver"]}"#)
        #expect(encoded(.networkCapabilities) == #"{"ConnectivityScope":"global","GwAllocChecker":true,"Scope":"local"}"#)
        #expect(
            String(decoding: PluginCodec.encode(.networkCapabilities, scope: .global), as: UTF8.self)
                == #"{"ConnectivityScope":"global","GwAllocChecker":true,"Scope":"global"}"#)
        #expect(encoded(.ipamCapabilities) == #"{"RequiresMACAddress":true,"RequiresRequestReplay":false}"#)
        #expect(
            encoded(.defaultAddressSpaces)
                == #"{"GlobalDefaultAddressSpace":"swift-overlay","LocalDefaultAddressSpace":"swift-overlay"}"#)
        #expect(encoded(.gatewayAllocationCheck) == #"{"SkipIPv4":false,"SkipIPv6":false}"#)
        #expect(encoded(.operationalInfo) == #"{"Value":{}}"#)
        #expect(encoded(.allocatedNetwork(options: ["a": "b"])) == #"{"Options":{"a":"b"}}"#)
    }

    @Test func `Answers with content`() throws {
        let prefix = try #require(IPPrefix("10.1.0.0/24"))
        #expect(encoded(.pool(pool, prefix, gateway: nil)) == #"{"Data":{},"Pool":"10.1.0.0/24","PoolID":"pool-0000000000000007"}"#)
        #expect(
            encoded(.pool(pool, prefix, gateway: IPPrefix("10.1.0.1/24")))
                == #"{"Data":{"com.docker.network.gateway":"10.1.0.1/24"},"Pool":"10.1.0.0/24","PoolID":"pool-0000000000000007"}"#)
        #expect(encoded(.address(try #require(IPPrefix("10.1.0.9/24")))) == #"{"Address":"10.1.0.9/24","Data":{}}"#)
        #expect(encoded(.endpoint(mac: nil)) == #"{"Interface":{}}"#)
        #expect(encoded(.endpoint(mac: MACAddress("02:00:00:00:00:0a"))) == #"{"Interface":{"MacAddress":"02:00:00:00:00:0a"}}"#)
        #expect(
            encoded(.joined(sourceName: "ov1", destinationPrefix: "eth"))
                == #"{"InterfaceName":{"DstPrefix":"eth","SrcName":"ov1"}}"#)
        // Go reads no 1.0 into an integer.
        #expect(
            encoded(.joined(sourceName: "ov1", destinationPrefix: "eth", routes: [try #require(IPPrefix("224.0.0.0/4"))]))
                == #"{"InterfaceName":{"DstPrefix":"eth","SrcName":"ov1"},"#
                + #""StaticRoutes":[{"Destination":"224.0.0.0/4","NextHop":"","RouteType":1}]}"#)
    }

    @Test func `A failure has both keys and never an empty text`() {
        #expect(
            encoded(.failed(DriverError(.exhausted, "no \"address\"\nleft")))
                == #"{"Err":"no \"address\"\nleft","Error":"no \"address\"\nleft"}"#)
        #expect(encoded(.failed(DriverError(.system, ""))) == #"{"Err":"unknown error","Error":"unknown error"}"#)
    }
}
