public import Fuzzing
import NIOCore
import OverlayDriver
import OverlayModel

@testable import OverlayDocker

/// Answers of an engine. The first byte tells which request was made, or that the rest is the event stream.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let id = String(repeating: "a1", count: 32)
    let codec = EngineCodec(driver: "swift-overlay")
    let calls: [EngineAPICall] = [
        .networks, .containers, .network(EngineNetworkID(unchecked: id)), .container(ContainerID(unchecked: id)),
        .createNetwork(EngineNetwork(name: "blue")), .removeNetwork(EngineNetworkID(unchecked: id)),
        .configured, .interfaces(ContainerID(unchecked: id)),
        .otherNetworks, .addressPools, .lastStart(ContainerID(unchecked: id)),
        .containersOn(EngineNetworkID(unchecked: id)), .endpoints,
    ]
    let network = """
        {"Name":"blue","Id":"\(id)","Driver":"swift-overlay:latest","EnableIPv6":true,"IPAM":{"Driver":"swift-overlay","Options":{"net":"b"},
        "Config":[{"Subnet":"10.5.0.0/24","IPRange":"10.5.0.128/25","Gateway":"10.5.0.1/24","AuxiliaryAddresses":{"p":"10.5.0.9"}},
        {"Subnet":"fd00::/64"},null]},"Internal":false,"Attachable":true,
        "Containers":{"\(id)":{"Name":"web","EndpointID":"\(id)","IPv4Address":"10.5.0.2/24","IPv6Address":""},"b":7},
        "Options":{"encrypted":"true","odd":3},"Labels":{"team":"a"}}
        """
    let container = """
        {"Id":"\(id)","Name":"/web","Config":{"Hostname":"www","ExposedPorts":{"443/udp":{},"80/tcp":{},"99999/tcp":{}},"Labels":{"n":1}},
        "NetworkSettings":{"Networks":{"blue":{"Aliases":["b",null],"NetworkID":"\(id)","EndpointID":"\(id)","DNSNames":["web"]}}}}
        """
    let listed = """
        [{"Id":"\(id)","Names":["/other/link","/web"],"Labels":{"app":"web"},"NetworkSettings":{"Networks":{"blue":{"NetworkID":"\(id)",
        "EndpointID":"\(id)"}}}},{"Id":"\(id)","Names":null,"NetworkSettings":null}]
        """
    let events = """
        {"Type":"network","Action":"connect","Actor":{"ID":"\(id)","Attributes":{"container":"\(id)","type":"swift-overlay"}}}
        {"Type":"container","Action":"rename","Actor":{"ID":"\(id)","Attributes":{"name":"new"}}}

        """
    let other = network.replacing("swift-overlay:latest", with: "bridge")
    let pools = #"{"DefaultAddressPools":[{"Base":"10.200.0.0/16","Size":24},{"Base":"fd00::/8","Size":64},null],"Containers":1}"#
    let texts = [
        "[\(network)]", listed, network, container, #"{"Id":"\#(id)","Warning":""}"#, #"{"message":"no"}"#, listed, container,
        "[\(other),7]", pools, container, listed, listed, events,
    ]
    let taken = ["10.200.255.0/24", "10.200.64.0/18", "192.168.0.0/17", "fdff::/16"].compactMap { IPPrefix($0) }
    return Target(seeds: texts.enumerated().map { [UInt8($0)] + Array($1.utf8) }) { bytes in
        guard let first = bytes.first else { return }
        let body = Array(bytes.dropFirst())
        guard Int(first) < calls.count else { return read(body, codec) }
        let call = calls[Int(first)]
        for status in [200, 404, 500] {
            let answer = codec.answer(call, status: status, body: ByteBuffer(bytes: body))
            if status != 200, case .networks = answer { require(false, "a refusal has no networks") }
            // A network that one engine shows is requested from another one.
            if case .network(let shown) = answer { _ = try? codec.request(.createNetwork(shown)) }
            guard case .addressPools(let pools) = answer else { continue }
            for pool in pools {
                guard let free = pool.last(avoiding: taken) else { continue }
                require(pool.base.contains(free) && free.length == pool.size, "a subnet of the pool")
                require(!taken.contains { $0.overlaps(free) }, "a free subnet")
            }
        }
    }
}

/// Checks that the same bytes give the same events, however they are split.
private func read(_ body: [UInt8], _ codec: EngineCodec) {
    func news(inPiecesOf size: Int) -> [EngineAPINews?] {
        var lines = EventLines()
        var all: [EngineAPINews?] = []
        for start in stride(from: 0, to: body.count, by: size) {
            lines.append(ByteBuffer(bytes: body[start..<min(start + size, body.count)]))
            while let line = lines.next() { all.append(try? codec.news(line)) }
        }
        return all
    }
    require(news(inPiecesOf: 7) == news(inPiecesOf: 4096), "events are the same in pieces")
}
