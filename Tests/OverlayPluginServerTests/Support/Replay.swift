import Foundation
import OverlayDriver
import OverlayModel

/// Calls that one command of a user made one engine send (`Resources/transcripts/README.md`).
struct Transcript: Decodable, Sendable {
    struct Call: Decodable, Sendable {
        var path: String
        var headers: [String: String]
        var request: OptionValue?
        var response: OptionValue
    }

    var scenario: String
    var calls: [Call]

    /// All transcripts of one engine, in order.
    static func load(from directory: URL, engine: String) throws -> [Transcript] {
        let folder = directory.appendingPathComponent(engine)
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".json") }.sorted().map {
            try JSONDecoder().decode(Transcript.self, from: Data(contentsOf: folder.appendingPathComponent($0)))
        }
    }
}

struct ReplayReport: Sendable {
    /// Number of calls sent, including those that the harness made up.
    var calls = 0
    var problems: [String] = []
    /// Addresses and pools that the engine took and did not release.
    var outstanding: [String] = []
}

/// Sends the recorded calls of an engine over a real socket to a plugin server with this handler, and judges each answer as an
/// engine would.
///
/// The recordings come from a plugin with its own pools and addresses and without RequiresMACAddress. So its answers are replaced
/// by ours, and MACs are added. Calls that only our answers cause (GwAllocCheck) are added, and those that they make needless (a
/// gateway that came with the pool) are left out.
func replay(
    transcripts directory: URL, engine: String, handler: @escaping @Sendable (DriverRequest) async -> DriverResponse
) async throws -> ReplayReport {
    let transcripts = try Transcript.load(from: directory, engine: engine)
    return try await withPluginServer(handle: handler) { path in
        var run = ReplayRun(connection: try RawConnection(path: path))
        for transcript in transcripts { try await run.play(transcript) }
        return run.finish()
    }
}

private struct ReplayRun {
    let connection: RawConnection
    var report = ReplayReport()

    // Recorded address space → ours.
    var addressSpaces: [String: String] = [:]
    var pools: [String: String] = [:]
    var prefixes: [String: String] = [:]
    var addresses: [String: String] = [:]
    /// Gateways that came with our pools, by recorded pool.
    var gateways: [String: String] = [:]
    /// MACs by endpoint.
    var macs: [String: String] = [:]

    var checksGateways = false
    var poolsTaken: [String: IPPrefix] = [:]
    var addressesTaken: Set<String> = []

    init(connection: RawConnection) { self.connection = connection }

    mutating func finish() -> ReplayReport {
        report.outstanding = (Array(poolsTaken.keys) + addressesTaken).sorted()
        return report
    }

    mutating func play(_ transcript: Transcript) async throws {
        var checked: Set<Int> = []
        for (index, call) in transcript.calls.enumerated() {
            let rest = transcript.calls[index...]
            // Engine 28 makes this call before those to IPAM.
            if checksGateways, let creation = rest.firstIndex(where: { $0.path.hasSuffix(".CreateNetwork") }),
                !checked.contains(creation),
                ["/IpamDriver.GetDefaultAddressSpaces", "/IpamDriver.RequestPool", "/NetworkDriver.CreateNetwork"].contains(
                    call.path)
            {
                checked.insert(creation)
                let options = transcript.calls[creation].request?.object?["Options"] ?? .null
                _ = try await send(
                    "/NetworkDriver.GwAllocCheck", call.headers, .object(["Options": options]), scenario: transcript.scenario)
            }
            guard let request = prepared(call, rest: rest) else { continue }
            let answer = try await send(call.path, call.headers, request, scenario: transcript.scenario)
            try await learn(call, request: request?.object ?? [:], answer: answer, scenario: transcript.scenario)
        }
    }

    /// Request with our names in it; nil if it is left out.
    private mutating func prepared(_ call: Transcript.Call, rest: ArraySlice<Transcript.Call>) -> OptionValue?? {
        guard var fields = call.request?.object else { return .some(call.request == .null ? nil : call.request) }
        func replace(_ name: String, _ map: [String: String], in fields: inout [String: OptionValue]) {
            if let text = fields[name]?.string, let ours = map[text] { fields[name] = .string(ours) }
        }
        func withLength(_ text: String) -> String? { addresses[bare(text)] }

        switch call.path {
        case "/IpamDriver.RequestPool":
            replace("AddressSpace", addressSpaces, in: &fields)
        case "/IpamDriver.RequestAddress":
            let recordedPool = fields["PoolID"]?.string ?? ""
            let recordedAnswer = call.response.object?["Address"]?.string ?? ""
            replace("PoolID", pools, in: &fields)
            if fields["Options"]?.object?[OptionName.requestAddressType]?.string == OptionName.gateway {
                if fields["Address"]?.string == "", let gateway = gateways[recordedPool] {
                    addresses[bare(recordedAnswer)] = gateway
                    return nil
                }
            } else if let mac = mac(for: recordedAnswer, rest: rest) {
                var options = fields["Options"]?.object ?? [:]
                options[OptionName.macAddress] = .string(mac)
                fields["Options"] = .object(options)
            }
        case "/IpamDriver.ReleaseAddress":
            replace("PoolID", pools, in: &fields)
            if let text = fields["Address"]?.string, let ours = addresses[text] { fields["Address"] = .string(bare(ours)) }
        case "/IpamDriver.ReleasePool":
            replace("PoolID", pools, in: &fields)
        case "/NetworkDriver.CreateNetwork":
            for family in ["IPv4Data", "IPv6Data"] {
                guard case .list(let list)? = fields[family] else { continue }
                fields[family] = .list(
                    list.map { item in
                        guard var data = item.object else { return item }
                        replace("AddressSpace", addressSpaces, in: &data)
                        replace("Pool", prefixes, in: &data)
                        if let gateway = data["Gateway"]?.string.flatMap(withLength) { data["Gateway"] = .string(gateway) }
                        if let auxiliary = data["AuxAddresses"]?.object {
                            data["AuxAddresses"] = .object(
                                auxiliary.mapValues { $0.string.flatMap(withLength).map { .string($0) } ?? $0 })
                        }
                        return .object(data)
                    })
            }
        case "/NetworkDriver.CreateEndpoint":
            var interface = fields["Interface"]?.object ?? [:]
            for name in ["Address", "AddressIPv6"] {
                if let ours = interface[name]?.string.flatMap(withLength) { interface[name] = .string(ours) }
            }
            if let mac = fields["EndpointID"]?.string.flatMap({ macs[$0] }) { interface["MacAddress"] = .string(mac) }
            fields["Interface"] = .object(interface)
        default:
            break
        }
        return .object(fields)
    }

    /// MAC that an engine would send for the address of an endpoint; nil for an auxiliary address. The recording tells which it is:
    /// the endpoint with that address follows, or the network.
    private mutating func mac(for address: String, rest: ArraySlice<Transcript.Call>) -> String? {
        for call in rest {
            if call.path.hasSuffix(".CreateNetwork") { return nil }
            guard call.path.hasSuffix(".CreateEndpoint"), let interface = call.request?.object?["Interface"]?.object,
                [interface["Address"]?.string, interface["AddressIPv6"]?.string].contains(address),
                let endpoint = call.request?.object?["EndpointID"]?.string
            else { continue }
            let chosen = interface["MacAddress"]?.string ?? ""
            let mac = chosen.isEmpty ? call.response.object?["Interface"]?.object?["MacAddress"]?.string ?? "" : chosen
            macs[endpoint] = mac
            return mac
        }
        // The recording plugin refused the address, so no endpoint follows.
        return "02:42:00:00:00:01"
    }

    private mutating func learn(
        _ call: Transcript.Call, request: [String: OptionValue], answer: [String: OptionValue], scenario: String
    ) async throws {
        let recorded = call.response.object ?? [:]
        switch call.path {
        case "/NetworkDriver.GetCapabilities":
            // Only engine 28 knows this capability. The host name distinguishes it from 20.10.
            checksGateways = answer["GwAllocChecker"]?.bool == true && call.headers["Host"] == "plugin.moby.localhost"
        case "/IpamDriver.GetCapabilities":
            if answer["RequiresMACAddress"]?.bool != true {
                report.problems.append("\(scenario): the harness needs RequiresMACAddress")
            }
        case "/IpamDriver.GetDefaultAddressSpaces":
            for name in ["LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"] {
                if let theirs = recorded[name]?.string, let ours = answer[name]?.string { addressSpaces[theirs] = ours }
            }
        case "/IpamDriver.RequestPool":
            guard let theirs = recorded["PoolID"]?.string, let id = answer["PoolID"]?.string, let pool = answer["Pool"]?.string,
                let prefix = IPPrefix(pool)
            else { return }
            // An engine that is offered a pool twice asks for ever.
            for (other, taken) in poolsTaken where other == id || taken.overlaps(prefix) {
                report.problems.append("\(scenario): pool \(id) \(prefix) while \(other) \(taken) is taken")
            }
            poolsTaken[id] = prefix
            pools[theirs] = id
            prefixes[recorded["Pool"]?.string ?? ""] = pool
            gateways[theirs] = answer["Data"]?.object?[OptionName.gateway]?.string
        case "/IpamDriver.RequestAddress":
            guard let pool = request["PoolID"]?.string, let address = answer["Address"]?.string else { return }
            if let taken = poolsTaken[pool], let prefix = IPPrefix(address),
                prefix.length != taken.length || !taken.contains(prefix.address)
            {
                report.problems.append("\(scenario): address \(address) is not in \(taken)")
            }
            if !addressesTaken.insert("\(pool) \(bare(address))").inserted {
                report.problems.append("\(scenario): address \(address) is taken")
            }
            if let theirs = recorded["Address"]?.string {
                addresses[bare(theirs)] = address
            } else {
                // The recorded engine stopped here. Ours would have gone on and released the address later.
                let release: OptionValue = .object(["PoolID": .string(pool), "Address": .string(bare(address))])
                _ = try await send("/IpamDriver.ReleaseAddress", call.headers, release, scenario: scenario)
                addressesTaken.remove("\(pool) \(bare(address))")
            }
        case "/IpamDriver.ReleaseAddress":
            addressesTaken.remove("\(request["PoolID"]?.string ?? "") \(request["Address"]?.string ?? "")")
        case "/IpamDriver.ReleasePool":
            poolsTaken[request["PoolID"]?.string ?? ""] = nil
        default:
            break
        }
    }

    /// Sends a call with the recorded headers and returns the fields of the answer.
    private mutating func send(
        _ path: String, _ headers: [String: String], _ request: OptionValue?, scenario: String
    ) async throws -> [String: OptionValue] {
        var body: [UInt8] = []
        if let request {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            // Go's encoder ends with a newline.
            body = try Array(encoder.encode(request)) + [10]
        }
        var head = "POST \(path) HTTP/1.1\r\nHost: \(headers["Host"] ?? "")\r\n"
        for (name, value) in headers.sorted(by: { $0.key < $1.key }) where name != "Host" && name != "Content-Length" {
            head += "\(name): \(value)\r\n"
        }
        head += "Content-Length: \(body.count)\r\n\r\n"
        try await connection.send(Array(head.utf8) + body)
        report.calls += 1
        guard let answer = try await connection.receive() else {
            throw RawError(description: "\(scenario): \(path): the connection was closed")
        }
        report.problems += EngineAcceptance.problems(path: path, request: request, answer: answer).map { "\(scenario): \($0)" }
        return (try? JSONDecoder().decode(OptionValue.self, from: Data(answer.body)))?.object ?? [:]
    }

    private func bare(_ address: String) -> String { String(address.prefix { $0 != "/" }) }
}
