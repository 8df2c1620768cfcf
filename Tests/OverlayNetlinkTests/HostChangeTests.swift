import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Synchronization
import Testing

@testable import OverlayNetlink

@Suite("changes of the host", .enabled(if: kernelIsUsable))
struct HostChangeTests {
    private func mtu(_ place: String, _ link: String) -> String {
        let words = sh("\(place) ip -o link show \(link)").split(separator: " ")
        return words.firstIndex(of: "mtu").map { String(words[$0 + 1]) } ?? "none"
    }

    @Test func `ports and their other ends get another MTU`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        let vni = base.vni
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        for number in 1...3 {
            let (name, port) = endpoint(number)
            expectApplied(await host.kernel.apply([.createPort(vni, name: name, port, mtu: 1450)]))
        }
        let one = try host.startContainer(endpoint(1).port, ["10.1.0.1/24"])
        let two = try host.startContainer(endpoint(2).port, ["10.1.0.2/24"])
        let path = { (container: String) in String(container.dropFirst("nsenter --net=".count)) }
        // Another link of the container has the same MAC and name as our end had; its own is called otherwise.
        sh("\(one) ip link set eth0 name mine; \(one) ip link add eth0 type veth peer name other; \(one) ip link set eth0 mtu 1450")
        sh("\(one) ip link set eth0 address \(endpoint(1).port.mac)")
        sh("\(two) ip link set eth0 mtu 1300; \(two) ip link set eth0 down")

        func follow(_ from: UInt32, _ to: UInt32) async {
            for (number, sandbox) in [(1, path(one)), (2, path(two)), (3, "")] {
                let operation = KernelOperation.setPortMTU(vni, name: endpoint(number).name, sandbox: sandbox, from: from, to: to)
                expectApplied(await host.kernel.apply([operation, operation]))
            }
        }
        await follow(1450, 1350)
        #expect(mtu(one, "mine") == "1350" && mtu(one, "eth0") == "1450", "no other link is touched")
        #expect(mtu(two, "eth0") == "1300", "a smaller one is the container's choice")
        #expect(!sh("\(two) ip -o link show eth0").contains(",UP"))
        #expect(mtu(host.inside, endpoint(3).port.containerLink) == "1350", "it waits for the engine")
        let observed = try await host.kernel.observe()
        #expect(observed.portMTUs[vni] == [endpoint(1).name: 1350, endpoint(2).name: 1350, endpoint(3).name: 1350])
        await follow(1350, 1450)
        #expect(mtu(one, "mine") == "1450" && mtu(two, "eth0") == "1300")
        await follow(1450, 1280)
        #expect(mtu(one, "mine") == "1280" && mtu(two, "eth0") == "1280")

        // A sandbox that cannot be reached is told of, and the port keeps its mark.
        let lost = KernelOperation.setPortMTU(vni, name: endpoint(1).name, sandbox: "/nowhere", from: 1280, to: 1200)
        #expect(await host.kernel.apply([lost]).failure != nil)
        #expect(try await host.kernel.observe().portMTUs[vni]?[endpoint(1).name] == 1280)
        expectApplied(
            await host.kernel.apply([.setPortMTU(vni, name: "ve9", sandbox: "/nowhere", from: 1280, to: 1200), .deleteNetwork(vni)])
        )
    }

    @Test func `changes of links and addresses are heard, and those of containers' links are not`() async throws {
        let host = try ScratchHost()
        let heard = Mutex(0)
        try await host.kernel.watch { place in if place == .host { heard.withLock { $0 += 1 } } }
        func isHeard(_ command: String, for milliseconds: Int = 2000) async throws -> Bool {
            // By then, earlier changes are told of.
            try await Task.sleep(for: .milliseconds(600))
            heard.withLock { $0 = 0 }
            sh("\(host.inside) ip \(command)")
            for _ in 0..<milliseconds / 10 where heard.withLock({ $0 }) == 0 { try await Task.sleep(for: .milliseconds(10)) }
            return heard.withLock { $0 } > 0
        }
        #expect(try await isHeard("link add one type bridge"))
        #expect(try await isHeard("link set one mtu 1400"))
        #expect(try await isHeard("addr add 203.0.113.5/24 dev one"))
        #expect(try await isHeard("addr add 2001:db8::5/64 dev one"))
        #expect(try await isHeard("link set one up"))
        #expect(try await isHeard("addr del 203.0.113.5/24 dev one"))
        // A host that is a container itself has its address on such a link.
        #expect(try await isHeard("link add two type veth peer name three"))
        #expect(try await isHeard("link set two mtu 1400"))
        #expect(try await !isHeard("link set two up", for: 800))
        #expect(try await !isHeard("link add so0123 type veth peer name so4567", for: 800))
        await host.kernel.stopWatching()
    }
}
