public import Fuzzing
import OverlayDriver
import OverlayModel

@testable import OverlayPluginServer

private let paths = [
    "NetworkDriver.AllocateNetwork", "NetworkDriver.CreateNetwork", "NetworkDriver.DeleteNetwork", "NetworkDriver.CreateEndpoint",
    "NetworkDriver.DeleteEndpoint", "NetworkDriver.Join", "NetworkDriver.Leave", "IpamDriver.RequestPool", "IpamDriver.ReleasePool",
    "IpamDriver.RequestAddress", "IpamDriver.ReleaseAddress", "NetworkDriver.DiscoverNew",
]

/// Calls of an engine. The first byte tells the method; the rest is the body.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let ids = #""NetworkID":"5a7a384ff4e3b406f3688d445b31ef17","EndpointID":"7567acc21e80aef91c2d0e2b37cb5580""#
    let pool = #""PoolID":"pool-0000000000000001""#
    let mac = #""com.docker.network.endpoint.macaddress":"02:42:0a:00:00:01""#
    let calls: [(UInt8, String)] = [
        (0, #"{"Options":{"a":"b","c":1}}"#),
        (
            1,
            #"{"NetworkID":"5a7a384ff4e3b406f3688d445b31ef17","Options":{"com.docker.network.generic":{"encrypted":""}},"#
                + #""IPv4Data":[{"AddressSpace":"s","Pool":"10.0.0.0/24","Gateway":"10.0.0.1/24","AuxAddresses":{"a":"10.0.0.7/24"}}],"#
                + #""IPv6Data":[{"Pool":"fd00::/64","Gateway":"fd00::1/64"}]}"#
        ),
        (2, "{\(ids)}"),
        (
            3,
            #"{\#(ids),"Interface":{"Address":"10.0.0.2/24","AddressIPv6":"fd00::2/64","MacAddress":"02:42:0a:00:00:01"},"Options":{}}"#
        ),
        (4, "{\(ids)}"), (5, #"{\#(ids),"SandboxKey":"/run/netns/a","Options":null}"#), (6, "{\(ids)}"),
        (7, #"{"AddressSpace":"s","Pool":"10.0.0.0/24","SubPool":"10.0.0.128/25","Options":{"net":"web"},"V6":false}"#),
        (7, #"{"Pool":"","V6":true}"#), (8, "{\(pool)}"), (9, #"{\#(pool),"Address":"10.0.0.9","Options":{\#(mac)}}"#),
        (9, #"{\#(pool),"Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#),
        (10, #"{\#(pool),"Address":"10.0.0.9"}"#), (11, "{}"), (4, " "),
    ]
    return Target(seeds: calls.map { [$0] + Array($1.utf8) }, run: run)
}

private func run(_ bytes: [UInt8]) {
    guard let method = bytes.first else { return }
    switch PluginCodec.decode(path: "/" + paths[Int(method) % paths.count], body: Array(bytes.dropFirst())) {
    case .success(let request):
        if let response = request.constantResponse { _ = readable(PluginCodec.encode(response)) }
        // The parts of a call that are kept can be sent to the engine again.
        if case .requestAddress(let call) = request, let address = call.address {
            readable(PluginCodec.encode(.address(address.hostPrefix)))
        }
    case .failure(let error):
        readable(PluginCodec.encode(failure: error.message))
        require(error.message.utf8.count < 4096, "a refusal is short")
    }
}

@discardableResult
private func readable(_ answer: [UInt8]) -> OptionValue? {
    let value = try? JSONText.parse(answer)
    require(value?.object != nil, "an answer is a JSON object")
    return value
}
