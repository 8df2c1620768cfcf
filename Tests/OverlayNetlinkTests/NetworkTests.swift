import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import Testing

@testable import OverlayNetlink

@Suite("networks in the kernel", .enabled(if: kernelIsUsable))
struct NetworkTests {
    @Test func `preflight passes and leaves nothing`() async throws {
        let host = try ScratchHost()
        try await host.kernel.preflight()
        #expect(sh("ls \(host.directory)").isEmpty)
    }

    @Test func `create, adopt, observe, delete`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        let network = host.network(base.vni)
        let vxlan = sh("ip -n \(network) -d link show vxlan0")
        #expect(vxlan.contains("vxlan id 1048576 local 192.0.2.1"), "\(vxlan)")
        #expect(vxlan.contains("dstport 4789"), "\(vxlan)")
        #expect(vxlan.contains("nolearning"), "\(vxlan)")
        #expect(vxlan.contains("link-netnsid"), "\(vxlan)")
        #expect(vxlan.contains("neigh_suppress on"), "\(vxlan)")
        #expect(vxlan.contains("learning off"), "\(vxlan)")
        #expect(vxlan.contains("master br0"), "\(vxlan)")
        #expect(vxlan.contains("mtu 1450"), "\(vxlan)")
        #expect(!vxlan.contains("noudpcsum"), "\(vxlan)")
        #expect(sh("ip netns exec \(host.name) ss -uln").contains(":4789"), "the socket is in the host's namespace")
        #expect(!sh("ip netns exec \(network) ss -uln").contains(":4789"))
        let bridge = sh("ip -n \(network) -d link show br0")
        #expect(bridge.contains(KernelName.gatewayMAC(base.vni).description), "\(bridge)")
        #expect(bridge.contains("stp_state 0"), "\(bridge)")
        #expect(!sh("ip -n \(network) addr").contains("fe80"))

        // Adoption: nothing is made anew.
        let index = sh("ip -n \(network) -o link show vxlan0").prefix { $0 != ":" }
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        let other = try KernelNetlink(namespaceDirectory: host.directory, hostNamespace: "/run/netns/\(host.name)")
        expectApplied(await other.apply([.createNetwork(base)]))
        #expect(sh("ip -n \(network) -o link show vxlan0").prefix { $0 != ":" } == index)
        #expect(try await host.kernel.observe() == ObservedState(networks: [base.vni: NetworkState(base: base)]))

        // Another VTEP: made anew.
        host.addLoopback("192.0.2.2/32")
        var moved = base
        moved.local = try ip("192.0.2.2")
        moved.mtu = 1400
        moved.port = 4790
        expectApplied(await host.kernel.apply([.createNetwork(moved)]))
        #expect(try await host.kernel.observe().networks[base.vni]?.base == moved)
        #expect(try await other.observe().networks[base.vni]?.base == moved)

        expectApplied(await host.kernel.apply([.deleteNetwork(base.vni), .deleteNetwork(base.vni)]))
        #expect(sh("ls \(host.directory)").isEmpty)
        // The VNI is free at once, many times over.
        for _ in 0..<10 {
            expectApplied(await host.kernel.apply([.createNetwork(base), .deleteNetwork(base.vni)]))
        }
        #expect(try await host.kernel.observe() == ObservedState())
    }
}
