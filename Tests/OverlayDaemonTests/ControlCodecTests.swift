import FoundationEssentials
import OverlayCatalogue
import OverlayDriver
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNode
import OverlayPluginServer
import Testing

@testable import OverlayDaemon

@Suite struct ControlDecodingTests {
    private func decode(
        _ method: String, _ path: String, _ body: String = "", query: [String: String] = [:]
    ) throws(ControlCodec.Failure) -> ControlRequest {
        try ControlCodec.decode(
            ControlHTTPRequest(method: method, path: path, query: query, body: Array(body.utf8)), dataPathPort: 4790)
    }

    private func failure(_ method: String, _ path: String, _ body: String = "", query: [String: String] = [:])
        -> ControlCodec.Failure?
    {
        #expect(throws: ControlCodec.Failure.self) { try decode(method, path, body, query: query) }
    }

    @Test func `Init takes its defaults, and a key of its own each time`() throws {
        guard case .initialise(let first) = try decode("POST", "/init"),
            case .initialise(let second) = try decode("POST", "/init", "{}")
        else { throw Unexpected() }
        #expect("\(first.addressPool)" == "10.32.0.0/12" && first.subnetLength == 24 && first.dataPathPort == 4790)
        #expect(first.rootKey.count == 32 && first.gossipKey.count == 32 && first.joinSecret.secret.count == 16)
        #expect(first.rootKey != second.rootKey && first.gossipKey != second.gossipKey && first.cluster != second.cluster)
        #expect(first.joinSecret.secret != second.joinSecret.secret)
        let day = UnixClock.now() + 86_400
        #expect(day - first.joinSecret.expires < 60)
    }

    @Test func `Init takes what is given`() throws {
        let body = #"{"defaultAddressPool":"10.64.0.0/16","defaultAddressPoolMaskLength":26,"tokenTTL":0}"#
        guard case .initialise(let request) = try decode("POST", "/init", body) else { throw Unexpected() }
        #expect("\(request.addressPool)" == "10.64.0.0/16" && request.subnetLength == 26 && request.joinSecret.expires == 0)
        #expect(failure("POST", "/init", #"{"defaultAddressPool":"all"}"#) == .init(status: 400, reason: "all is not a subnet"))
    }

    @Test func `Join takes token, host and port`() throws {
        guard case .join("T", "h", nil) = try decode("POST", "/join", #"{"token":"T","host":"h"}"#) else { throw Unexpected() }
        guard case .join("T", "h", 9) = try decode("POST", "/join", #"{"token":"T","host":"h","port":9}"#) else {
            throw Unexpected()
        }
        for body in [
            "", "{}", #"{"token":"T"}"#, #"{"token":"T","host":"h","port":65536}"#, #"{"token":"T","host":"h","port":-1}"#,
        ] {
            #expect(failure("POST", "/join", body)?.status == 400, "\(body)")
        }
    }

    @Test func `Leave and promote are without force unless it is given`() throws {
        guard case .leave(force: false) = try decode("POST", "/leave") else { throw Unexpected() }
        guard case .leave(force: true) = try decode("POST", "/leave", #"{"force":true}"#) else { throw Unexpected() }
        guard case .promote(force: false) = try decode("POST", "/promote", "{}") else { throw Unexpected() }
        guard case .promote(force: true) = try decode("POST", "/promote", #"{"force":true}"#) else { throw Unexpected() }
    }

    @Test func `A token is shown as it is, or made anew with a bounded lifetime`() throws {
        guard case .joinToken(newSecret: nil) = try decode("GET", "/join-token") else { throw Unexpected() }
        for (body, lifetime) in [("", 86_400), (#"{"ttl":60}"#, 60), (#"{"ttl":316224000}"#, 316_224_000)] as [(String, UInt64)] {
            guard case .joinToken(let secret?) = try decode("POST", "/join-token/rotate", body) else { throw Unexpected() }
            #expect(UnixClock.now() + lifetime - secret.expires < 60)
        }
        guard case .joinToken(let secret?) = try decode("POST", "/join-token/rotate", #"{"ttl":0}"#) else { throw Unexpected() }
        #expect(secret.expires == 0)
        for path in ["/join-token/rotate", "/init"] {
            let key = path == "/init" ? "tokenTTL" : "ttl"
            #expect(
                failure("POST", path, #"{"\#(key)":316224001}"#)
                    == .init(status: 400, reason: "a token's ttl is at most ten years, or 0 for ever"))
        }
    }

    @Test func `Nodes are listed, watched and removed`() throws {
        guard case .nodes = try decode("GET", "/nodes") else { throw Unexpected() }
        guard case .nodeChanges(after: nil) = try decode("GET", "/nodes/changes") else { throw Unexpected() }
        guard case .nodeChanges(after: 7) = try decode("GET", "/nodes/changes", query: ["after": "7"]) else { throw Unexpected() }
        for text in ["", "-1", "x", "18446744073709551616"] {
            #expect(
                failure("GET", "/nodes/changes", query: ["after": text])
                    == .init(status: 400, reason: "after=\(text) is not a number"))
        }
        guard case .removeNode("a", force: false, now: false) = try decode("POST", "/nodes/remove", #"{"node":"a"}"#) else {
            throw Unexpected()
        }
        guard
            case .removeNode("a", force: true, now: true) = try decode(
                "POST", "/nodes/remove", #"{"node":"a","force":true,"now":true}"#)
        else { throw Unexpected() }
        #expect(failure("POST", "/nodes/remove", "{}")?.status == 400)
    }

    @Test func `Networks are listed, shown and removed`() throws {
        guard case .networks = try decode("GET", "/networks") else { throw Unexpected() }
        guard case .network("n") = try decode("GET", "/networks", query: ["name": "n"]) else { throw Unexpected() }
        guard
            case .disconnect(network: "n", endpoint: "e", force: true) = try decode(
                "POST", "/networks/disconnect", #"{"name":"n","network":"n","endpoint":"e","force":true}"#),
            case .disconnect(network: "n", endpoint: "e", force: false) = try decode(
                "POST", "/networks/disconnect", #"{"network":"n","endpoint":"e"}"#)
        else { throw Unexpected() }
        guard case .removeNetwork("n") = try decode("POST", "/networks/remove", #"{"name":"n"}"#) else { throw Unexpected() }
        guard case .status = try decode("GET", "/status") else { throw Unexpected() }
    }

    @Test func `A network is created with all that its flags say`() throws {
        guard case .createNetwork(let bare) = try decode("POST", "/networks/create", #"{"name":"n"}"#) else { throw Unexpected() }
        #expect(bare.name == "n" && bare.subnets.isEmpty && bare.options.isEmpty && !bare.isInternal && !bare.isIPv6)
        let body = """
            {"name":"n","subnets":["10.1.0.0/24","10.2.0.0/24"],"ranges":["10.2.0.128/25"],"gateways":["10.1.0.9"],
            "auxiliary":{"a":"10.2.0.1","b":"10.2.0.2"},"labels":{"l":"1"},"options":{"o":"2"},"ipamOptions":{"i":"3"},
            "isInternal":true,"isIPv6":true,"isAttachable":true}
            """
        guard case .createNetwork(let network) = try decode("POST", "/networks/create", body) else { throw Unexpected() }
        #expect(network.labels == ["l": "1"] && network.options == ["o": "2"] && network.ipamOptions == ["i": "3"])
        #expect(network.isInternal && network.isIPv6 && network.isAttachable)
        #expect(network.subnets.map { "\($0.subnet)" } == ["10.1.0.0/24", "10.2.0.0/24"])
        #expect(network.subnets.map { $0.gateway.map { "\($0)" } } == ["10.1.0.9", nil])
        #expect(network.subnets.map { $0.range.map { "\($0)" } } == [nil, "10.2.0.128/25"])
        #expect(network.subnets.map(\.auxiliary.count) == [0, 2])
    }

    @Test(
        arguments: [
            (#""subnets":["x"]"#, "--subnet x is not a subnet such as 10.1.0.0/24"),
            (#""subnets":["10.1.0.0/24"],"ranges":["x"]"#, "--ip-range x is not a subnet such as 10.1.0.0/24"),
            (#""subnets":["10.1.0.0/24"],"gateways":["x"]"#, "--gateway x is not an IP address"),
            (#""subnets":["10.1.0.0/24"],"auxiliary":{"a":"x"}"#, "--aux-address x is not an IP address"),
            (#""subnets":["10.1.0.0/24"],"ranges":["10.2.0.0/25"]"#, nil), (#""gateways":["10.1.0.1"]"#, nil),
            (#""subnets":["10.1.0.0/24"],"gateways":["10.1.0.1","10.1.0.2"]"#, nil),
            (#""subnets":["10.1.0.0/24"],"ranges":["10.1.0.0/25","10.1.0.128/25"]"#, nil),
            (#""subnets":["10.1.0.0/24"],"auxiliary":{"a":"10.2.0.1"}"#, nil),
        ] as [(String, String?)])
    func `A network that does not fit together is refused`(fields: String, reason: String?) {
        let general =
            "each --ip-range, --gateway and --aux-address must lie in one of the --subnets, at most one range and one gateway per subnet"
        #expect(
            failure("POST", "/networks/create", #"{"name":"n",\#(fields)}"#) == .init(status: 400, reason: reason ?? general))
    }

    @Test(
        arguments: [
            ("GET", "/"), ("GET", ""), ("GET", "/init"), ("POST", "/status"), ("DELETE", "/nodes"), ("get", "/status"),
            ("GET", "/nodes/"), ("GET", "/../status"), ("POST", "/networks"),
        ])
    func `Unknown paths and methods are 404`(method: String, path: String) {
        #expect(failure(method, path) == .init(status: 404, reason: "no such path: \(method) \(path)"))
    }

    private static let bodies = [
        "[", "{", "nul", "[]", "7", #""text""#, #"{"name":}"#, #"{"name":null}"#, #"{"name":7}"#, #"{"name":["n"]}"#,
        #"{"NAME":"n"}"#,
        #"{"name":"n","subnets":"10.1.0.0/24"}"#, #"{"name":"n","subnets":[7]}"#, #"{"name":"n","isInternal":"yes"}"#,
        #"{"name":"n","auxiliary":[1]}"#, #"{"name":"n"}{"#, #"{"name":"n","options":{"a":{}}}"#, "\u{0}",
        String(repeating: "[", count: 100_000), #"{"name":"# + String(repeating: #"{"a":"#, count: 50_000),
        #"{"name":"n","subnets":["# + String(repeating: "1,", count: 100_000) + "1]}",
    ]

    @Test(arguments: bodies)
    func `Hostile JSON is 400 with the path that it was for`(body: String) throws {
        let found = try #require(failure("POST", "/networks/create", body))
        #expect(found.status == 400)
        #expect(found.reason.hasPrefix("the body is not the JSON that /networks/create takes: "))
    }

    @Test func `Bytes that are no UTF-8 are 400`() {
        let error = #expect(throws: ControlCodec.Failure.self) {
            try ControlCodec.decode(
                ControlHTTPRequest(
                    method: "POST", path: "/networks/remove", body: Array(#"{"name":""#.utf8) + [0xFF, 0xC0] + Array(#""}"#.utf8)),
                dataPathPort: 4789)
        }
        #expect(error?.status == 400)
    }

    private struct Unexpected: Error {}
}

@Suite struct ControlEncodingTests {
    private func object(_ answer: ControlHTTPResponse) throws -> [String: Field] {
        try JSONDecoder().decode([String: Field].self, from: Data(answer.body))
    }

    private func encode(_ response: ControlResponse) -> ControlHTTPResponse {
        var counters = GossipTransport.Counters()
        counters.sent = 3
        return ControlCodec.encode(response, transport: counters)
    }

    private func decode<T: Decodable>(_ type: T.Type, _ text: String) throws -> T {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    private static let node = """
        {"id":"aa","name":"host1","address":"192.0.2.1:7947","dataPathAddress":"192.0.2.1","state":"alive","reason":"","healthScore":2,
        "ailment":2,"since":5,"roundTrip":300,"isSelf":true,"isWriter":true,"blocks":1,"networks":2}
        """
    private static let network = """
        {"id":"bb","name":"net","vni":1048577,"isInternal":false,"isEncrypted":false,"isRemoved":false,"labels":{},"nodes":["host1"],
        "subnets":[{"pool":"p","subnet":"10.32.0.0/24","gateway":"10.32.0.1","auxiliary":[],"leases":1,
        "blocks":[{"range":"10.32.0.0/26","owner":"host1","used":1,"free":61,"isQuarantined":true,"isResting":true}]}],"endpoints":[]}
        """
    private static let status = """
        {"version":"0.1","node":"aa","name":"host1","address":"192.0.2.1:7947","dataPathAddress":"192.0.2.1","term":4,"generation":4,
        "catalogueIndex":9,"members":1,"reachable":1,"engine":{"state":"none"},"sandboxes":0,"networks":[],"endpoints":0,"leases":0,
        "problems":["disk is full"]}
        """

    @Test func `Nodes carry the health score under its name and the old one`() throws {
        let answer = encode(.nodes([try decode(NodeReport.self, Self.node)]))
        #expect(answer.status == 200 && answer.contentType == "application/json" && answer.body.last == 10)
        let node = try #require(try JSONDecoder().decode([[String: Field]].self, from: Data(answer.body)).first)
        #expect(node["healthScore"] == .number(2) && node["ailment"] == .number(2))
        #expect(node["name"] == .text("host1") && node["isSelf"] == .flag(true))
    }

    @Test func `The status carries the term under its name and the old one, and the transport's counters`() throws {
        let answer = encode(.status(try decode(StatusReport.self, Self.status)))
        let status = try object(answer)
        #expect(status["term"] == .number(4) && status["generation"] == .number(4))
        #expect(status["problems"] == .list([.text("disk is full")]))
        guard case .object(let transport)? = status["transport"] else { throw CancellationError() }
        #expect(transport["sent"] == .number(3))
        #expect(status["cluster"] == nil)
    }

    @Test func `A block carries quarantine under its name and the old one`() throws {
        let report = try decode(NetworkReport.self, Self.network)
        guard case .list(let subnets)? = try object(encode(.network(report)))["subnets"], case .object(let subnet)? = subnets.first,
            case .list(let blocks)? = subnet["blocks"], case .object(let block)? = blocks.first
        else { throw CancellationError() }
        #expect(block["isQuarantined"] == .flag(true) && block["isResting"] == .flag(true))
        let list = encode(.networks([report, report]))
        #expect(try JSONDecoder().decode([[String: Field]].self, from: Data(list.body)).count == 2)
    }

    @Test func `Changes, tokens and messages are objects`() throws {
        let changes = try decode(
            NodeChanges.self, #"{"last":3,"changes":[{"node":"h","state":"alive","was":"suspect","reason":"","age":5}]}"#)
        #expect(try object(encode(.nodeChanges(changes)))["last"] == .number(3))
        let token = try decode(JoinTokenReport.self, #"{"token":"T","command":"swift-overlay join","expires":0}"#)
        #expect(
            try object(encode(.token(token))) == [
                "token": .text("T"), "command": .text("swift-overlay join"), "expires": .number(0),
            ])
        #expect(try object(encode(.done("done \"so\"\n"))) == ["message": .text("done \"so\"\n")])
    }

    @Test func `A refusal is 409 with the cause, a failure to decode has its own status`() throws {
        let refused = encode(.refused("this node is in no cluster"))
        #expect(refused.status == 409)
        #expect(try object(refused) == ["error": .text("this node is in no cluster")])
        let failure = ControlCodec.encode(ControlCodec.Failure(status: 404, reason: "no such path"))
        #expect(failure.status == 404 && failure.body == Array("{\"error\":\"no such path\"}\n".utf8))
    }
}

/// JSON as a value, to look at what was written.
enum Field: Decodable, Hashable {
    case flag(Bool)
    case number(Double)
    case text(String)
    case list([Field])
    case object([String: Field])
    case null

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .flag(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([Field].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: Field].self))
        }
    }
}
