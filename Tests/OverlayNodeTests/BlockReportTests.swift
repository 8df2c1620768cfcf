import OverlayCatalogue
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Numbers of addresses in `network inspect`.
@Suite struct BlockReportTests {
    @Test func blocksTellTheirOwnerAndWhatIsUsedAndFree() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let networks = try (0..<2).map {
            try world.createNetwork($0, "net", subnet: IPPrefix("10.9.0.0/24"), auxiliary: [IPAddress(v4: 10, 9, 0, 7)])
        }
        for number in 0..<3 { _ = try world.attach(0, "a\(number)", to: networks[0]) }
        _ = try world.attach(1, "b", to: networks[1])
        world.run(for: .seconds(1))
        for host in 0..<2 {
            guard case .network(let report) = world.control(host, .network("net")) else { throw World.Failed("no report") }
            let subnet = try #require(report.subnets.first)
            let used = Dictionary(grouping: subnet.blocks, by: \.owner).mapValues { $0.reduce(0) { $0 + $1.used } }
            #expect(used == ["host1": 3, "host2": 1], "as host\(host + 1) knows it")
            for block in subnet.blocks {
                let range = try #require(world.nodes[0].core.catalogue.networks.values.first?.subnets.first?.blocks).first {
                    "\($0.range)" == block.range
                }?.range
                let count = try #require(range?.count)
                let reserved = try [networks[0].prefix.first, IPAddress(v4: 10, 9, 0, 1), IPAddress(v4: 10, 9, 0, 7)].count {
                    try #require(range).contains($0)
                }
                #expect(block.free == UInt64(count) - UInt64(reserved) - block.used && !block.isResting, "\(block)")
            }
        }
    }
}
