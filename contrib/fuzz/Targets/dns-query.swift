public import Fuzzing
import OverlayModel

@testable import OverlayDNS

/// A query, its answer in a sandbox, and the encoded response.
@_silgen_name("fuzzTarget") public func target() -> Target {
    func question(_ labels: [String], type: UInt8, hasOPT: Bool) -> [UInt8] {
        let name = labels.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        let opt: [UInt8] = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]
        return [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, hasOPT ? 1 : 0] + name + [0, 0, type, 0, 1] + (hasOPT ? opt : [])
    }
    let address = IPAddress(v4: 10, 0, 0, 2)
    var names = NetworkNames(title: "net-1")
    for number in 0..<60 as Range<UInt8> {
        names.insert(
            NamedEndpoint(
                endpoint: EndpointID(unchecked: "0123456789\(10 + number)"), names: ["web-\(number)", "web"],
                addresses: [IPAddress(v4: 10, 0, 0, number + 2)], ports: [ExposedPort(number: 80, transport: .tcp)]))
    }
    names.insert(NamedEndpoint(endpoint: EndpointID(unchecked: "0123456789ab"), names: ["db.1"], addresses: [address]))
    var tables = NameTables()
    let network = NetworkID(bits: 1)
    tables.networks[network] = names
    tables.setSubnets([IPPrefix("10.0.0.0/24")!, IPPrefix("fd00::/64")!])
    let seeds = [
        question(["web"], type: 1, hasOPT: false), question(["web", "net-1"], type: 28, hasOPT: true),
        question(["db", "1", "NET-1"], type: 255, hasOPT: true), question(["_80", "_tcp", "web"], type: 33, hasOPT: true),
        question(["2", "0", "0", "10", "in-addr", "arpa"], type: 12, hasOPT: false),
        question(Array(repeating: "0", count: 30) + ["d", "f", "ip6", "arpa"], type: 12, hasOPT: true),
    ]
    return Target(seeds: seeds) { bytes in
        let query: DNSQuery
        do throws(DNSQuery.Failure) {
            query = try DNSQuery(bytes)
        } catch {
            if case .refused(let code) = error {
                require(DNSResponse.refusal(code, to: bytes).count == 12, "a refusal has a header")
            }
            return
        }
        require(bytes.dropFirst(12).starts(with: query.name.wire), "the name is that of the question")
        var generator = SeededGenerator(seed: 1)
        // Half of the queries come from an internal network.
        let isSettled = query.id & 2 == 0
        let scope = SandboxScope(places: [.ours(network)], forwards: query.id & 1 == 0, isSettled: isSettled)
        let mayWait = query.id & 4 == 0
        let response: DNSResponse
        switch tables.decide(query, in: scope, mayWait: mayWait, using: &generator) {
        case .answer(let answer): response = answer
        case .forward: return require(scope.forwards || !isSettled, "nothing goes out of an internal network")
        case .wait: return require(mayWait && !isSettled, "what is known does not wait")
        }
        for limit in [DNSResponse.plainLimit, DNSResponse.datagramLimit(for: query), DNSResponse.streamLimit] {
            let answer = response.bytes(for: query, limit: limit)
            require(answer.count <= limit, "\(answer.count) bytes are within \(limit)")
            require(answer[12...].starts(with: query.name.wire), "the question is echoed")
        }
    }
}
