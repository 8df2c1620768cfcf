import FoundationEssentials
import NIOCore
import NIOHTTP1
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayDocker

@Suite struct EngineCodecTests {
    private let codec = EngineCodec(driver: "swift-overlay")
    private let network = EngineNetworkID(unchecked: Sample.network)
    private let container = ContainerID(unchecked: Sample.container)
    private let endpoint = EndpointID(unchecked: Sample.endpoint)

    private func answer(_ call: EngineAPICall, _ body: String, _ status: Int = 200) -> EngineAPIAnswer {
        codec.answer(call, status: status, body: ByteBuffer(body))
    }

    private func isUnavailable(_ answer: EngineAPIAnswer) -> Bool {
        if case .unavailable(let words) = answer { !words.isEmpty } else { false }
    }

    @Test func `A network of 20_10 with its endpoints`() throws {
        var expected = EngineNetwork(
            id: network, name: "blue", driver: "swift-overlay", ipamDriver: "swift-overlay", labels: ["team": "a"],
            options: ["encrypted": "true"], ipamOptions: ["net": "blue"],
            subnets: [
                .init(
                    subnet: try #require(IPPrefix("10.5.0.0/24")), range: IPPrefix("10.5.0.128/25"), gateway: .of("10.5.0.1"),
                    auxiliary: ["printer": .of("10.5.0.9")]),
                .init(subnet: try #require(IPPrefix("fd00::/64")), gateway: .of("fd00::1")),
            ],
            isIPv6: true, isAttachable: true)
        expected.endpoints = [endpoint: "web", EndpointID(unchecked: Sample.unjoined): "db"]
        #expect(answer(.network(network), Sample.network20) == .network(expected))
        // A list shows no endpoints, whatever it contains.
        expected.endpoints = [:]
        #expect(answer(.networks, "[\(Sample.bridge20),\(Sample.network20)]") == .networks([expected]))
    }

    @Test func `A network of 28 with a tag and nulls`() throws {
        let expected = EngineNetwork(
            id: network, name: "green", driver: "swift-overlay:latest", ipamDriver: "default",
            subnets: [
                .init(
                    subnet: try #require(IPPrefix("10.6.0.0/24")), gateway: .of("10.6.0.1"), auxiliary: ["a": .of("10.6.0.7")])
            ],
            isInternal: true)
        #expect(answer(.network(network), Sample.network28) == .network(expected))
    }

    @Test func `A network of another driver is none`() {
        #expect(answer(.network(EngineNetworkID(unchecked: Sample.bridge)), Sample.bridge20) == .notFound)
        #expect(answer(.networks, "[\(Sample.bridge20)]") == .networks([]))
    }

    @Test func `Networks of other drivers, and what does not decode among them`() throws {
        guard case .otherNetworks(let others) = answer(.otherNetworks, "[\(Sample.bridge20),\(Sample.network20),7,{\"Id\":\"\"}]")
        else {
            Issue.record("another answer")
            return
        }
        #expect(others.map(\.driver) == ["bridge"])
        #expect(others.allSatisfy { $0.endpoints.isEmpty })
    }

    @Test(
        arguments: [
            (#"{"Containers":3}"#, []), (#"{"DefaultAddressPools":null}"#, []),
            (
                #"{"DefaultAddressPools":[{"Base":"10.200.0.0/16","Size":24},{"Base":"x","Size":24},{"Base":"10.0.0.0/8","Size":4},5]}"#,
                [24]
            ),
        ] as [(String, [Int])])
    func `Pools that an engine was configured with`(body: String, sizes: [Int]) throws {
        guard case .addressPools(let pools) = answer(.addressPools, body) else {
            Issue.record("another answer")
            return
        }
        #expect(pools.map(\.size) == sizes)
        #expect(try codec.request(.addressPools).target == "/info")
    }

    @Test(arguments: [("create", EngineAPINews.otherNetworks), ("destroy", .removedElsewhere), ("connect", nil)])
    func `Networks of other drivers that come and go`(action: String, news: EngineAPINews?) throws {
        let line = #"{"Type":"network","Action":"\#(action)","Actor":{"ID":"\#(Sample.bridge)","Attributes":{"type":"bridge"}}}"#
        #expect(try codec.news(ByteBuffer(string: line)) == news)
    }

    @Test(
        arguments: [
            ([], "192.168.240.0/20"), (["192.168.255.255/32"], "192.168.224.0/20"),
            (["192.168.0.0/16"], nil), (["0.0.0.0/0"], nil), (["10.0.0.0/8", "fd00::/8"], "192.168.240.0/20"),
            (["192.168.200.0/21", "192.168.208.0/20", "192.168.248.0/30", "192.168.224.0/20"], "192.168.176.0/20"),
            (["192.168.16.0/20", "192.168.32.0/19", "192.168.64.0/18", "192.168.128.0/17"], "192.168.0.0/20"),
            (["192.168.16.0/20", "192.168.32.0/19", "192.168.64.0/18", "192.168.128.0/17", "192.168.3.0/24"], nil),
            (["192.168.240.0/20", "192.168.128.0/17"], "192.168.112.0/20"),
            (["192.168.128.0/17", "192.168.240.0/24"], "192.168.112.0/20"),
        ] as [([String], String?)])
    func `The last free subnet of a pool`(taken: [String], free: String?) throws {
        let pool = EngineAddressPool(base: try #require(IPPrefix("192.168.0.0/16")), size: 20)
        #expect(pool?.last(avoiding: taken.compactMap { IPPrefix($0) }) == free.flatMap { IPPrefix($0) })
        #expect(EngineAddressPool.builtIn.count == 16)
        #expect(EngineAddressPool(base: try #require(IPPrefix("10.0.0.0/24")), size: 16) == nil)
        let six = EngineAddressPool(base: try #require(IPPrefix("fd00::/8")), size: 64)
        #expect(six?.last(avoiding: []) == IPPrefix("fdff:ffff:ffff:ffff::/64"))
    }

    @Test(
        arguments: [
            ("swift-overlay", "swift-overlay", true), ("swift-overlay", "swift-overlay:latest", true),
            ("swift-overlay:latest", "swift-overlay", true), ("swift-overlay:a", "swift-overlay:b", false),
            ("swift-overlay", "swift-overlay2", false), ("swift-overlay", "", false), ("swift-overlay", "overlay", false),
            ("host:5000/me/overlay", "host:5000/me/overlay:v1", true), ("host", "host:5000/me/overlay", false),
        ] as [(String, String, Bool)])
    func `A driver's name with and without its tag`(ours: String, shown: String, same: Bool) {
        #expect(EngineCodec(driver: ours).isOurs(shown) == same)
    }

    @Test func `A container of 28 has names instead of aliases`() {
        let expected = EngineContainer(
            id: container, name: "web", hostname: "www.example.org", labels: ["app": "web"],
            ports: [
                ExposedPort(number: 53, transport: .tcp), ExposedPort(number: 80, transport: .tcp),
                ExposedPort(number: 443, transport: .udp),
            ],
            attachments: [
                .init(
                    network: network, networkName: "blue", endpoint: endpoint, aliases: ["web", "cccccccccccc", "www"], priority: -7
                ),
                .init(network: EngineNetworkID(unchecked: Sample.bridge), networkName: "bridge", endpoint: nil, aliases: ["b"]),
            ])
        #expect(answer(.container(container), Sample.container28) == .container(expected))
    }

    @Test func `A container of 20_10 has its short id among the aliases`() {
        let expected = EngineContainer(
            id: container, name: "db",
            attachments: [.init(network: network, networkName: "blue", endpoint: endpoint, aliases: ["store", container.short])])
        #expect(answer(.container(container), Sample.container20) == .container(expected))
    }

    @Test func `Containers are listed by the name that is no link`() {
        let expected = [
            EngineContainer(
                id: container, name: "web", labels: ["app": "web"],
                attachments: [.init(network: network, networkName: "blue", endpoint: endpoint)]),
            EngineContainer(id: ContainerID(unchecked: Sample.other), name: ""),
        ]
        #expect(answer(.containers, Sample.containers) == .containers(expected))
        #expect(answer(.containers, "[]") == .containers([]))
    }

    @Test func `Refusals are the engine's words`() {
        let create = EngineAPICall.createNetwork(EngineNetwork(name: "x"))
        let words = #"{"message":"plugin \"swift-overlay\" not found"}"#
        #expect(answer(create, words, 404) == .refused(#"plugin "swift-overlay" not found"#))
        #expect(answer(create, #"{"Id":"\#(Sample.network)","Warning":""}"#, 201) == .created(network))
        #expect(answer(.removeNetwork(network), "", 204) == .removed)
        #expect(answer(.removeNetwork(network), words, 404) == .notFound)
        #expect(answer(.removeNetwork(network), #"{"message":"has active endpoints"}"#, 403) == .refused("has active endpoints"))
        #expect(answer(.network(network), words, 404) == .notFound)
        #expect(answer(.container(container), words, 404) == .notFound)
        #expect(answer(.containers, #"{"message":"no"}"#, 500) == .refused("no"))
        for body in ["", "<html>", "{}", "null", #"{"message":""}"#, #"{"message":7}"#] {
            #expect(answer(create, body, 502) == .unavailable("the engine answered with status 502"))
        }
    }

    @Test func `Hostile answers are unavailable and never more`() {
        let calls: [EngineAPICall] = [
            .networks, .containers, .network(network), .container(container), .createNetwork(EngineNetwork(name: "x")), .configured,
        ]
        let bodies = [
            "", " ", "null", "7", "true", "\"\"", "{", "[", "[null]", "[7]", "[[]]", "{]", "\u{0}", "{\"Id\":",
            "{\"Id\":\"\\ud800\"}",
            #"{"Id":7}"#, #"[{"Id":7,"Driver":"swift-overlay"}]"#, #"[{"Id":"","Driver":"swift-overlay"}]"#,
            #"{"Id":"","Driver":"swift-overlay"}"#, #"{"Id":"../../x","Driver":"swift-overlay"}"#,
            #"{"Id":null,"Driver":"swift-overlay"}"#, #"{"Driver":"swift-overlay","Id":"\#(String(repeating: "a", count: 65))"}"#,
            String(repeating: "[", count: 100_000), String(repeating: #"{"Id":"#, count: 20_000),
            #"{"Driver":"swift-overlay","Id":"\#(String(repeating: "a", count: 1_000_000))"}"#,
        ]
        for call in calls {
            for body in bodies { #expect(isUnavailable(answer(call, body)), "\(call): \(body.prefix(60))") }
        }
        #expect(isUnavailable(codec.answer(.networks, status: 200, body: ByteBuffer(bytes: [0x5B, 0x22, 0xFF, 0xFE, 0x22, 0x5D]))))
    }

    @Test(arguments: [Sample.network20, Sample.network28, Sample.container20, Sample.container28, Sample.containers])
    func `Truncated answers are unavailable`(body: String) {
        let bytes = Array(body.utf8)
        for call in [EngineAPICall.networks, .containers, .containersOn(network), .network(network), .container(container)] {
            for length in stride(from: 0, to: bytes.count, by: 7) {
                #expect(isUnavailable(codec.answer(call, status: 200, body: ByteBuffer(bytes: bytes[..<length]))))
            }
        }
    }

    @Test func `Nulls everywhere are defaults`() {
        let shown = answer(
            .network(network),
            """
            {"Id":"\(Sample.network)","Name":null,"Driver":"swift-overlay","IPAM":null,"EnableIPv6":null,"Internal":null,
            "Attachable":null,"Containers":null,"Options":null,"Labels":null}
            """)
        #expect(shown == .network(EngineNetwork(id: network, name: "", driver: "swift-overlay")))
        #expect(
            answer(.container(container), #"{"Id":"\#(Sample.container)","Name":null,"Config":null,"NetworkSettings":null}"#)
                == .container(EngineContainer(id: container, name: "")))
        let inside = """
            {"Id":"\(Sample.container)","Config":{"Hostname":null,"Domainname":null,"Labels":{"a":null},"ExposedPorts":{"1/tcp":null}},
            "NetworkSettings":{"Networks":{"a":null,"b":{"NetworkID":null},"c":{"NetworkID":"\(Sample.network)","EndpointID":null}}}}
            """
        #expect(
            answer(.container(container), inside)
                == .container(
                    EngineContainer(
                        id: container, name: "", ports: [ExposedPort(number: 1, transport: .tcp)],
                        attachments: [.init(network: network, networkName: "c", endpoint: nil)])))
    }

    @Test func `A network is asked for in the engine's words`() throws {
        var network = EngineNetwork(
            name: "blue", labels: ["l": "1"], options: ["encrypted": ""], ipamOptions: ["net": "blue"],
            subnets: [
                .init(
                    subnet: try #require(IPPrefix("10.5.0.0/24")), range: IPPrefix("10.5.0.128/25"), gateway: .of("10.5.0.1"),
                    auxiliary: ["printer": .of("10.5.0.9")]), .init(subnet: try #require(IPPrefix("fd00::/64"))),
            ],
            isInternal: true, isIPv6: true, isAttachable: true)
        let request = try codec.request(.createNetwork(network))
        #expect(request.target == "/networks/create" && !request.mayBlock)
        let sent = try JSONDecoder().decode(OptionValue.self, from: Data(try #require(request.body)))
        #expect(
            sent
                == .object([
                    "Name": .string("blue"), "CheckDuplicate": .bool(true), "Driver": .string("swift-overlay"),
                    "Internal": .bool(true),
                    "Attachable": .bool(true), "EnableIPv6": .bool(true), "Labels": .object(["l": .string("1")]),
                    "Options": .object(["encrypted": .string("")]),
                    "IPAM": .object([
                        "Driver": .string("swift-overlay"), "Options": .object(["net": .string("blue")]),
                        "Config": .list([
                            .object([
                                "Subnet": .string("10.5.0.0/24"), "IPRange": .string("10.5.0.128/25"),
                                "Gateway": .string("10.5.0.1"),
                                "AuxiliaryAddresses": .object(["printer": .string("10.5.0.9")]),
                            ]), .object(["Subnet": .string("fd00::/64")]),
                        ]),
                    ]),
                ]))
        network.driver = "bridge"
        network.ipamDriver = "default"
        let body = try codec.request(.createNetwork(network)).body
        let other = try JSONDecoder().decode(OptionValue.self, from: Data(try #require(body)))
        #expect(other.object?["Driver"] == .string("bridge"))
        #expect(other.object?["IPAM"]?.object?["Driver"] == .string("default"))
    }

    /// As 20.10 lists a container that is stopped, and one that never ran.
    @Test func `Configurations name networks of containers that do not run`() {
        let body = """
            [{"Id":"\(Sample.container)","Names":["/pc"],"State":"exited","NetworkSettings":{"Networks":{
            "shop":{"IPAMConfig":null,"Aliases":null,"NetworkID":"\(Sample.network)","EndpointID":""},"odd":7}}},
            {"Id":"\(Sample.other)","State":"created","NetworkSettings":{"Networks":{"shop":{"NetworkID":"","EndpointID":""}}}}]
            """
        #expect(
            answer(.configured, body)
                == .configured([
                    ConfiguredContainer(
                        id: container, references: [.init(name: "shop", network: network)], name: "pc", hasEnded: true),
                    ConfiguredContainer(
                        id: ContainerID(unchecked: Sample.other), references: [.init(name: "shop", network: nil)]),
                ]))
    }

    @Test func `The last start of a container is read, and it is started again`() throws {
        func start(_ state: String, _ policy: String, _ count: Int = 3) -> EngineAPIAnswer {
            answer(
                .lastStart(container), #"{"State":\#(state),"RestartCount":\#(count),"HostConfig":{"RestartPolicy":\#(policy)}}"#)
        }
        for policy in ["always", "unless-stopped", "on-failure", "no", ""] {
            let isRestarted = policy == "always" || policy == "unless-stopped"
            #expect(
                start(#"{"Status":"exited","Error":"x"}"#, #"{"Name":"\#(policy)"}"#, 0)
                    == .lastStart(ContainerStart(hasEnded: true, error: "x", isRestarted: isRestarted)))
        }
        #expect(
            start(#"{"Status":"exited","Error":"network x not found"}"#, #"{"Name":"always"}"#)
                == .lastStart(ContainerStart(hasEnded: true, error: "network x not found", isRestarted: true)))
        #expect(
            start(#"{"Status":"running","Error":""}"#, #"{"Name":"no"}"#)
                == .lastStart(ContainerStart(hasEnded: false, error: "", isRestarted: false)))
        // Its start failed as the plugin was not there.
        let error = #"Post http://%2Frun%2Fdocker%2Fplugins%2Fswift-overlay.sock/IpamDriver.RequestAddress: dial unix"#
        for (state, policy, isMissed) in [("exited", "always", true), ("exited", "no", false), ("running", "always", false)] {
            guard case .lastStart(let found) = start(#"{"Status":"\#(state)","Error":"\#(error)"}"#, #"{"Name":"\#(policy)"}"#)
            else {
                Issue.record("no answer")
                continue
            }
            #expect(found.isMissed == isMissed)
        }
        #expect(
            start("{}", "7") == .lastStart(ContainerStart(hasEnded: false, error: "", isRestarted: false)))
        let request = try codec.request(.start(container))
        #expect(request.method == .POST && request.target == "/containers/\(Sample.container)/start" && request.mayBlock)
    }

    /// As 20.10 shows a network whose container runs, and one that the managers of a swarm tell of.
    @Test(
        arguments: [
            (#"{"c":{"EndpointID":"E","IPv4Address":"10.5.0.2/24","IPv6Address":""}}"#, ["10.5.0.2"]), ("{}", []), ("null", nil),
            (#"{"c":{"EndpointID":"E","IPv4Address":"10.5.0.2/24"},"d":7}"#, nil), (#"{"c":{"EndpointID":"short"}}"#, nil),
            (#"{"c":{"EndpointID":"E","IPv4Address":"x"}}"#, nil),
            (#"{"c":{"EndpointID":"E","IPv6Address":"fd00::2/64"}}"#, ["fd00::2"]),
        ] as [(String, [String]?)])
    func `A network tells all endpoints, or it is not believed that one is missing`(containers: String, addresses: [String]?) {
        let text = containers.replacing("\"E\"", with: "\"\(Sample.container)\"")
        let body = #"{"Id":"\#(Sample.network)","Name":"n","Driver":"swift-overlay","Containers":\#(text)}"#
        guard case .network(let shown) = answer(.network(network), body) else {
            Issue.record("no answer")
            return
        }
        #expect(shown.addresses == addresses.map { Set($0.compactMap { IPAddress($0) }) })
    }

    @Test func `Endpoints of running containers are read`() {
        let body = """
            [{"Id":"\(Sample.container)","NetworkSettings":{"Networks":{"a":{"NetworkID":"\(Sample.network)","EndpointID":"\(Sample.other)"},
            "b":{"NetworkID":"\(Sample.network)","EndpointID":""}}}}]
            """
        #expect(answer(.endpoints, body) == .endpoints([EndpointID(unchecked: Sample.other)]))
        guard case .unavailable = answer(.endpoints, #"[{"Id":"x"}]"#) else {
            Issue.record("a list that is not understood counts")
            return
        }
    }

    @Test func `A container is connected as its configuration has it`() throws {
        let body = """
            {"Id":"\(Sample.container)","NetworkSettings":{"Networks":{
            "shop":{"IPAMConfig":{"IPv4Address":"10.5.0.9","IPv6Address":""},
            "Links":["db:store"],"Aliases":["web",7,"pc"],"DriverOpts":{"name":"bee"},"NetworkID":"\(Sample.network)"},
            "plain":{"IPAMConfig":null,"Links":null,"Aliases":null,"DriverOpts":null}}}}
            """
        let interface = EngineInterface(
            v4: "10.5.0.9", links: ["db:store"], aliases: ["web", "pc"], driverOptions: ["name": "bee"])
        #expect(answer(.interfaces(container), body) == .interfaces(["shop": interface, "plain": EngineInterface()]))
        let request = try codec.request(.connect(network, container, interface))
        #expect(request.method == .POST && request.target == "/networks/\(Sample.network)/connect" && request.mayBlock)
        let sent = try JSONDecoder().decode(OptionValue.self, from: Data(try #require(request.body))).object
        #expect(sent?["Container"] == .string(Sample.container))
        let settings = sent?["EndpointConfig"]?.object
        #expect(settings?["IPAMConfig"]?.object?["IPv4Address"] == .string("10.5.0.9"))
        #expect(settings?["Aliases"] == .list([.string("web"), .string("pc")]))
        #expect(settings?["Links"] == .list([.string("db:store")]))
        #expect(answer(.connect(network, container, interface), "", 200) == .connected)
        #expect(answer(.connect(network, container, interface), #"{"message":"no"}"#, 404) == .notFound)
    }

    @Test func `Only inspections of containers may block`() throws {
        let inspection = try codec.request(.container(container))
        #expect(inspection.mayBlock && inspection.patience == .seconds(60))
        for call in [EngineAPICall.networks, .containers, .network(network), .removeNetwork(network)] {
            let request = try codec.request(call)
            #expect(!request.mayBlock && request.patience == .seconds(30))
        }
    }
}

@Suite struct EngineEventTests {
    private let codec = EngineCodec(driver: "swift-overlay")
    private let network = EngineNetworkID(unchecked: Sample.network)
    private let container = ContainerID(unchecked: Sample.container)

    private func news(_ text: String) throws -> EngineAPINews? { try codec.news(ByteBuffer(text)) }

    @Test func `Events of ours are told`() throws {
        #expect(try news(Sample.connect) == .network(network, .connect, container: container))
        #expect(try news(Sample.rename) == .container(container, .rename))
        #expect(try news(Sample.foreign) == .otherNetworks)
        for action in ["connect", "disconnect"] {
            let text = Sample.event("network", action, Sample.bridge, #""container":"\#(Sample.container)","type":"bridge""#)
            #expect(
                try news(text)
                    == .elsewhere(EngineNetworkID(unchecked: Sample.bridge), try #require(.init(rawValue: action)), container))
        }
        for action in ["create", "disconnect", "destroy"] {
            let text = Sample.event("network", action, Sample.network, #""name":"blue","type":"swift-overlay:latest""#)
            #expect(
                try news(text) == .network(network, try #require(EngineAPINews.NetworkAction(rawValue: action)), container: nil))
        }
        #expect(try news(Sample.event("network", "prune", "", #""reclaimed":"0""#)) == .pruned)
        #expect(try news(Sample.event("network", "destroy", Sample.bridge, #""name":"b","type":"bridge""#)) == .removedElsewhere)
        for action in ["create", "start", "die", "destroy"] {
            let text = Sample.event("container", action, Sample.container, #""name":"web","exitCode":"0""#)
            #expect(try news(text) == .container(container, try #require(EngineAPINews.ContainerAction(rawValue: action))))
        }
    }

    @Test func `Events of no interest are not`() throws {
        for text in [
            Sample.event("container", "prune", "", ""), Sample.event("image", "prune", "", ""), "{}", #"{"Type":null}"#,
            Sample.event("network", "remove", Sample.network, #""type":"swift-overlay""#),
            Sample.event("network", "connect", Sample.network, ""), Sample.event("image", "pull", "x", ""),
            #"{"Type":"network","Action":"create","Actor":null}"#,
            Sample.event("network", "create", Sample.network, #""type":["swift-overlay"]"#),
        ] { #expect(try news(text) == nil, "\(text)") }
        // Text that cannot be a container's id is ignored.
        let odd = Sample.event("network", "connect", Sample.network, #""type":"swift-overlay","container":"lb-x""#)
        #expect(try news(odd) == .network(network, .connect, container: nil))
    }

    @Test(
        arguments: [
            "", "{", "null", "[]", "7", #"{"Type":7}"#, #"{"Type":"container","Action":"start"}"#,
            Sample.event("container", "die", "no id", ""), Sample.event("network", "create", "", #""type":"swift-overlay""#),
            #"{"Type":"network","Action":"create","Actor":7}"#, String(repeating: #"{"Actor":"#, count: 50_000),
        ])
    func `Events that are not understood are failures`(text: String) {
        #expect(throws: EngineFailure.self) { try news(text) }
    }

    @Test(arguments: [1, 2, 3, 7, 64, 1000])
    func `Lines come whole out of any pieces`(size: Int) throws {
        let text = "one\n\n \r\ntwo\n" + Sample.connect + Sample.rename + "rest"
        var lines = EventLines()
        var seen: [String] = []
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            lines.append(ByteBuffer(bytes: bytes.prefix(size)))
            bytes = bytes.dropFirst(size)
            while let line = lines.next() { seen.append(String(buffer: line) + "\n") }
        }
        #expect(seen == ["one\n", "two\n", Sample.connect, Sample.rename])
    }

    @Test func `A line has a bound, ended or not`() {
        let longest = String(repeating: "x", count: EventLines.limit)
        var lines = EventLines()
        lines.append(ByteBuffer(longest))
        #expect(lines.next() == nil)
        lines.append(ByteBuffer("\n"))
        #expect(lines.next()?.readableBytes == EventLines.limit)
        // A line that is too long is left out and the next one is not, however they arrive.
        for pieces in [[longest + "x\none\n"], [longest + "x", longest, "x\none\n"], [longest, "x\n", "one\n"]] {
            var lines = EventLines()
            var seen: [String] = []
            for piece in pieces {
                lines.append(ByteBuffer(piece))
                while let line = lines.next() { seen.append(String(buffer: line)) }
            }
            #expect(seen == ["one"])
        }
    }
}

@Suite struct EngineEndpointTests {
    @Test func `An endpoint is a Unix socket`() throws {
        #expect(try EngineEndpoint("unix:///var/run/docker.sock").path == "/var/run/docker.sock")
        #expect(try EngineEndpoint("/run/d.sock").url("/_ping") == "http+unix://%2frun%2fd%2esock/_ping")
        for text in ["", "unix://", "tcp://127.0.0.1:2375", "docker.sock", "/a\0b", "/" + String(repeating: "x", count: 107)] {
            #expect(throws: EngineEndpointError.self) { try EngineEndpoint(text) }
        }
    }

    @Test func `Versions are numbers`() {
        #expect(APIVersion("1.41") == .assumed)
        #expect((APIVersion("1.9") ?? .latest) < .assumed)
        for text in ["", "1", "1.", ".1", "1.2.3", "a.b", "1.-4", "1.+4", "99999999999999999999.1", "v1.41"] {
            #expect(APIVersion(text) == nil)
        }
        let old =
            "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version"
        #expect(APIVersion(refusal: old)?.description == "1.44")
        let new = "client version 1.99 is too new. Maximum supported API version is 1.40."
        #expect(APIVersion(refusal: new)?.description == "1.40")
        #expect(APIVersion(refusal: "API version is 1.40") == nil)
        #expect(APIVersion(refusal: "too old") == nil)
    }
}
