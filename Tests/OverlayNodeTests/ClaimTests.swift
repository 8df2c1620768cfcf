import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlayReplication
import Testing

@testable import OverlayNode
@testable import OverlaySimulation

/// Addresses and MACs that belong to the container that announced them last.
@Suite struct ClaimTests {
    private static let vip = IPAddress(v4: 10, 9, 0, 200)
    private static let virtual = MACAddress(bits: 0x5E00_0133)
    private static let subnet = IPPrefix(IPAddress(v4: 10, 9, 0, 0), length: 24)!

    /// Three hosts, the first with two containers on the network.
    private struct Setting {
        let workload: Workload
        var world: World { workload.world }
        var containers: [(host: Int, attached: World.Attached)] { workload.endpoints.map { ($0.host, $0.attached) } }

        init(seed: UInt64 = 1) throws {
            workload = try Workload(nodes: 3, seed: seed)
            try workload.open("net", on: 0...2, subnet: ClaimTests.subnet)
            try workload.attach(0, "net")
            world.run(for: .seconds(1))
        }

        @discardableResult
        func use(_ index: Int, _ address: IPAddress?, from mac: MACAddress? = nil) -> Bool {
            workload.use(containers[index].host, containers[index].attached, address, from: mac)
        }

        func neighbours(of address: IPAddress) -> [MACAddress?] { (0...2).map { world.kernel($0)?.neighbours[address] } }
        func places(of mac: MACAddress) -> [Destination?] { (0...2).map { world.kernel($0)?.forwarding[mac] } }
        func port(_ index: Int) -> Destination { .port(KernelName.port(containers[index].attached.endpoint)) }
        func mac(_ index: Int) -> MACAddress { containers[index].attached.mac }
        func announced(_ host: Int) -> [MACAddress] {
            world.nodes[host].kernel.announcements.filter { $0.1 == ClaimTests.vip }.map(\.2)
        }
        func settle() {
            world.run(for: .milliseconds(100))
            #expect(world.difference() == nil && world.violations == [])
        }
    }

    @Test func anAddressIsAtTheLastWhoAnnouncedIt() throws {
        let setting = try Setting()
        for index in [0, 1, 2, 3, 1] {
            #expect(setting.use(index, Self.vip))
            setting.settle()
            #expect(setting.neighbours(of: Self.vip) == Array(repeating: setting.mac(index), count: 3))
            for host in 0...2 { #expect(setting.announced(host).last == setting.mac(index), "host\(host + 1)") }
        }
        // The holder says nothing new, and one holder is all there is.
        #expect(!setting.use(1, Self.vip))
        #expect(setting.world.nodes.flatMap(\.core.localClaims).count == 1)
    }

    @Test func aMACIsAtTheLastWhoUsedIt() throws {
        let setting = try Setting()
        #expect(setting.use(0, Self.vip, from: Self.virtual))
        setting.settle()
        let address = World.address(0)
        #expect(setting.places(of: Self.virtual) == [setting.port(0), .vtep(address), .vtep(address)])
        #expect(setting.use(2, Self.vip, from: Self.virtual))
        setting.settle()
        #expect(setting.places(of: Self.virtual)[2] == setting.port(2))
        #expect(setting.neighbours(of: Self.vip) == Array(repeating: Self.virtual, count: 3))
        // The former holder is heard again.
        #expect(setting.use(0, nil, from: Self.virtual))
        setting.settle()
        #expect(setting.places(of: Self.virtual)[0] == setting.port(0))
    }

    @Test func aContainerThatChangesItsMACKeepsItsAddress() throws {
        let setting = try Setting()
        let address = setting.containers[1].attached.address
        #expect(setting.use(1, address, from: Self.virtual))
        setting.settle()
        #expect(setting.neighbours(of: address) == Array(repeating: Self.virtual, count: 3))
        #expect(setting.use(1, address))
        setting.settle()
        #expect(setting.neighbours(of: address) == Array(repeating: setting.mac(1), count: 3))
    }

    @Test func whatIsLeasedIsNobodyElses() throws {
        let setting = try Setting()
        let before = (0...2).map { setting.world.kernel($0) }
        let gateway = try #require(setting.world.nodes[0].core.catalogue.networks.values.first?.subnets.first?.gateway)
        let vni = try #require(setting.world.kernel(0)?.base.vni)
        let other = setting.containers[2].attached
        for address in [other.address, gateway, Self.subnet.first, Self.subnet.last, IPAddress(v4: 10, 10, 0, 1)] {
            setting.use(0, address)
        }
        for mac in [other.mac, KernelName.gatewayMAC(vni)] { setting.use(0, nil, from: mac) }
        // An address at the MAC of another endpoint.
        setting.world.handle(
            0,
            .heard(setting.containers[0].attached.endpoint, [Heard(source: setting.mac(0), claim: .init(Self.vip, at: other.mac))]))
        setting.settle()
        #expect((0...2).map { setting.world.kernel($0) } == before)
    }

    @Test func aLeaseEndsAClaim() throws {
        let setting = try Setting()
        #expect(setting.use(0, Self.vip))
        setting.settle()
        let attached = try setting.workload.attach(1, "net", address: Self.vip)
        setting.settle()
        #expect(setting.neighbours(of: Self.vip) == Array(repeating: attached.mac, count: 3))
        #expect(setting.world.nodes.allSatisfy { $0.core.localClaims.isEmpty })
        // It is heard, and is of no use.
        setting.use(0, Self.vip)
        setting.settle()
        #expect(setting.neighbours(of: Self.vip) == Array(repeating: attached.mac, count: 3))
    }

    @Test func aClaimGoesWithItsContainer() throws {
        let setting = try Setting()
        setting.use(3, Self.vip, from: Self.virtual)
        setting.settle()
        setting.workload.detach(at: 3)
        setting.settle()
        #expect(setting.neighbours(of: Self.vip) == [nil, nil, nil] && setting.places(of: Self.virtual) == [nil, nil, nil])
        #expect(setting.world.nodes[0].rows[.claim, default: [:]].isEmpty)
    }

    /// A virtual address is not lost while a daemon restarts, nor when the whole cluster does.
    @Test(arguments: [[0], [1], [0, 1, 2]])
    func aClaimOutlivesDaemons(hosts: [Int]) throws {
        let setting = try Setting()
        setting.use(0, Self.vip, from: Self.virtual)
        setting.settle()
        for host in hosts { setting.world.crash(host, keeping: .max) }
        setting.world.run(for: .seconds(3))
        #expect(setting.neighbours(of: Self.vip) == [Self.virtual, Self.virtual, Self.virtual])
        for host in hosts { try setting.world.restart(host) }
        for _ in 0..<100 {
            setting.world.run(for: .milliseconds(100))
            #expect(setting.neighbours(of: Self.vip) == [Self.virtual, Self.virtual, Self.virtual])
            #expect(setting.places(of: Self.virtual)[0] == setting.port(0))
        }
        setting.settle()
        // It moves on as before.
        #expect(setting.use(2, Self.vip, from: Self.virtual))
        setting.settle()
        #expect(setting.places(of: Self.virtual)[2] == setting.port(2))
    }

    /// An address that moved away while a daemon was down is not taken back at its start.
    @Test func whatMovedAwayMeanwhileStaysAway() throws {
        let setting = try Setting()
        setting.use(0, Self.vip)
        setting.settle()
        setting.world.crash(0, keeping: .max)
        #expect(setting.use(2, Self.vip))
        setting.world.run(for: .seconds(1))
        try setting.world.restart(0)
        setting.world.run(for: .seconds(5))
        setting.settle()
        #expect(setting.neighbours(of: Self.vip) == Array(repeating: setting.mac(2), count: 3))
    }

    @Test func aFightIsBounded() throws {
        let setting = try Setting()
        setting.use(0, Self.vip)
        setting.settle()
        let start = setting.announced(1).count
        for _ in 0..<1000 {
            setting.use(0, Self.vip)
            setting.world.run(for: .milliseconds(5))
            setting.use(2, Self.vip)
            setting.world.run(for: .milliseconds(5))
        }
        let moves = setting.announced(1).count - start
        #expect(moves >= 20 && moves <= 2 * (8 + 10 + 1), "\(moves) in 10 s")
        setting.world.run(for: .seconds(5))
        setting.use(0, Self.vip)
        setting.world.run(for: .milliseconds(5))
        setting.use(2, Self.vip)
        setting.settle()
        #expect(setting.neighbours(of: Self.vip) == Array(repeating: setting.mac(2), count: 3))
    }

    @Test func claimsOfAnEndpointAreBounded() throws {
        let setting = try Setting()
        for number in 0..<40 {
            setting.use(0, IPAddress(v4: 10, 9, 0, UInt8(100 + number)))
            setting.use(0, nil, from: MACAddress(bits: 0x02BB_0000_0000 + UInt64(number)))
            setting.world.run(for: .milliseconds(200))
        }
        setting.settle()
        let claims = try #require(setting.world.nodes[0].core.localClaims.first?.claims)
        // The last addresses, and the first MACs.
        #expect(claims.addresses.map(\.address) == (124..<140).map { IPAddress(v4: 10, 9, 0, $0) })
        #expect(claims.macs.map(\.mac.bits) == (0..<16).map { 0x02BB_0000_0000 + UInt64($0) })
        #expect(setting.world.nodes[0].ears[setting.containers[0].attached.endpoint]?.isFull == true)
    }

    @Test func onlyJoinedEndpointsAreListenedTo() throws {
        let setting = try Setting()
        #expect(setting.world.nodes.map(\.ears.count) == [2, 1, 1])
        let endpoint = setting.containers[0].attached.endpoint
        setting.workload.detach(at: 0)
        setting.settle()
        #expect(setting.world.nodes[0].ears[endpoint] == nil)
        // Late news of it, and of one that never was.
        let heard = [Heard(source: Self.virtual, claim: .init(Self.vip, at: Self.virtual))]
        setting.world.handle(0, .heard(endpoint, heard))
        setting.world.handle(0, .heard(EndpointID("0123456789abcdef")!, heard))
        setting.world.handle(0, .deaf(endpoint, "gone"))
        setting.settle()
        #expect(setting.world.nodes[0].core.localClaims.isEmpty)
        // A port that the shell lost is asked for again with the next look at the kernel.
        let other = setting.containers[0].attached.endpoint
        setting.world.nodes[setting.containers[0].host].ears[other] = nil
        setting.world.handle(setting.containers[0].host, .deaf(other, "gone"))
        setting.world.run(for: .seconds(61))
        #expect(setting.world.nodes[setting.containers[0].host].ears[other] != nil)
    }
}
